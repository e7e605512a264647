"""The documentation holds: its examples run, and what it names is there."""

from __future__ import annotations

import base64
import importlib.util
import itertools
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from pipelines.events import EventKind
from pipelines.matching import decide
from pipelines.parsing import SINGLE_FILE, parse
from pipelines.planning import PlanDefaults, plan
from pipelines.progress import State
from server import cli
from server.config import ConfigInvalidError, GitSettings, Settings, load, shape
from server.config.environment import NO_SETTINGS, variable
from server.hosts.factory import make_hosts
from server.hosts.git import hook
from tests.builders import event
from tests.parts.git_server import Repository
from tests.parts.lading import lading, settings
from tests.unit.docs import pages
from tests.unit.docs.pages import Block, Page

ROOT = Path(__file__).resolve().parents[2]
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
FOLDERS = "benchmarks|docs|examples|pipelines|requirements|scripts|server|tests"


def all_pages() -> Iterator[Page]:
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    return (pages.read(ROOT, path) for path in sorted(found))


PAGES = {page.name: page for page in all_pages()}
BLOCKS = [block for page in PAGES.values() for block in page.blocks]
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=list(PAGES))


def every_block(*kinds: str) -> pytest.MarkDecorator:
    found = [block for block in BLOCKS if block.info in kinds]
    assert found, f"no page has a block of {kinds}"
    return pytest.mark.parametrize("block", found, ids=map(str, found))


def test_every_block_is_of_a_kind_that_somebody_looks_at() -> None:
    looked_at = {"yaml", "yaml problem", "toml", "sh", "python", "dockerfile", ""}
    foreign = {"ini", "nginx"}  # other programs' files: their settings of ours are looked up
    assert {block.info for block in BLOCKS} <= looked_at | foreign


@every_block("yaml")
def test_a_pipeline_has_no_problems_and_can_be_planned(block: Block) -> None:
    parsed = parse(block.text, SINGLE_FILE)

    assert [str(problem) for problem in parsed.problems] == []
    assert parsed.definition is not None
    pushed = event()
    assert decide(parsed.definition, pushed, None).start
    planned = plan(
        parsed.definition,
        pushed,
        committed_at=datetime.now(UTC),
        defaults=PlanDefaults(timeout=3600),
    )
    assert planned.steps


@every_block("yaml problem")
def test_a_mistake_gives_the_very_problem_that_the_page_shows(block: Block) -> None:
    page = PAGES[block.page]
    shown = page.blocks[page.blocks.index(block) + 1]

    said = "".join(f"{problem}\n" for problem in parse(block.text, SINGLE_FILE).problems)

    assert said
    assert said == shown.text


@every_block("toml")
def test_a_configuration_can_be_loaded(block: Block, tmp_path: Path) -> None:
    page = PAGES[block.page]
    before = [other for other in page.of("toml") if other.line < block.line][-1:]
    # A block may go on where the page's last one ended.
    texts = [block.text, *(earlier.text + block.text for earlier in before)]

    faults = [_faults(text, tmp_path) for text in texts]

    assert [] in faults, faults[0]


def _faults(text: str, folder: Path) -> list[str]:
    """What is wrong with a configuration, once its `…` stand for something."""
    path = folder / "config.toml"
    path.write_text(re.sub(r'"(whsec_)?…"', _secret_of(text), text), encoding="utf-8")
    try:
        make_hosts(load(path, {}))
    except ConfigInvalidError as error:
        return [f"{fault.setting} {fault.wrong}" for fault in error.faults]
    return []


def _secret_of(text: str) -> Callable[[re.Match[str]], str]:
    """Another secret for each `…`, as a person would choose."""
    numbers = itertools.count(len(text))

    def secret(found: re.Match[str]) -> str:
        key = base64.b64encode(next(numbers).to_bytes(32, "big")).decode()
        return f'"{found.group(1) or ""}{key}"'

    return secret


@every_block("sh")
def test_a_shell_block_is_shell_and_its_scripts_are_there(block: Block) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    named = re.findall(rf"(?:^|\s)((?:{FOLDERS})/\S+)", block.text, re.MULTILINE)
    assert [name for name in named if not _is_there(name)] == []


@every_block("python")
def test_a_python_block_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@every_page
def test_every_link_leads_somewhere(page: Page) -> None:
    assert [link for link in page.links if not _leads(page, link)] == []


