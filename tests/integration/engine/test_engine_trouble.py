"""An engine that goes away: between us and it stands a wire that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import AF_UNIX, SHUT_RDWR, socket

import pytest

from pipelines.engine.interruption import Patience
from pipelines.engine.leftovers import remove_leftovers
from pipelines.problems import ExecutorUnavailableError
from pipelines.progress import State
from pipelines.source import GitSource
from pipelines.testing import commands_step, plan_of
from tests.integration.engine.bench import Bench, engine_at, run, until

PATIENT = Patience(every=0.3, silence=20)
IMPATIENT = Patience(every=0.3, silence=1)


class Wire:
    """A unix socket before the engine's own."""

    def __init__(self, path: Path, target: str) -> None:
        self.url = f"unix://{path}"
        self._target = target
        self._broken = False
        self._pairs: list[tuple[socket, socket, bytearray]] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket(AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(64)
        self._spawn(self._accept)

    def drop(self, *, only: str = "") -> None:
        """End every connection, or those that asked for something; new ones may come."""
        for near, far, asked in [pair for pair in self._pairs if only.encode() in pair[2]]:
            asked.clear()
            for end in (near, far):
                with contextlib.suppress(OSError):
                    end.shutdown(SHUT_RDWR)

    def asked(self, word: str) -> bool:
        """Whether somebody has asked for it."""
        return any(word.encode() in asked for _, _, asked in self._pairs)

    def cut(self) -> None:
        """As if the engine were killed: no connection any more."""
        self._broken = True
        self.drop()

    def mend(self) -> None:
        """As if it were started again."""
        self._broken = False

    def close(self) -> None:
        """Stop and wait for all threads."""
        self.cut()
        with contextlib.suppress(OSError):
            self._listening.shutdown(SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self._broken:
                near.close()
                continue
            far = socket(AF_UNIX)
            asked = bytearray()
            self._pairs.append((near, far, asked))
            self._spawn(self._carry, near, far, asked)

    def _carry(self, near: socket, far: socket, asked: bytearray) -> None:
        with near, far:
            far.connect(self._target)
            back = threading.Thread(target=_copy, args=(far, near, bytearray()), daemon=True)
            back.start()
            _copy(near, far, asked)
            back.join()


def _copy(source: socket, sink: socket, seen: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            seen += data[:200]
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(SHUT_RDWR)


@pytest.fixture
def wire(engine_url: str, folder: Path) -> Iterator[Wire]:
    wire = Wire(folder / "wire.sock", engine_url.removeprefix("unix://"))
    yield wire
    wire.close()


@pytest.fixture
def wired(wire: Wire, bench: Bench, source: GitSource) -> Iterator[Bench]:
    """A bench behind the wire; what it leaves, the one before the wire sees."""
    with engine_at(wire.url) as engine:
        run(bench.engine.connected())
        yield Bench(engine=engine, server=bench.server, source=source, patience=PATIENT)


def test_output_is_whole_though_the_connection_broke(
    wire: Wire, wired: Bench, busybox_image: str
) -> None:
    command = (
        "i=0; while [ $i -lt 60 ]; do echo line $i; echo e $i >&2; i=$((i+1)); usleep 30000; done"
    )

    async def work() -> State:
        going = asyncio.create_task(
            wired.run(plan_of(commands_step("a", command, image=busybox_image)))
        )
        await wired.until("test.a", "line 10\n")
        wire.drop()
        await wired.until("test.a", "line 30\n")
        wire.drop()
        return (await going).state

    assert run(work()) is State.SUCCESS
    output = wired.outputs.steps["test.a"]
    assert output.of(1).splitlines()[1:] == [b"line %d" % n for n in range(60)]
    assert output.of(2).splitlines() == [b"e %d" % n for n in range(60)]


def test_the_last_words_are_kept_though_the_connection_broke_just_before(
    wire: Wire, wired: Bench, busybox_image: str
) -> None:
    async def work() -> State:
        step = commands_step("a", "echo up; sleep 0.3; echo late", image=busybox_image)
        going = asyncio.create_task(wired.run(plan_of(step)))
        await wired.until("test.a", "\nup\n")
        wire.drop(only="/attach?")
        return (await going).state

    assert run(work()) is State.SUCCESS
    assert wired.outputs.text("test.a").endswith("\nup\nlate\n")


def test_a_step_that_ended_while_the_engine_was_away_keeps_its_end(
    wire: Wire, wired: Bench, busybox_image: str
) -> None:
    async def work() -> State:
        step = commands_step("a", "echo up; sleep 0.5; echo late", image=busybox_image)
        going = asyncio.create_task(wired.run(plan_of(step)))
        await wired.until("test.a", "\nup\n")
        wire.cut()
        await asyncio.sleep(0.8)  # longer than the step, shorter than our patience
        wire.mend()
        return (await going).state

    assert run(work()) is State.SUCCESS
    assert wired.outputs.text("test.a").endswith("\nup\nlate\n")


def test_an_engine_that_stays_away_is_an_error_that_names_it(
    wire: Wire, wired: Bench, bench: Bench, busybox_image: str
) -> None:
    wired.patience = IMPATIENT

    async def work() -> tuple[State, str]:
        step = commands_step("a", "echo up; sleep 600", image=busybox_image)
        going = asyncio.create_task(wired.run(plan_of(step)))
        await wired.until("test.a", "\nup\n")
        wire.cut()
        outcome = (await going).steps["test.a"].outcome
        assert outcome is not None
        return outcome.state, outcome.message

    state, message = run(work(), seconds=30)
    assert state is State.ERROR
    assert message.startswith(f"the container engine at {wire.url} does not answer")
    assert remove_leftovers(bench.engine.client, bench.server, set()) == 2


def test_no_engine_at_all_is_told_with_what_to_do(folder: Path, source: GitSource) -> None:
    async def work() -> None:
        with engine_at(f"unix://{folder}/nobody.sock") as engine:
            bench = Bench(engine=engine, server="nobody", source=source)
            executor = bench.executor(plan_of(commands_step("a")))
            with pytest.raises(ExecutorUnavailableError, match=r"start it, or set `engine\.url`"):
                await executor.open()
            await executor.close()

    run(work())


def test_a_step_whose_start_was_never_answered_runs_once(
    wire: Wire, wired: Bench, busybox_image: str
) -> None:
    async def work() -> State:
        step = commands_step("a", "echo x >> ran; cat ran; sleep 0.3", image=busybox_image)
        going = asyncio.create_task(wired.run(plan_of(step)))
        await until(lambda: wire.asked("/start"))
        wire.drop(only="/start")
        return (await going).state

    assert run(work()) is State.SUCCESS
    assert wired.outputs.text("test.a").endswith("\nx\n")
