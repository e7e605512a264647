from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.linting import lint
from pipelines.parsing import SINGLE_FILE
from pipelines.plan import BuildWork, CommandsWork, Plan
from pipelines.proposing import Files, NothingFoundError, propose, written
from pipelines.proposing.writing import quoted
from pipelines.recipes import built_in
from tests.unit.pipelines.building import planned

PYTEST = "import pytest\n"
UNITTEST = "import unittest\n"
FROM = "FROM python:3.12-slim\n"


def package(**fields: object) -> str:
    return json.dumps({"name": "web", **fields})


def proposed(
    folder: Path,
    files: Mapping[str, str],
    *,
    repository: str = "acme/web",
    remote: str | None = None,
    image: str | None = None,
) -> str:
    """The file that is written for a repository of these; it is linted before it is looked at."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    text = written(propose(Files(folder), repository=repository, remote=remote, image=image))
    assert [each.problems for each in lint({SINGLE_FILE: text.encode()})] == [()], text
    return text


def steps(text: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Each test step's image and commands, as a push would run them."""
    plan: Plan = planned(text)
    return {
        step.name: (
            work.image.name if work.image.kind == "named" else work.image.build,
            work.commands,
        )
        for step in plan.steps
        if isinstance(work := step.work, CommandsWork)
    }


