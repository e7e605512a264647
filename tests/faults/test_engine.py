"""The container engine is stopped, killed, or slow, while runs go on and others wait."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest
from pydantic import SecretStr

from pipelines.progress import State
from scripts.parts import base_image
from scripts.parts.engine import PrivateEngine, private_engine
from server.config import EngineSettings, GitSettings, WorkerSettings
from server.hosts.git import hook
from tests.doubles.base import wait_until
from tests.parts.git_server import Repository
from tests.parts.lading import Running, lading, settings
from tests.parts.wire import Wire

KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
COUNTING = "for i in $(seq 1 150); do echo line $i.; usleep 20000; done"


class Place:
    """A server, and repositories that are pushed to."""

    def __init__(self, server: Running, git: Path, image: str) -> None:
        self.server = server
        self._git = git
        self._image = image

    def push(self, command: str) -> None:
        """A new repository with one step; its hook tells the server."""
        name = f"web{len(list(self._git.glob('*.git')))}"
        repository = Repository(self._git, name)
        hook.install(
            repository.bare,
            server_url=self.server.url,
            host_name="git",
            secret=KEY,
            name=f"acme/{name}",
        )
        step = f"test:\n  unit:\n    image: {self._image}\n    commands:\n      - {command}\n"
        repository.commit({".lading.yml": step})
        assert "lading" in repository.push().lower()

    def started(self, command: str, run: int) -> None:
        """Push, and wait until the step has written something."""
        self.push(command)
        self.server.running(run, "test.unit")
        wait_until(lambda: "line 5." in self.server.log(run, "test.unit"), "it writes", 30)

    def notice(self) -> str:
        """What is said of the engine."""
        return "".join(notice.text for notice in self.server.lading.board.notices)


@contextmanager
def place(folder: Path, url: str, image: str, *, patience: float = 60) -> Iterator[Place]:
    """Serve with two slots on the engine at `url`."""
    git = folder / "git" / "acme"
    git.mkdir(parents=True)
    host = GitSettings(kind="git", url=str(folder / "git"), webhook_secret=SecretStr(KEY))
    worker = WorkerSettings(memory=256 * 2**20, grace=1.0, slots=1)
    configured = settings(folder / "data", engine=url, hosts={"git": host}, worker=worker)
    engine = EngineSettings(url=url, patience=patience)
    with lading(configured.model_copy(update={"engine": engine})) as server:
        yield Place(server, git, image)


MakePlace = Callable[..., tuple[Place, PrivateEngine]]


@pytest.fixture
def with_engine(tmp_path: Path) -> Iterator[MakePlace]:
    """Makes a place on an engine of its own."""
    with ExitStack() as stack:

        def make(*, live_restore: bool, patience: float = 60) -> tuple[Place, PrivateEngine]:
            state = stack.enter_context(TemporaryDirectory(dir="/var/tmp", prefix="lading-test-"))
            engine = stack.enter_context(private_engine(Path(state), live_restore=live_restore))
            image = base_image.busybox(engine.url)
            made = place(tmp_path, engine.url, image, patience=patience)
            return stack.enter_context(made), engine

        yield make


def test_a_step_goes_on_through_a_kill_of_the_engine_that_keeps_its_containers(
    with_engine: MakePlace,
) -> None:
    here, engine = with_engine(live_restore=True)
    here.started(COUNTING, 1)

    engine.kill()
    engine.start()

    assert here.server.ended(1).state is State.SUCCESS
    numbers = re.findall(r"^line (\d+)\.$", here.server.log(1, "test.unit"), re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 151)]
    assert "[lading]" not in here.server.log(1, "test.unit")


def test_a_step_that_ended_while_the_engine_was_dead_says_that_its_output_may_have_a_hole(
    with_engine: MakePlace,
) -> None:
    here, engine = with_engine(live_restore=True)
    here.started("echo line 5.; sleep 1; echo late", 1)

    engine.kill()
    wait_until(lambda: engine.url in here.notice(), "people are told", 30)
    engine.start()

    assert here.server.ended(1).state is State.SUCCESS
    assert "the container engine was away when this step ended" in here.server.log(1, "test.unit")
    wait_until(lambda: not here.notice(), "the notice is gone", 30)


@pytest.mark.parametrize("end", [PrivateEngine.terminate, PrivateEngine.kill])
def test_a_run_whose_engine_took_its_step_along_is_an_error_and_those_that_wait_are_kept(
    with_engine: MakePlace, end: Callable[[PrivateEngine], None]
) -> None:
    here, engine = with_engine(live_restore=False)
    here.started("echo line 5.; sleep 600", 1)
    here.push("echo second")
    here.push("echo third")
    wait_until(lambda: len(waiting(here)) == 2, "two runs wait", 30)

    end(engine)
    wait_until(lambda: bool(here.notice()), "people are told", 30)
    engine.start()

    assert here.server.ended(1).state is State.ERROR
    outcome = here.server.steps(1)[0].outcome
    assert outcome is not None
    assert f"the container engine at {engine.url} was stopped or restarted" in outcome.message
    assert [here.server.ended(run).state for run in (2, 3)] == [State.SUCCESS] * 2


def test_the_queue_waits_for_an_engine_that_is_away_and_goes_on_by_itself(
    with_engine: MakePlace,
) -> None:
    here, engine = with_engine(live_restore=False)
    engine.terminate()
    wait_until(lambda: "No run waits for it" in here.notice(), "people are told", 30)
    assert here.notice().startswith(f"the container engine at {engine.url} does not answer")

    for word in ("first", "second", "third"):
        here.push(f"echo {word}")
    wait_until(lambda: "3 runs wait for it" in here.notice(), "they wait", 30)
    assert waiting(here) == [1, 2, 3]
    engine.start()

    assert [here.server.ended(run).state for run in (1, 2, 3)] == [State.SUCCESS] * 3
    wait_until(lambda: not here.notice(), "the notice is gone", 30)


def test_an_engine_that_stays_away_longer_than_patience_ends_what_runs_and_nothing_that_waits(
    with_engine: MakePlace,
) -> None:
    here, engine = with_engine(live_restore=True, patience=2)
    here.started("echo line 5.; sleep 600", 1)
    here.push("echo second")
    here.push("echo third")
    wait_until(lambda: len(waiting(here)) == 2, "two runs wait", 30)

    engine.kill()

    assert here.server.ended(1).state is State.ERROR
    outcome = here.server.steps(1)[0].outcome
    assert outcome is not None
    assert outcome.message.startswith(f"the container engine at {engine.url} does not answer")
    assert [here.server.run(run).state.ended for run in (2, 3)] == [False, False]


def waiting(here: Place) -> list[int]:
    found = here.server.api.get("/runs", params={"state": "waiting"}).json()["items"]
    return sorted(int(run["id"]) for run in found)


@pytest.fixture
def wired(engine_url: str, tmp_path: Path, busybox_image: str) -> Iterator[tuple[Place, Wire]]:
    """A place whose engine can be slow."""
    with TemporaryDirectory(dir="/dev/shm", prefix="lading-test-") as folder:
        wire = Wire(Path(folder) / "wire.sock", engine_url.removeprefix("unix://"))
        try:
            with place(tmp_path, wire.url, busybox_image) as here:
                yield here, wire
        finally:
            wire.close()


def test_while_calls_of_a_slow_engine_are_open_everything_else_goes_on(
    wired: tuple[Place, Wire],
) -> None:
    here, wire = wired
    here.started(COUNTING, 1)
    wire.hold()
    here.push("echo second")
    url = here.server.url

    with httpx2.Client(base_url=url, timeout=30) as client:
        assert "engine" in client.get("/readyz").json()["faults"]
        assert client.get("/healthz").status_code == 200
    wait_until(lambda: waiting(here) == [2], "the push is decided", 30)
    wait_until(lambda: "1 run waits for it" in here.notice(), "people are told", 30)
    wire.go_on()

    assert [here.server.ended(run).state for run in (1, 2)] == [State.SUCCESS] * 2
    numbers = re.findall(r"^line (\d+)\.$", here.server.log(1, "test.unit"), re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 151)]
