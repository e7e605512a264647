from __future__ import annotations

import ast
import json
import re
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.images.dockerfile import base_images, instruction_lines
from pipelines.parsing import parse
from pipelines.problems import DefinitionInvalidError
from pipelines.recipes import Files, built_in, render_builds, sought
from tests.unit.pipelines.rendering import (
    CACHED,
    CASES,
    Case,
    Instruction,
    instructions,
    parsed,
    rendered,
)

# https://docs.docker.com/reference/dockerfile/#overview
WORDS = frozenset(
    {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"}
    | {"LABEL", "RUN", "USER", "WORKDIR"}
)
FILES = dict.fromkeys(
    (
        *("requirements.txt", "package.json", "package-lock.json", "go.mod", "go.sum"),
        *("Cargo.toml", "Cargo.lock", "pom.xml"),
    ),
    "",
)
BASE = {"base": "docker.io/library/thing:1"}


def problems(build: dict[str, object]) -> list[str]:
    return [f"{each.code} {each.message}: {each.hint}" for each in parsed(build).problems]


def named(text: str, word: str) -> list[str]:
    return [each.rest for each in instructions(text) if each.word == word]


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    one = request.param
    assert isinstance(one, Case)
    return one


def test_every_shipped_template_has_a_dockerfile_that_a_person_has_read() -> None:
    assert {str(one.build["template"]) for one in CASES.values()} == set(built_in().names)


def test_a_template_becomes_exactly_that_dockerfile(case: Case) -> None:
    assert rendered(case.build, case.files) == case.dockerfile.read_text()


def test_every_line_is_an_instruction_that_docker_has(case: Case) -> None:
    text = case.dockerfile.read_text()
    found = instructions(text)
    assert {each.word for each in found} <= WORDS
    assert len(found) == len(instruction_lines(text))


def test_every_base_is_named_in_full_and_none_is_latest(case: Case) -> None:
    for base in base_images(case.dockerfile.read_text()):
        assert base == "scratch" or ":" in base.rpartition("/")[2]
        assert not base.endswith(":latest")


def test_the_program_runs_as_a_user_of_numbers_above_zero(case: Case) -> None:
    last = instructions(case.dockerfile.read_text().rpartition("\nFROM ")[2])
    (user,) = [each.rest for each in last if each.word == "USER"]
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user)


def test_nothing_is_built_once_the_user_is_set(case: Case) -> None:
    words = [each.word for each in instructions(case.dockerfile.read_text())]
    assert not {"RUN", "COPY", "ENV"} & set(words[words.index("USER") :])


def test_apt_installs_what_is_asked_for_and_leaves_no_lists_and_no_logs(case: Case) -> None:
    for run in named(case.dockerfile.read_text(), "RUN"):
        if "apt-get" in run:
            assert "--no-install-recommends" in run
            assert "rm -rf /var/lib/apt/lists/*" in run
            assert "/var/log/*" in run


def test_dependencies_are_installed_before_the_sources_are_there(case: Case) -> None:
    stages = case.dockerfile.read_text().split("\nFROM ")
    for stage in stages:
        before = takewhile(lambda each: each != Instruction("COPY", ". ."), instructions(stage))
        runs = [each.rest for each in instructions(stage) if each.word == "RUN"]
        fetching = [each for each in runs if re.search(r"npm ci|mod download|cargo fetch", each)]
        assert set(fetching) <= {each.rest for each in before}


@pytest.mark.parametrize("word", ["CMD", "HEALTHCHECK"])
def test_programs_are_started_without_a_shell_between(case: Case, word: str) -> None:
    for rest in named(case.dockerfile.read_text(), word):
        assert all(isinstance(each, str) for each in json.loads(rest[rest.index("[") :]))


def test_a_builder_with_cache_mounts_gets_them_and_keeps_pips_cache(case: Case) -> None:
    mounted = rendered(case.build, case.files, features=CACHED)
    fetches = re.search(r"pip|npm|pnpm|yarn install|go mod|go build|cargo|mvn", mounted)
    assert ("--mount=type=cache,target=/" in mounted) == bool(fetches)
    assert "--no-cache-dir" not in mounted
    assert re.sub(r"--mount=\S+ ", "", mounted) == rendered(case.build, case.files).replace(
        " --no-cache-dir", ""
    )


