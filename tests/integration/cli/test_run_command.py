"""`lading run`, on a real engine, as a person runs it."""

from __future__ import annotations

import base64
import contextlib
import math
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

from pipelines.engine.caches import LABEL
from pipelines.engine.client import connect
from pipelines.engine.old_caches import remove_old_caches
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

    def forget_caches(self) -> None:
        """Remove the caches of steps, which outlive their runs."""
        server = f"local-{(self.marks / 'id').read_text()}"
        with contextlib.closing(connect(self.env["DOCKER_HOST"])) as client:
            remove_old_caches(client, server, before=math.inf)

    def left(self) -> list[str]:
        """What of runs from here is on the engine."""
        server = (self.marks / "id").read_text()
        wanted: dict[str, Any] = {"label": f"lading.server=local-{server}"}
        api = self._client.api
        found = [c["Names"][0] for c in api.containers(all=True, filters=wanted)]
        volumes = api.volumes(filters=wanted)["Volumes"] or []
        found += [v["Name"] for v in volumes if LABEL not in v["Labels"]]
        found += [n["Name"] for n in api.networks(filters=wanted)]
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
        home.forget_caches()
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


def test_only_steps_that_name_a_secret_get_it_and_no_output_shows_it(
    home: Home, busybox_image: str
) -> None:
    secret = "correct-horse-battery"
    home.pipeline(
        "test:\n"
        f"  names:\n    image: {busybox_image}\n    env: {{NPM: {{from_secret: npm_token}}}}\n"
        "    commands:\n      - test ${#NPM} = 21\n"
        '      - echo "<$NPM>"; printf %s "$NPM" | base64\n'
        f"  other:\n    image: {busybox_image}\n    commands:\n"
        '      - echo "other ${NPM:-has none} ${npm_token:-nor that}"\n'
        f"  lacks:\n    image: {busybox_image}\n    env: {{NO: {{from_secret: npm_tok}}}}\n"
        "    commands:\n      - echo never\n"
    )
    kept = home.folder.parent / "secrets.env"
    kept.write_text(f"npm_token={secret}\n")
    kept.chmod(0o600)

    result = home.run("--secrets", str(kept))

    assert table(result.stdout) == {
        "test.names": "passed",
        "test.other": "passed",
        "test.lacks": "error",
    }
    assert f"test.names | <{'*' * 21}>\n" in result.stdout
    assert "test.other | other has none nor that\n" in result.stdout
    assert "there is no secret npm_tok in" in result.stdout
    assert secret not in result.stdout + result.stderr
    assert base64.b64encode(secret.encode()).decode()[4:-4] not in result.stdout
    assert result.stderr == ""


def test_a_secret_file_is_warned_of_where_others_have_it(
    home: Home, step: Callable[..., str]
) -> None:
    home.pipeline(step("echo hello"))
    home.write(secrets="npm_token=correct-horse-battery\n")
    home.folder.joinpath("secrets").chmod(0o644)

    loose = home.run("--secrets", "secrets")
    commit(home.folder)
    tracked = home.run("--secrets", "secrets")

    assert "others on this machine may read secrets" in loose.stderr
    assert "every step and image may hold it" in loose.stderr
    assert "secrets is tracked by git" in tracked.stderr
    assert (loose.returncode, tracked.returncode) == (0, 0)


def test_a_step_without_its_secret_runs_and_is_said_to(
    home: Home, step: Callable[..., str]
) -> None:
    more = "    env: {NPM: {from_secret: npm_token}}\n"
    home.pipeline(step('echo "has ${NPM:-none}"', more=more))

    result = home.run()

    assert "test.unit runs without npm_token: give it with --secrets FILE\n" in result.stdout
    assert "test.unit | has none\n" in result.stdout


BESIDE = """\
    services:
      db:
        image: IMAGE
        args: [sh, -c, "exec nc -ll -p 5432 -e echo hello"]
        ready: {port: 5432}
    cache: {key: tool, paths: .cache}
    retry: 1
"""


def test_a_step_at_home_has_its_services_its_cache_and_its_tries(
    home: Home, step: Callable[..., str], busybox_image: str
) -> None:
    home.pipeline(
        step(
            "nc -w 5 db 5432 < /dev/null",
            "cat .cache/a || echo nothing yet",
            "mkdir -p .cache; echo kept > .cache/a",
            "test -e again || { touch again; exit 3; }",
            more=BESIDE.replace("IMAGE", busybox_image),
        )
    )

    first, second = home.run(), home.run()

    assert (first.returncode, second.returncode) == (0, 0), first.stdout + second.stdout
    assert "hello" in first.stdout
    assert "passed at try 2 of 2" in first.stdout
    assert "cache tool: nothing there yet" in first.stdout
    assert "cache tool: restored" in second.stdout
    assert "kept" in second.stdout


KEPT = """\
    artifacts: {paths: [out/, "*.txt"]}
    reports: {junit: report.xml}
"""
REPORT = (
    "<testsuite><testcase classname='tests' name='good'/><testcase classname='tests' name='bad'>"
    "<failure message='1 is not 2'/></testcase></testsuite>"
)


def test_artifacts_are_kept_in_the_folder_that_was_named_and_failed_tests_are_told(
    home: Home, step: Callable[..., str]
) -> None:
    made = step("mkdir out; echo one > out/a; ln -s /etc/passwd out/b; exit 1", more=KEPT)
    home.pipeline(made)
    home.write(**{"report.xml": REPORT, "here.txt": "here\n"})

    done = home.run("--artifacts", "kept")

    assert done.returncode == 1
    kept = home.folder / "kept" / "test.unit"
    found = {str(path.relative_to(kept)) for path in kept.rglob("*") if not path.is_dir()}
    assert found == {"out/a", "here.txt"}
    assert (kept / "out/a").read_text() == "one\n"
    assert "2 artifacts kept" in done.stdout
    assert "test.unit: 1 of 2 tests did not pass\n  failed tests::bad\n    1 is not 2\n" in (
        done.stdout
    )


def test_without_a_folder_artifacts_are_not_kept_and_that_is_told(
    home: Home, step: Callable[..., str]
) -> None:
    home.pipeline(step("mkdir out; echo one > out/a", more=KEPT))

    done = home.run()

    assert done.returncode == 0
    told = "artifacts of test.unit (out/, *.txt) are not kept: name a folder with --artifacts"
    assert told in done.stdout
    assert "[lading] test reports: no file matches report.xml" in done.stdout
    assert sorted(path.name for path in home.folder.iterdir()) == [".git", ".lading.yml"]