def _leads(page: Page, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = ((ROOT / page.name).parent / path).resolve() if path else ROOT / page.name
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or anchor in pages.read(ROOT, target).anchors


def test_the_index_lists_every_page() -> None:
    listed = {f"docs/{link}" for link in PAGES["docs/README.md"].links}
    pages_of_docs = {name for name in PAGES if name.startswith("docs/")} - {"docs/README.md"}
    assert pages_of_docs - listed == set()


@every_page
def test_every_path_that_is_named_is_there(page: Page) -> None:
    named = [span for span in page.spans if re.fullmatch(rf"(?:{FOLDERS})/[^\s<…]*", span)]
    assert [name for name in named if not _is_there(name)] == []


def _is_there(name: str) -> bool:
    return any(ROOT.glob(name.rstrip("/")))


@every_page
def test_every_command_that_is_named_is_one(page: Page) -> None:
    faults = [fault for words in page.commands if (fault := _command_fault(words))]
    assert faults == []


def _command_fault(words: list[str]) -> str | None:
    """Why the command line knows no such command or option; None where it does."""
    command: Any = get_command(cli.app)  # a group of click's, whichever way typer brings it
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            return f"there is no `{name}` in `lading {' '.join(words)}`"
        command = command.commands[name]
    known = {"--help", *(option for one in command.params for option in one.opts)}
    unknown = [word for word in rest if word.startswith("--") and word not in known]
    return f"there is no {unknown} for `lading {' '.join(words)}`" if unknown else None


def test_every_command_is_named_somewhere() -> None:
    words = {tuple(found) for page in PAGES.values() for found in page.commands}
    missing = [
        path
        for path in _all_commands(get_command(cli.app))
        if path != ("version",) and not any(found[: len(path)] == path for found in words)
    ]
    assert missing == []


def _all_commands(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    below: dict[str, object] = getattr(command, "commands", {})
    if not below:
        yield path
    for name, one in below.items():
        yield from _all_commands(one, (*path, name))


@every_page
def test_every_setting_that_is_named_exists(page: Page) -> None:
    tables = "|".join([*shape.tables(Settings), *shape.named_tables(Settings)])
    named = [span for span in page.spans if re.fullmatch(rf"(?:{tables})\.[^\s*]+", span)]
    assert [name for name in named if _general(name) not in SETTINGS and not _is_room(name)] == []


def _general(name: str) -> str:
    """`hosts.*.token` for `hosts.github.token`: tables that a person names have any name."""
    named = r'("[^"]*"|<[^>]*>|[^.]+)'
    name = re.sub(rf"^(hosts|registries)\.{named}", r"\1.*", name)
    return re.sub(rf"\.repositories\.{named}", ".repositories.*", name)


def _settings() -> Iterator[shape.Path]:
    """Every setting's place, with `*` for names that are a person's own."""
    for kind in shape.KINDS:
        host = {"kind": kind, "repositories": {"*": {}}}
        yield from (path for path, _ in shape.places({"hosts": {"*": host}}))
    yield from (path for path, _ in shape.places({"registries": {"*": {}}}))


SETTINGS = {".".join(path) for path in _settings()}


def _is_room(name: str) -> bool:
    """`server.app` is a module, not a setting."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@every_page
def test_every_variable_of_ours_that_is_named_exists(page: Page) -> None:
    text = page.prose + "".join(block.text for block in page.blocks)
    named = set(re.findall(r"\bLADING_[A-Z0-9_]*[A-Z0-9]", text))
    known = [variable(path).replace("*", "") for path in _settings()]
    shapes = [re.compile(re.sub(r"(?<=__)_(?=__)", "[A-Z0-9_]+", one)) for one in known]
    unknown = [
        name
        for name in sorted(named - NO_SETTINGS)
        if not any(one.fullmatch(name.removesuffix("_FILE")) for one in shapes)
    ]
    assert unknown == []


def test_the_first_pipeline_runs_as_its_page_shows_it(
    tmp_path: Path, engine_url: str, python_image: str
) -> None:
    page = PAGES["docs/first-pipeline.md"]
    hello, test = page.of("python")
    (dockerfile,) = page.of("dockerfile")
    pipeline = page.of("yaml")[0]
    git = tmp_path / "git"
    git.mkdir()
    repository = Repository(git, "hello")
    repository.commit(
        {
            "hello.py": hello.text,
            "test_hello.py": test.text,
            "Dockerfile": dockerfile.text.replace("python:3.12-slim", python_image),
            ".lading.yml": pipeline.text,
        }
    )
    host = GitSettings.model_validate({"kind": "git", "url": str(git), "webhook_secret": KEY})
    configured = settings(tmp_path / "data", engine=engine_url, hosts={"ours": host})
    with lading(configured) as server:
        hook.install(
            repository.bare, server_url=server.url, host_name="ours", secret=KEY, name="hello"
        )
        said = repository.push("HEAD:refs/heads/main")
        run = int(re.findall(r"/runs/(\d+)", str(said))[-1])

        assert server.ended(run).state is State.SUCCESS, server.run(run).sentence
        assert list(server.states(run)) == [
            "build.hello",
            "test.in-the-image",
            "test.says-hello",
        ]


def test_what_the_commands_show_is_what_the_page_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = PAGES["docs/how-to/write-a-pipeline.md"]
    (broken,) = [block for block in page.blocks if block.info == "yaml problem"]
    (explained,) = [block for block in page.of("yaml") if "name: web" in block.text]
    _, linted, not_started, started = [block.text for block in page.blocks if not block.info]
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)

    def shown(text: str, *arguments: str) -> str:
        (tmp_path / SINGLE_FILE).write_text(text, encoding="utf-8")
        monkeypatch.setattr("sys.argv", ["lading", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().out

    assert shown(broken.text, "lint") == linted
    assert shown(explained.text, "explain", "--branch", "dev") == not_started
    assert shown(explained.text, "explain", "--tag", "v1.2.3") == started


def test_events_that_the_documentation_names_are_those_there_are() -> None:
    assert {"push", "pull_request", "tag", "schedule", "manual"} == set(EventKind)