def test_the_check_that_python_asks_with_is_python() -> None:
    text = rendered({"template": "python", "version": "3.12", "run": RUN_HTTP})
    (check,) = named(text, "HEALTHCHECK")
    ast.parse(json.loads(check[check.index("[") :])[2])


RUN_HTTP = {"port": "8080", "healthcheck": "GET /healthz"}
PLAIN = {"template": "plain", **BASE}


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (
            {"template": "pyton"},
            "P070 there is no template `pyton`: did you mean `python`?",
        ),
        (
            {"template": ["python"]},
            "P070 `template` is no name: there are go, java, node, plain, python, rust, static",
        ),
        (
            {"template": "python", "version": "3.12", "base": "python:3.12"},
            "P071 `base` and `version` both say which base: take one of the two out",
        ),
        (
            {"template": "python"},
            (
                'P012 the template python is not told which base: add `version: "3.13"`, or `base` '
                "with an image"
            ),
        ),
        ({"template": "plain"}, "P012 the template plain is not told which base: add `base: …`"),
        (
            {"template": "static", "dockerfile": "Dockerfile"},
            (
                "P071 `dockerfile` goes with a Dockerfile, and `template` writes one: take one of "
                "the two out"
            ),
        ),
        ({"template": "static", "sit": "a"}, "P010 unknown key `sit`: did you mean `site`?"),
        ({"template": "static", "context": "../x"}, "P024 `../x` leaves the repository"),
        ({**PLAIN, "packages": ["a b"]}, "P072 `a b` is no package"),
        ({**PLAIN, "packages": ["nano-"]}, "P072 `nano-` is no package"),
        ({**PLAIN, "files": ["--from=x"]}, "P072 `--from=x` is no path that can be copied"),
        ({**PLAIN, "env": {"A": "a\nRUN b"}}, "P072 `a RUN b` is no single line"),
        ({**PLAIN, "env": {"A B": "a"}}, "P023 `A B` cannot be a variable's name"),
        ({**PLAIN, "env": {"A": {"from_secret": "s"}}}, "P075 a secret in the environment"),
        ({**PLAIN, "labels": {"A": "a"}}, "P072 `A` is no label"),
        ({**PLAIN, "steps": ["a\x1bb"]}, "P072 `a\x1bb` holds a control character"),
        ({**PLAIN, "run": {"user": "root"}}, "P074 `user: root` would run the program as root"),
        ({**PLAIN, "run": {"user": "0"}}, "P074 `user: 0` is no user for a program"),
        ({**PLAIN, "run": {"user": "000:1"}}, "P074 `user: 000:1` is no user for a program"),
        ({**PLAIN, "run": {"user": "1;id"}}, "P072 `1;id` is no user"),
        ({**PLAIN, "run": {"port": "70000"}}, "P072 `70000` is no port"),
        ({**PLAIN, "run": {"port": "http"}}, "P072 `http` is no port"),
        ({**PLAIN, "run": {"workdir": "app"}}, "P072 `app` is no folder of an image"),
        ({**PLAIN, "run": {"healthcheck": "GET /x"}}, "P012 `healthcheck: GET …` without a `port`"),
        (
            {**PLAIN, "run": {"port": "1", "healthcheck": "get it"}},
            "P072 `get it` asks for no path",
        ),
        ({**PLAIN, "run": {"command": []}}, "P014 the command is empty"),
        ({**PLAIN, "run": {"cmd": "a"}}, "P010 unknown key `cmd`"),
        ({"template": "plain", "base": "a:${branch}"}, "P025 `a:${branch}` is no image name"),
        (
            {"packages": ["a"]},
            (
                "P010 unknown key `packages`: `packages` goes with a `template`; a Dockerfile says "
                "it itself"
            ),
        ),
    ],
)
def test_a_mistake_is_told_before_anything_runs(build: dict[str, object], told: str) -> None:
    (problem,) = problems(build)
    assert problem.startswith(told)


def test_a_mistake_deep_in_a_template_is_told_with_its_place() -> None:
    build = {**PLAIN, "run": {"port": "8080", "user": "root"}, "packages": ["ok", "a;b"]}
    text = json.dumps({"build": {"web": build}})
    found = {each.code: each.column for each in parsed(build).problems}
    assert found == {"P074": text.index('"root"') + 1, "P072": text.index('"a;b"') + 1}


