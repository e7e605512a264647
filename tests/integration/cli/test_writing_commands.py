"""`lading lint`, `schema`, `explain` and `init`, as a person runs them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from server.cli import main
from tests.integration.cli.test_commands import ROOT, RUN, lading

GOOD = "test:\n  unit:\n    image: busybox\n    commands: [pytest -q]\n"
BROKEN = "test:\n  unit:\n    image: busybox\n    script: [pytest -q]\n"
SHOWN = """\
.lading.yml:4:5: error: unknown key `script` (P010)
   |
 4 |     script: [pytest -q]
   |     ^^^^^^
  = hint: here it is `commands`
  = see docs/reference/problems.md#p010-unknown-key

1 problem in 1 file
"""


def given(text: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        input=text,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )


def in_a_terminal(folder: Path, *arguments: str, **environ: str) -> str:
    """What a command shows where a person looks on."""
    master, slave = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environ}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        cwd=folder,
        env={name: value for name, value in env.items() if value},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    ) as process:
        os.close(slave)
        shown = b""
        while piece := _read(master):
            shown += piece
        process.wait(timeout=60)
    os.close(master)
    return shown.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # nobody holds the other end any more
        return b""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path], check=True)
    (tmp_path / ".lading.yml").write_text(GOOD)
    return tmp_path


Called = Callable[..., tuple[object, str, str]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Called:
    """Calls the command in this process, which is quicker: exit code and both streams."""

    def call(folder: Path, *arguments: str) -> tuple[object, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["lading", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return call


def commit(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name).write_text(content)
    who = ("-c", "user.name=Ada", "-c", "user.email=a@b.c")
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    subprocess.run(["git", *who, "commit", "-qm", "Begin"], cwd=folder, check=True)


def test_a_file_without_problems_is_fine(repository: Path) -> None:
    result = lading(repository, "lint")

    assert (result.returncode, result.stdout, result.stderr) == (0, "fine: .lading.yml\n", "")


def test_problems_are_shown_with_their_lines_and_end_in_exit_code_1(repository: Path) -> None:
    (repository / ".lading.yml").write_text(BROKEN)

    result = lading(repository, "lint")

    assert (result.returncode, result.stdout, result.stderr) == (1, SHOWN, "")


def test_every_file_of_the_repository_is_looked_at_from_a_folder_below(repository: Path) -> None:
    for name in (".lading/a.yml", ".lading/b.yml", "src/.lading.yml"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(GOOD)

    result = lading(repository / "src", "lint")

    assert result.stdout == "fine: .lading.yml, .lading/a.yml, .lading/b.yml\n"


def test_standard_input_and_named_files_are_looked_at(repository: Path) -> None:
    named = given(b"", "lint", str(repository / ".lading.yml"))
    read = given(BROKEN.encode(), "lint", "-", "--format", "github")

    assert (named.returncode, read.returncode) == (0, 1)
    assert read.stdout.decode() == (
        "::error file=<stdin>,line=4,col=5,title=P010 unknown key"
        "::unknown key `script`: here it is `commands`\n1 error in 1 file\n"
    )


def test_programs_get_json(repository: Path) -> None:
    (repository / ".lading.yml").write_text(BROKEN)

    data = json.loads(lading(repository, "lint", "--format", "json").stdout)

    assert (data["fine"], data["files"]) == (False, [".lading.yml"])
    (problem,) = data["problems"]
    assert (problem["code"], problem["line"], problem["column"]) == ("P010", 4, 5)
    assert problem["documentation"] == "docs/reference/problems.md#p010-unknown-key"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (b"\xff\xfe\0", "text"),
        (b"\0" * 300_000, "json"),
        (b"a: " + b"[" * 5000, "text"),
        (b"\x1b]0;x\x07", "github"),
    ],
)
def test_whatever_the_file_there_is_no_traceback(text: bytes, form: str) -> None:
    result = given(text, "lint", "-", "--format", form)

    assert (result.returncode, result.stderr) == (1, b"")
    assert b"\x1b" not in result.stdout


def test_an_encoding_that_lacks_letters_breaks_nothing(repository: Path) -> None:
    (repository / ".lading.yml").write_text("tëst: 漢\n", encoding="utf-8")

    result = lading(repository, "lint", PYTHONIOENCODING="ascii", PYTHONUTF8="0")

    assert result.returncode == 1
    assert "unknown key `t?st`" in result.stdout


def test_a_terminal_gets_colours_unless_it_minds_them(repository: Path) -> None:
    (repository / ".lading.yml").write_text(BROKEN)

    assert "\x1b[1;31merror\x1b[0m" in in_a_terminal(repository, "lint", NO_COLOR="")
    assert in_a_terminal(repository, "lint", NO_COLOR="1") == SHOWN
    assert in_a_terminal(repository, "lint", NO_COLOR="", TERM="dumb") == SHOWN


def test_the_schema_is_the_one_of_the_reference(tmp_path: Path) -> None:
    result = lading(tmp_path, "schema")

    assert result.stdout == (ROOT / "docs/reference/pipeline.schema.json").read_text()


def test_explain_says_why_for_each_condition_and_what_would_run(repository: Path) -> None:
    commit(
        repository,
        **{".lading.yml": f"name: web\nwhen: {{event: push, branch: main}}\n{GOOD}"},
    )

    result = lading(repository, "explain")

    assert result.returncode == 0
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout[:12]
    assert (
        result.stdout
        == f"""\
