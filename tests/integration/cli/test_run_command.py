"""`lading run`, on a real engine, as a person runs it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from scripts.parts.registry import Registry
from tests.doubles.base import wait_until
from tests.integration.cli.test_commands import ROOT, RUN
from tests.integration.cli.test_writing_commands import commit, in_a_terminal


class Home:
    """A checkout, a place for marks, and the engine."""

    def __init__(self, folder: Path, engine_url: str, client: docker.DockerClient) -> None:
        self.folder = folder / "web"
        self.folder.mkdir()
        self._client = client
        runtime = folder / "runtime"
        runtime.mkdir()
        self.env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DOCKER_HOST": engine_url,
            "XDG_RUNTIME_DIR": str(runtime),
        }
        self.marks = runtime / "lading"
        subprocess.run(["git", "init", "-q", "-b", "main", self.folder], check=True)

    def write(self, **files: str) -> None:
        for name, content in files.items():
            (self.folder / name).write_text(content)

    def pipeline(self, text: str) -> None:
        (self.folder / ".lading.yml").write_text(text)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", RUN, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command("run", *arguments),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            self.command("run", *arguments),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def left(self) -> list[str]:
        """What of runs from here is on the engine."""
        server = (self.marks / "id").read_text()
        wanted: dict[str, Any] = {"label": f"lading.server=local-{server}"}
        api = self._client.api
        found = [c["Names"][0] for c in api.containers(all=True, filters=wanted)]
        found += [v["Name"] for v in api.volumes(filters=wanted)["Volumes"] or []]
        found += [
            tag
            for image in self._client.images.list()
            for tag in image.tags
            if f":attempt.local-{server}" in tag
        ]
        return found


@pytest.fixture
def home(tmp_path: Path, engine_url: str, docker_client: docker.DockerClient) -> Iterator[Home]:
    home = Home(tmp_path, engine_url, docker_client)
    yield home
    if (home.marks / "id").exists():
        assert home.left() == []
        assert [path.name for path in home.marks.iterdir()] == ["id"]


@pytest.fixture
def step(busybox_image: str) -> Callable[..., str]:
    """A pipeline of one step with these commands."""

    def step(*commands: str, more: str = "") -> str:
        lines = "".join(f"      - {command}\n" for command in commands)
        return f"test:\n  unit:\n    image: {busybox_image}\n{more}    commands:\n{lines}"

    return step


def table(shown: str) -> dict[str, str]:
    """The closing table: each step's result."""
    _, _, rows = shown.partition("\nstep ")
    found = [re.match(r"(\S+(?: \(.*?\))?)\s{2,}(\S+(?: run)?)", row) for row in rows.splitlines()]
    return {each[1]: each[2] for each in found[1:] if each}


def test_what_lies_in_the_working_tree_is_built_and_tested_and_nothing_is_pushed(
    home: Home, busybox_image: str
) -> None:
    home.pipeline(
        "build:\n  web: {}\n"
        "test:\n"
        "  unit:\n    commands: [cat /built, cat new.txt, cat ignored.txt || true]\n"
        "  tell:\n    image: {from: build.web}\n    commands: [echo told]\n"
        "    needs: [push.web]\n"
        "push:\n  web:\n    to: registry.invalid/acme/web\n    needs: [test.unit]\n"
    )
    commit(home.folder, Dockerfile=f"FROM {busybox_image}\nCOPY new.txt /built\n")
    home.write(**{"new.txt": "of the working tree\n", ".gitignore": "ignored.txt\n"})
    home.write(**{"ignored.txt": "nobody sees this\n"})

    result = home.run()

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("test.unit | of the working tree\n") == 2
    assert "nobody sees this" not in result.stdout
    assert "push.web is not run: nothing is pushed from here; on the server it goes to" in (
        result.stdout
    )
    assert table(result.stdout) == {
        "build.web": "passed",
        "test.unit": "passed",
        "push.web": "not run",
        "test.tell": "not run",
    }
    assert result.stdout.splitlines()[-1].startswith("2 steps passed in")


def test_a_template_is_built_of_what_lies_here(home: Home, busybox_image: str) -> None:
    home.write(hello="hello from here\n")
    home.pipeline(
        f"build:\n  web: {{template: plain, base: '{busybox_image}', files: [hello]}}\n"
        "test:\n  unit: {commands: cat /app/hello}\n"
    )

    done = home.run()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello from here" in done.stdout


def test_a_failing_step_ends_in_exit_code_1_and_says_how(
    home: Home, step: Callable[..., str]
) -> None:
    home.pipeline(step("echo before", "sh -c 'exit 3'", "echo after"))

    result = home.run()

    assert result.returncode == 1
    assert "test.unit | before\n" in result.stdout
    assert "test.unit | after\n" not in result.stdout
    assert "test.unit | failed after" in result.stdout
    assert result.stdout.splitlines()[-1] == "test.unit failed: exit code 3"


def test_a_commit_is_run_as_it_is(home: Home, step: Callable[..., str]) -> None:
    home.pipeline(step("echo committed $CI_COMMIT_BRANCH $CI_REPO $CI_RUN"))
    commit(home.folder)
    home.pipeline(step("echo changed"))

    result = home.run("--commit", "HEAD", "--branch", "dev")

    assert "test.unit | committed dev web 0\n" in result.stdout
    assert "changed" not in result.stdout