@pytest.mark.parametrize(
    ("build", "files", "told"),
    [
        (
            {"template": "python", "version": "3.12", "dependencies": "prod.txt"},
            {},
            "`build.web`: `dependencies: prod.txt` is not in the commit",
        ),
        (
            {"template": "python", "version": "3.12", "dependencies": "poetry.lock"},
            {"poetry.lock": ""},
            (
                "`build.web`: `dependencies: poetry.lock` is no lock file that it knows (uv.lock, "
                "requirements.txt)"
            ),
        ),
        (
            {"template": "node", "version": "22"},
            {"package.json": ""},
            (
                "`build.web` cannot be made of the template node: there is a package.json and no "
                "lock file beside it"
            ),
        ),
        (
            {"template": "go", "version": "1.25"},
            {},
            "`build.web` cannot be made of the template go: there is no go.mod in the context",
        ),
        (
            {"template": "java", "base": "maven:3"},
            {"pom.xml": ""},
            (
                "`build.web` cannot be made of the template java: `runtime` follows the `version`, "
                "and there is none beside `base`"
            ),
        ),
    ],
)
def test_what_the_commit_does_not_have_is_told(
    build: dict[str, object], files: dict[str, str], told: str
) -> None:
    with pytest.raises(DefinitionInvalidError) as caught:
        rendered(build, files)
    (problem,) = caught.value.problems
    assert (problem.code, problem.message) == ("P073", told)
    assert problem.hint


def test_a_pipeline_of_endless_builds_is_refused_and_asks_for_little() -> None:
    one: dict[str, object] = {"template": "python", "version": "3"}
    text = json.dumps({"build": {f"b{n}": {**one, "context": f"{n}"} for n in range(900)}})
    read = parse(text, ".lading.yml")
    assert read.definition is not None
    assert len(sought([read.definition], built_in()).paths) <= 3 * 100
    with pytest.raises(DefinitionInvalidError, match="900 builds of templates"):
        render_builds(read.definition, built_in(), Files())
    assert problems({**one, "context": "c" * 256}) != []


def test_a_lock_file_with_hashes_is_installed_with_hashes() -> None:
    build = {"template": "python", "version": "3.12"}
    with_hashes = rendered(build, {"requirements.txt": "a==1 --hash=sha256:00"})
    assert "--require-hashes" in with_hashes
    assert "--require-hashes" not in rendered(build, {"requirements.txt": "a==1"})


def test_files_are_looked_for_in_the_context() -> None:
    build = {"template": "node", "version": "22", "context": "web"}
    assert "npm ci" in rendered(build, {"web/package.json": "", "web/package-lock.json": ""})
    assert "npm" not in rendered(build, {"package.json": "", "package-lock.json": ""})