event    push to main
files    commit {head}

pipeline web
  starts: `when` entry 1: event push matches; branch main matches main.
    entry 1  ✓ event push matches
             ✓ branch main matches main
  plan: 1 step, at most 1 h
    test
      test.unit  1 command in busybox
                 waits for nothing
"""
    )


def test_explain_says_which_channels_move(repository: Path) -> None:
    (repository / "Dockerfile").write_text("FROM busybox\n")
    (repository / ".lading.yml").write_text(
        "build: {web: {}}\npush: {web: {to: r.example/web}}\ndeploy:\n"
        "  live: {channel: live}\n  both: {channel: both, commands: ./ship}\n"
    )

    told = lading(repository, "explain").stdout

    assert "deploy.live  moves live to what was pushed" in told
    assert (
        "deploy.both  1 command in the image of build.web, then moves both to what was pushed"
        in told
    )


def test_explain_says_what_does_not_hold(repository: Path) -> None:
    (repository / ".lading.yml").write_text(f"when: {{event: push, branch: main}}\n{GOOD}")

    result = lading(repository, "explain", "--branch", "dev")

    assert result.returncode == 0
    assert "does not start: `when` wants branch main, this push was to dev." in result.stdout
    assert "✗ wants branch main, this push was to dev" in result.stdout
    assert "plan:" not in result.stdout


def test_explain_takes_the_event_and_the_changes_as_given(repository: Path) -> None:
    (repository / ".lading.yml").write_text(
        f"when: {{event: pull_request, path: src/**}}\n{GOOD}"
        "push: {web: {to: ghcr.io/acme/web, image: {from: build.web}}}\nbuild: {web: {}}\n"
    )

    arguments = ("--event", "pull_request", "--from-fork", "--json")
    started = json.loads(
        lading(repository, "explain", *arguments, "--changed", "src/a", "--changed", "b").stdout
    )
    not_started = json.loads(
        lading(repository, "explain", *arguments, "--changed", "README.md").stdout
    )

    assert started["event"]["kind"] == "pull_request"
    assert started["event"]["from_fork"] is True
    assert started["changed"] == ["b", "src/a"]
    (pipeline,) = started["pipelines"]
    assert pipeline["start"] is True
    assert [step["name"] for step in pipeline["plan"]["steps"]] == ["web", "unit"]
    assert "from a fork never pushes" in pipeline["plan"]["left_out"]["push.web"]
    assert not_started["pipelines"][0]["start"] is False


def test_explain_of_a_broken_file_shows_its_problems(repository: Path) -> None:
    (repository / ".lading.yml").write_text(BROKEN)

    result = lading(repository, "explain")

    assert result.returncode == 1
    assert "broken: a run would start, and end in error at once" in result.stdout
    assert "4 |     script: [pytest -q]" in result.stdout


def test_explain_of_a_commit_reads_its_own_files(repository: Path) -> None:
    commit(repository)
    (repository / ".lading.yml").write_text(BROKEN)

    assert lading(repository, "explain", "--commit", "HEAD").returncode == 0
    assert lading(repository, "explain").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lint", "none.yml"), "none.yml cannot be read: No such file"),
        (("lint", "."), ". cannot be read: Is a directory"),
        (("lint", "--format", "xml"), "none of text, json, github"),
        (("explain", "--event", "merge"), "none of push, pull_request, tag, manual"),
        (("explain", "--event", "tag"), "Name it with `--tag`"),
        (("explain", "--event", "push", "--tag", "v1"), "a push has no tag"),
        (("explain", "--branch", "a", "--tag", "v1"), "a tag has no branch"),
        (("explain", "--from-fork"), "only a pull request"),
        (("explain", "--base", "a", "--changed", "b"), "leave one out"),
        (("explain", "--base", "nowhere"), "'nowhere' is no commit"),
        (("explain", "--commit", "nowhere"), "'nowhere' is no commit"),
        (("run", "--commit", "nowhere"), "'nowhere' is no commit"),
        (("run", "--pipeline", "other"), "there is no 'other' (there are default)"),
        (("run", "--step", "test.unti"), "did you mean `test.unit`?"),
        (("init",), ".lading.yml is there already: --force"),
        (("init", "--force", "--image", "No Image"), "cannot be used"),
    ],
)
def test_wrong_use_is_told_with_exit_code_2(
    repository: Path, arguments: tuple[str, ...], said: str, called: Called
) -> None:
    code, out, err = called(repository, *arguments)

    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("command", ["lint", "explain", "run"])
def test_without_a_pipeline_it_says_what_writes_one(
    repository: Path, command: str, called: Called
) -> None:
    (repository / ".lading.yml").unlink()

    code, _, err = called(repository, command)

    assert code == 2
    assert "`lading init` writes one" in err


@pytest.mark.parametrize("command", ["explain", "run"])
def test_outside_of_a_repository_it_says_so(tmp_path: Path, command: str, called: Called) -> None:
    code, _, err = called(tmp_path, command)

    assert code == 2
    assert "git init" in err


def test_of_several_pipelines_one_is_to_be_chosen(repository: Path) -> None:
    (repository / ".lading").mkdir()
    (repository / ".lading" / "docs.yml").write_text(GOOD)

    result = lading(repository, "run")

    assert result.returncode == 2
    assert "choose one with --pipeline (default, docs)" in result.stderr


def test_a_broken_pipeline_is_not_run_and_shows_its_problems(repository: Path) -> None:
    (repository / ".lading.yml").write_text(BROKEN)

    result = lading(repository, "run")

    assert (result.returncode, result.stdout) == (1, "")
    assert "4 |     script: [pytest -q]" in result.stderr


def test_init_says_what_it_found_and_writes_what_lints_clean(repository: Path) -> None:
    (repository / ".lading.yml").unlink()
    (repository / "go.mod").write_text("module x\n\ngo 1.24\n")

    result = lading(repository, "init")

    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        "found a Go module: go.mod",
        "  test.go in golang:1.24: go vet and go test, over all packages",
        "wrote .lading.yml: read it, it says what to change; then `lading run`",
    ]
    assert lading(repository, "lint").returncode == 0


def test_init_writes_over_a_file_only_when_it_is_told_to(repository: Path) -> None:
    (repository / "go.mod").write_text("module x\n")

    assert lading(repository, "init").returncode == 2
    assert (repository / ".lading.yml").read_text() == GOOD
    assert lading(repository, "init", "--force").returncode == 0
    assert "golang" in (repository / ".lading.yml").read_text()


def test_init_replaces_a_link_and_not_what_it_leads_to(repository: Path, tmp_path: Path) -> None:
    (repository / "go.mod").write_text("module x\n")
    (tmp_path / "other").write_text("other")
    (repository / ".lading.yml").unlink()
    (repository / ".lading.yml").symlink_to(tmp_path / "other")

    assert lading(repository, "init", "--force").returncode == 0
    assert (tmp_path / "other").read_text() == "other"
    assert not (repository / ".lading.yml").is_symlink()


def test_init_without_anything_known_says_what_it_looked_for(tmp_path: Path) -> None:
    result = lading(tmp_path, "init")

    assert (result.returncode, result.stdout) == (1, "")
    assert "looked for Dockerfile" in result.stderr
    assert not list(tmp_path.iterdir())