def test_a_chosen_step_runs_alone(home: Home, busybox_image: str) -> None:
    home.pipeline(
        "test:\n"
        f"  one: {{image: {busybox_image}, commands: [echo one-ran]}}\n"
        f"  two: {{image: {busybox_image}, commands: [echo second], matrix: {{v: [a, b]}}}}\n"
    )

    result = home.run("--step", "test.two")

    assert result.returncode == 0
    assert table(result.stdout) == {"test.two (a)": "passed", "test.two (b)": "passed"}
    assert "one-ran" not in result.stdout


def test_a_pipeline_that_the_event_would_not_start_runs_all_the_same(
    home: Home, step: Callable[..., str]
) -> None:
    home.pipeline("when: {event: tag}\n" + step("echo ran $CI_EVENT"))

    result = home.run()

    assert result.returncode == 0
    assert "such a push would not start it: `when` wants event tag" in result.stdout
    assert "test.unit | ran push\n" in result.stdout


def test_a_step_gets_as_much_as_it_asks_for_and_the_usual_bounds_without(
    home: Home, step: Callable[..., str]
) -> None:
    limit = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
    home.pipeline(step(f"{limit} || true", more="    resources: {memory: 3GiB}\n"))
    more = home.run()
    home.pipeline(step(f"{limit} || true"))

    assert f"test.unit | {3 * 2**30}\n" in more.stdout
    assert f"test.unit | {2 * 2**30}\n" in home.run().stdout


def ended_by(home: Home, number: int, text: str) -> tuple[int, str]:
    """The exit code and output of a run that gets a signal once it has said something."""
    with home.started() as process:
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if line == text:
                process.send_signal(number)
        return process.wait(timeout=60), shown


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_lets_its_steps_end_and_removes_everything(
    home: Home, step: Callable[..., str], number: int, code: int
) -> None:
    home.pipeline(
        step("\"trap 'echo tidied; exit 0' TERM; echo ready; sleep 60 & wait\"", "echo not reached")
    )

    ended, shown = ended_by(home, number, "test.unit | ready\n")

    assert ended == code
    assert "test.unit | tidied\n" in shown
    assert "test.unit | not reached" not in shown
    assert table(shown) == {"test.unit": "cancelled"}


def test_a_second_interrupt_ends_a_step_that_does_not_listen_at_once(
    home: Home, step: Callable[..., str]
) -> None:
    home.pipeline(step("\"trap 'echo deaf' TERM; echo ready; while :; do sleep 1 || true; done\""))

    with home.started() as process:
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if line in ("test.unit | ready\n", "test.unit | deaf\n"):
                process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130

    assert "once more ends them at once" in shown
    took = re.search(r"cancelled after ([\d.]+) s", shown)
    assert took is not None
    assert float(took[1]) < 10


def test_what_a_killed_run_left_is_removed_by_the_next(
    home: Home, step: Callable[..., str]
) -> None:
    home.pipeline(step("echo ready", "sleep 60"))
    with home.started() as process:
        assert process.stdout is not None
        assert any(line == "test.unit | ready\n" for line in process.stdout)
        process.kill()
        process.wait(timeout=60)
    assert home.left()

    home.pipeline(step("echo next"))
    assert home.run().returncode == 0

    wait_until(lambda: home.left() == [], "the engine is tidy", 20)


def test_a_reader_that_goes_away_ends_the_run(home: Home, step: Callable[..., str]) -> None:
    home.pipeline(step('"while echo tick; do sleep 0.1; done"'))

    with home.started() as process:
        assert process.stdout is not None
        assert any("tick" in line for line in process.stdout)
        process.stdout.close()
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE


def test_a_terminal_shows_what_is_waited_for_and_ends_without_it(
    home: Home, step: Callable[..., str]
) -> None:
    home.pipeline(step("sleep 2", "printf half; sleep 1; echo ' done'"))

    shown = in_a_terminal(home.folder, "run", **{**home.env, "NO_COLOR": ""})

    assert re.search(r"test\.unit: running \(\d", shown)
    plain = re.sub(r"\x1b\[[0-9;]*[mK]", "", shown)
    assert "test.unit | half\rtest.unit | half done\n" in plain
    assert plain.rstrip().splitlines()[-1].startswith("1 step passed in")


def test_an_engine_that_does_not_answer_is_told_with_what_to_do(
    home: Home, step: Callable[..., str]
) -> None:
    home.pipeline(step("echo hello"))

    result = home.run("--engine", "unix:///nowhere/docker.sock")

    assert result.returncode == 1
    assert "no container engine answers at unix:///nowhere/docker.sock" in result.stderr
    assert "--engine or DOCKER_HOST" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_image_that_cannot_be_had_is_told(home: Home, registry: Registry) -> None:
    home.pipeline(f"test: {{unit: {{image: '{registry.address}/none:1', commands: [a]}}}}\n")

    result = home.run()

    assert result.returncode == 1
    assert f"test.unit | Pulling {registry.address}/none:1\n" in result.stdout
    assert table(result.stdout) == {"test.unit": "error"}


@pytest.mark.parametrize("kind", ["python", "site", "image"])
def test_what_init_writes_runs(
    home: Home, busybox_image: str, python_image: str, kind: str
) -> None:
    test = "import unittest\n\nclass T(unittest.TestCase):\n    def test_it(self): pass\n"
    files, image = {
        "python": ({"app.py": "", "test_app.py": test}, python_image),
        "site": ({"index.html": "<h1>Hello</h1>\n"}, busybox_image),
        "image": ({"Dockerfile": f"FROM {busybox_image}\n"}, busybox_image),
    }[kind]
    home.write(**files)
    subprocess.run(
        home.command("init", "--image", image), cwd=home.folder, env=home.env, check=True
    )

    result = home.run()

    assert result.returncode == 0, result.stdout
    assert set(table(result.stdout).values()) == {"passed"}