KINDS: dict[str, tuple[dict[str, str], str, str, tuple[str, ...]]] = {
    "python with pytest in an extra": (
        {
            "pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=3.11"\n'
            '[project.optional-dependencies]\ntest = ["pytest>=8"]\n',
            "tests/test_a.py": PYTEST,
        },
        *("python", "python:3.13-slim", ('pip install --quiet ".[test]"', "pytest -q")),
    ),
    "python with a dependency group": (
        {
            "pyproject.toml": '[project]\nname = "x"\n[dependency-groups]\ndev = ["pytest"]\n',
            "test_a.py": PYTEST,
        },
        *("python", "python:3.13-slim", ("pip install --quiet --group dev", "pytest -q")),
    ),
    "python with requirements and pytest from nowhere": (
        {"requirements.txt": "flask\n", "test_a.py": "def test_a(): pass\n"},
        *("python", "python:3.13-slim"),
        ("pip install --quiet -r requirements.txt", "pip install --quiet pytest", "pytest -q"),
    ),
    "python with requirements for development": (
        {"requirements.txt": "", "requirements-dev.txt": "pytest\n", "test_a.py": PYTEST},
        *("python", "python:3.13-slim"),
        (
            "pip install --quiet -r requirements.txt",
            "pip install --quiet -r requirements-dev.txt",
            "pytest -q",
        ),
    ),
    "python with setup.py and unittest": (
        {"setup.py": "", ".python-version": "3.11.4\n", "tests/test_a.py": UNITTEST},
        *("python", "python:3.11-slim"),
        ("pip install --quiet .", "python -m unittest discover --start-directory tests"),
    ),
    "python with nothing but files": (
        {"hello.py": "", "test_hello.py": UNITTEST},
        *("python", "python:3.13-slim", ("python -m unittest",)),
    ),
    "python without tests": (
        {"requirements.txt": "", "hello.py": ""},
        *("python", "python:3.13-slim"),
        ("pip install --quiet -r requirements.txt", "python -m compileall -q ."),
    ),
    "python with an upper bound": (
        {"pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=3.9,<3.12"\n'},
        *("python", "python:3.11-slim", ("python -m compileall -q .",)),
    ),
    "python with uv": (
        {"pyproject.toml": '[project]\nname = "x"\n', "uv.lock": "", "test_a.py": PYTEST},
        *("python", "python:3.13-slim"),
        ("pip install --quiet uv", "uv sync --frozen", "uv run pytest -q"),
    ),
    "python with Poetry": (
        {"pyproject.toml": "[tool.poetry]\n", "poetry.lock": "", "test_a.py": PYTEST},
        *("python", "python:3.13-slim"),
        ("pip install --quiet poetry", "poetry install", "poetry run pytest -q"),
    ),
    "node with npm": (
        {
            "package.json": package(scripts={"test": "jest", "lint": "eslint", "dev": "vite"}),
            "package-lock.json": "{}",
        },
        *("node", "node:24", ("npm ci", "npm run lint", "npm run test")),
    ),
    "node without a lock file or tests": (
        {"package.json": package(scripts={"test": 'echo "Error: no test specified" && exit 1'})},
        *("node", "node:24", ("npm install", "npm pkg get name version")),
    ),
    "node with its own test runner": (
        {"package.json": package(engines={"node": "^22.1.0"}), "src/a.test.js": ""},
        *("node", "node:22", ("npm install", "node --test")),
    ),
    "node with classic yarn": (
        {"package.json": package(scripts={"test": "jest"}), "yarn.lock": "", ".nvmrc": "v20\n"},
        *("node", "node:20", ("yarn install --frozen-lockfile", "yarn run test")),
    ),
    "node with modern yarn": (
        {
            "package.json": package(scripts={"build": "tsc"}, packageManager="yarn@4.5.0"),
            "yarn.lock": "",
        },
        *("node", "node:24"),
        (
            "npm install --global --force corepack && corepack enable",
            "yarn install --immutable",
            "yarn run build",
            "npm pkg get name version",
        ),
    ),
    "node with pnpm": (
        {
            "package.json": package(scripts={"test": "vitest run"}, packageManager="pnpm@9.1.0"),
            "pnpm-lock.yaml": "",
        },
        *("node", "node:24"),
        (
            "npm install --global pnpm@9.1.0",
            "pnpm install --frozen-lockfile",
            "pnpm run test",
        ),
    ),
    "go": (
        {"go.mod": "module example.com/web\n\ngo 1.24.3\n", "main.go": "package main\n"},
        *("go", "golang:1.24", ("go vet ./...", "go test ./...")),
    ),
    "rust": (
        {"Cargo.toml": '[package]\nname = "web"\n', "Cargo.lock": ""},
        *("rust", "rust:1", ("cargo test --locked",)),
    ),
    "a rust workspace": (
        {
            "Cargo.toml": "[workspace]\n",
            "rust-toolchain.toml": '[toolchain]\nchannel = "1.80.1"\n',
        },
        *("rust", "rust:1.80.1", ("cargo test --workspace",)),
    ),
    "java with Maven": (
        {"pom.xml": "<project><maven.compiler.release>17</maven.compiler.release></project>"},
        *("java", "maven:3-eclipse-temurin-17"),
        ("mvn --batch-mode --no-transfer-progress verify",),
    ),
    "java with Gradle": (
        {"build.gradle.kts": "java { toolchain { languageVersion = JavaLanguageVersion.of(17) } }"},
        *("java", "gradle:jdk17", ("gradle --no-daemon check",)),
    ),
    "java with Gradle's wrapper": (
        {"build.gradle": "sourceCompatibility = 1.8", "gradlew": "#!/bin/sh\n"},
        *("java", "eclipse-temurin:21-jdk", ("sh gradlew --no-daemon check",)),
    ),
    "a static site": (
        {"public/index.html": "<h1>Hello</h1>"},
        *("site", "busybox:1.37"),
        ("httpd -p 8080 -h public", "wget -q -O /dev/null http://127.0.0.1:8080/index.html"),
    ),
    "a Dockerfile": (
        {"Dockerfile": FROM},
        *("image", "build.web", ('echo "the image starts"',)),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_repository_of_each_kind_gets_steps_that_fit(kind: str, tmp_path: Path) -> None:
    files, name, image, commands = KINDS[kind]

    assert steps(proposed(tmp_path, files)) == {name: (image, commands)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_named_takes_the_place_of_every_image_that_is_not_built(
    kind: str, tmp_path: Path
) -> None:
    files, name, image, commands = KINDS[kind]
    wanted = image if image.startswith("build.") else "lading/any:local"

    found = steps(proposed(tmp_path, files, image="lading/any:local"))

    assert found == {name: (wanted, commands)}


def test_tests_beside_a_dockerfile_wait_for_no_image(tmp_path: Path) -> None:
    text = proposed(tmp_path, {"Dockerfile": FROM, "go.mod": "go 1.24\n"})

    needs = {step.key: step.needs for step in planned(text).steps}
    assert needs == {"build.web": (), "test.go": (), "test.image": ("build.web",)}


def test_a_repository_of_several_kinds_gets_a_step_for_each(tmp_path: Path) -> None:
    text = proposed(tmp_path, {"go.mod": "", "package.json": "{}", "index.html": ""})

    assert list(steps(text)) == ["node", "go"]


def test_dockerfiles_in_folders_are_built_there(tmp_path: Path) -> None:
    text = proposed(tmp_path, {"api/Dockerfile": FROM, "Front End/Dockerfile": "FROM scratch\n"})

    works = {step.key: step.work for step in planned(text).steps}
    assert list(works) == ["build.front-end", "build.api", "test.image-api"]
    assert works["build.front-end"].model_dump()["context"] == "Front End"
    assert "#   api:\n#     to: registry.example.com/acme/web-api" in text


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM scratch\n",
        "FROM golang AS build\nFROM gcr.io/distroless/static\n",
        "FROM scratch AS base\nFROM alpine AS build\nFROM base\n",
    ],
)
def test_an_image_without_a_shell_gets_no_step(dockerfile: str, tmp_path: Path) -> None:
    text = proposed(tmp_path, {"Dockerfile": dockerfile})

    assert steps(text) == {}
    assert "no shell" in text


@pytest.mark.parametrize(
    ("remote", "to"),
    [
        ("git@github.com:Acme/Web.git", "ghcr.io/acme/web"),
        ("https://me:secret@github.com/acme/web", "ghcr.io/acme/web"),
        ("ssh://git@gitlab.com/acme/web.git", "registry.gitlab.com/acme/web"),
        ("https://git.example.org/acme/web", "registry.example.com/acme/web"),
        (None, "registry.example.com/acme/web"),
    ],
)
def test_the_push_stands_in_a_comment_and_works_once_that_is_taken_away(
    remote: str | None, to: str, tmp_path: Path
) -> None:
    text = proposed(tmp_path, {"Dockerfile": FROM}, repository="Acme/Web", remote=remote)

    assert all(step.stage != "push" for step in planned(text).steps)
    head, _, commented = text.partition("# push:\n")
    lines = [line.removeprefix("# ").removeprefix("#") for line in commented.splitlines()]
    opened = f"{head}push:\n" + "".join(f"{line}\n" for line in lines)
    pushes = [step.work for step in planned(opened).steps if step.stage == "push"]
    assert [work.repository for work in pushes if work.kind == "push"] == [to]
    assert "secret" not in text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "a Dockerfile"])