HOSTILE_TEXTS = [
    "x\nUSER root",
    "x\\\nUSER root",
    "x\\",
    "<<EOF\nUSER root\nEOF",
    'a" \\\nUSER root',
    "a\rUSER root",
    "--privileged",
    '["a"]',
    "$(id)",
    "${HOME}",
    "# escape=`",
    "'\n\n\nUSER root #",
]
TEXT = st.text(
    st.sampled_from([*"ab \n\r\t\"'\\$`#<>[]{}(),;|&=-:@/.*?!~%", "\x0b", "\x85", "\u2028", "é"])
    | st.characters(codec="utf-8"),
    max_size=30,
) | st.sampled_from(HOSTILE_TEXTS)
LISTS = st.lists(TEXT, min_size=1, max_size=2)
RUN = st.fixed_dictionaries(
    {},
    optional={
        "command": TEXT | LISTS,
        "user": TEXT,
        "workdir": TEXT,
        "port": TEXT,
        "healthcheck": TEXT | LISTS,
    },
)
SHARED = {
    "packages": LISTS,
    "build_packages": LISTS,
    "dependencies": TEXT,
    "files": LISTS,
    "steps": LISTS,
    "env": st.dictionaries(TEXT | st.just("A"), TEXT, max_size=2),
    "labels": st.dictionaries(TEXT | st.just("a"), TEXT, max_size=2),
    "run": RUN,
    "base": TEXT,
    "version": TEXT,
}
OWN = {"python": ["wheels", "uv"], "go": ["main", "runtime"], "static": ["site"]} | {
    "rust": ["binary", "runtime"],
    "java": ["jar", "runtime"],
}
HOSTILE = st.sampled_from(built_in().names).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.fixed_dictionaries(
            {}, optional={**SHARED, **dict.fromkeys(OWN.get(name, ()), TEXT), "tags": LISTS}
        ),
    )
)
SHAPES = {
    "RUN": r"RUN (?!--|\[)[^\\]*|RUN \[.*\]",
    "ENV": r"ENV .*",
    "CMD": r"CMD \[.*\]",
    "HEALTHCHECK": r"HEALTHCHECK --interval=30s .* CMD \[.*\]",
    "LABEL": r"LABEL .*",
    "USER": r"USER [1-9][0-9]*:[1-9][0-9]*",
    "COPY": r"COPY (--from=(build|packages) )?[^\s$\\\[<]+( [^\s$\\\[<]+)+",
    "FROM": r"FROM [^\s$\\]+( AS (build|packages))?",
    "WORKDIR": r"WORKDIR /[^\s$\\]*",
    "EXPOSE": r"EXPOSE [0-9]+",
}


@settings(max_examples=300)
@given(HOSTILE)
def test_no_value_can_be_more_than_a_value(hostile: tuple[str, dict[str, object]]) -> None:
    stays_a_value(*hostile)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
@pytest.mark.parametrize("name", built_in().names)
def test_no_hostile_value_is_more_than_a_value(name: str, text: str) -> None:
    run: dict[str, object] = dict.fromkeys(("user", "workdir", "port"), text)
    keys = dict.fromkeys(("base", "version", "dependencies", *OWN.get(name, ())), text)
    lists = {key: [text] for key in ("packages", "build_packages", "files", "steps", "tags")}
    stays_a_value(name, {**keys, **lists, "env": {"A": text}, "labels": {"a": text}})
    stays_a_value(name, {"env": {text: "a"}, "labels": {text: "a"}})
    for each in (*run.items(), ("command", text), ("command", [text]), ("healthcheck", text)):
        stays_a_value(name, {"run": dict([each])})
    stays_a_value(name, {"run": {"healthcheck": [text]}})
    stays_a_value(name, {"run": {"healthcheck": f"GET /{text}", "port": "80"}})


def stays_a_value(name: str, parameters: dict[str, object]) -> None:
    # Each alone, so that one bad value does not keep the others from being tried.
    for key, value in parameters.items():
        usual: dict[str, object] = {} if key in ("base", "version") else dict(BASE)
        if "runtime" in built_in().template(name).parameters:
            usual["runtime"] = "debian:12"
        build = {"template": name, **usual, key: value}
        if parsed(build).problems:
            continue
        try:
            text = rendered(build, FILES)
        except DefinitionInvalidError:
            continue
        found = instructions(text)
        for each in found:
            assert re.fullmatch(SHAPES[each.word], f"{each.word} {each.rest}"), each
        words = [each.word for each in found]
        assert words.count("FROM") <= 2
        assert words.count("USER") == 1
        assert words.count("CMD") <= 1
        assert words.count("RUN") <= 9


# What JSON writes as one character.
BASIC = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=40)


@given(BASIC)
def test_an_environment_value_is_read_back_as_it_was(value: str) -> None:
    build = {**PLAIN, "env": {"A": value}}
    if parsed(build).problems:
        assert not value.isprintable()
        return
    (rest,) = named(rendered(build), "ENV") if value else ['A=""']
    assert re.sub(r"\\(.)", r"\1", rest.removeprefix('A="').removesuffix('"')) == value


@given(st.lists(BASIC, min_size=1, max_size=3))
def test_a_step_reaches_the_shell_as_it_was(steps: list[str]) -> None:
    build = {**PLAIN, "steps": steps}
    if parsed(build).problems:
        return
    runs = named(rendered(build), "RUN")
    assert [json.loads(each)[2] if each[:1] == "[" else each for each in runs] == [
        each.strip() for each in steps
    ]
