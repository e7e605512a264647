"""`lading dockerfile`, and templates in the other commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.test_commands import lading
from tests.integration.cli.test_writing_commands import Called, called

__all__ = ["called"]

TEMPLATE = "build:\n  web:\n    template: python\n    version: '3.12'\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path], check=True)
    (tmp_path / ".lading.yml").write_text(TEMPLATE)
    return tmp_path


def test_the_dockerfile_of_a_template_is_printed_and_can_be_kept(repository: Path) -> None:
    (repository / "requirements.txt").write_text("flask==3.0\n")

    result = lading(repository, "dockerfile")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("# Written by Lading from the template python.\nFROM ")
    assert "COPY requirements.txt" in result.stdout


def test_a_dockerfile_of_ones_own_is_printed_as_it_is(called: Called, repository: Path) -> None:
    (repository / ".lading.yml").write_text("build: {web: {dockerfile: docker/web}}")
    (repository / "docker").mkdir()
    (repository / "docker" / "web").write_text("FROM x  # mine\n")

    assert called(repository, "dockerfile", "build.web") == (0, "FROM x  # mine\n", "")


@pytest.mark.parametrize(
    ("pipeline", "arguments", "told"),
    [
        ("build: {a: {}, b: {}}", (), "there are several builds: name one of a, b"),
        ("build: {a: {}}", ("c",), "there is no build 'c' (there are a)"),
        ("build: {a: {}}", ("a",), "build.a is made of Dockerfile, and there is none"),
        (TEMPLATE, ("--file", "x.yml"), "there is no pipeline file x.yml (there are .lading.yml)"),
        ("build: {a: {template: x}}", (), ".lading.yml cannot be used"),
        (
            "test: {a: {image: x, commands: a}}",
            (),
            "the pipeline builds no image: there is no Dockerfile to show",
        ),
        (TEMPLATE, ("--templates", "nowhere"), "the folder of templates nowhere cannot be read"),
    ],
)
def test_what_cannot_be_shown_is_told(
    called: Called, repository: Path, pipeline: str, arguments: tuple[str, ...], told: str
) -> None:
    (repository / ".lading.yml").write_text(pipeline)

    code, out, err = called(repository, "dockerfile", *arguments)

    assert (code, out) == (2, "")
    assert told in err


def test_lint_tells_what_a_template_misses_here(called: Called, repository: Path) -> None:
    (repository / ".lading.yml").write_text("build:\n  web: {template: go, version: '1.25'}\n")

    code, out, _ = called(repository, "lint")

    assert code == 1
    assert ".lading.yml:2:19: error: `build.web` cannot be made of the template go" in out
    (repository / "go.mod").write_text("module web\n")
    assert called(repository, "lint")[0] == 0


def test_explain_says_which_template_builds(called: Called, repository: Path) -> None:
    code, out, _ = called(repository, "explain")

    assert code == 0
    assert "builds the Dockerfile of template python" in out


def test_templates_of_ones_own_are_named_by_their_folder(called: Called, repository: Path) -> None:
    place = repository / "templates" / "php"
    place.mkdir(parents=True)
    (place / "template.toml").write_text('summary = "Ours"\ntakes = []\n')
    (place / "Dockerfile.j2").write_text("FROM {{ base }}\n")
    (repository / ".lading.yml").write_text("build: {web: {template: php, base: 'php:8'}}\n")

    code, out, _ = called(repository, "dockerfile", "--templates", "templates")

    assert (code, out) == (0, "# Written by Lading from the template php.\nFROM php:8\n")
    assert called(repository, "lint", "--templates", "templates")[0] == 0
    assert called(repository, "lint")[0] == 1