def test_without_a_dockerfile_a_template_stands_in_a_comment_and_works(
    kind: str, tmp_path: Path
) -> None:
    text = proposed(tmp_path, KINDS[kind][0])

    head, _, commented = text.partition("# build:\n")
    opened = f"{head}build:\n" + "".join(
        f"{line.removeprefix('# ').removeprefix('#')}\n" for line in commented.splitlines()
    )
    works = {step.key: step.work for step in planned(opened).steps}
    assert {"build.app", "push.app"} <= set(works)
    work = works["build.app"]
    assert isinstance(work, BuildWork)
    assert work.template in built_in().names


def test_a_version_from_tags_is_pretended(tmp_path: Path) -> None:
    text = proposed(tmp_path, {"pyproject.toml": '[build-system]\nrequires = ["setuptools-scm"]\n'})

    (step,) = planned(text).steps
    assert step.env["SETUPTOOLS_SCM_PRETEND_VERSION"] == "0.0.0"


def test_nothing_known_is_told_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError, match=r"Dockerfile, pyproject\.toml"):
        proposed(tmp_path, {"README.md": "hello"})


def test_nothing_known_with_an_image_is_a_step_to_fill_in(tmp_path: Path) -> None:
    assert steps(proposed(tmp_path, {"README.md": ""}, image="busybox")) == {
        "check": ("busybox", ("ls -la",))
    }


@pytest.mark.parametrize("name", ["pyproject.toml", "package.json", "Cargo.toml", "pom.xml"])
@pytest.mark.parametrize("content", ["", "[[[", "{", "[1]", '{"scripts": [1], "engines": 3}', "\0"])
def test_a_file_that_is_no_such_file_still_gives_a_pipeline(
    name: str, content: str, tmp_path: Path
) -> None:
    assert steps(proposed(tmp_path, {name: content}))


def test_what_lies_in_folders_of_others_says_nothing(tmp_path: Path) -> None:
    files = {"go.mod": "", "node_modules/x/test_a.py": UNITTEST, "vendor/y/Dockerfile": FROM}

    assert list(steps(proposed(tmp_path, files))) == ["go"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example("- a")
@example("a: b")
@example("'")
@example("it's #1")
@example("null")
@example("echo \x1b[31m")
def test_every_text_is_read_back_as_it_was_written(text: str) -> None:
    assert yaml.load(f"- {quoted(text)}\n", Loader=yaml.BaseLoader) == [text]
