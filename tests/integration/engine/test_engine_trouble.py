"""An engine that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engine.interruption import Patience
from pipelines.engine.leftovers import remove_leftovers
from pipelines.problems import ExecutorUnavailableError
from pipelines.progress import State
from pipelines.source import GitSource
from pipelines.testing import commands_step, plan_of
from tests.integration.engine.bench import Bench, engine_at, run, until
from tests.parts.wire import Wire

PATIENT = Patience(every=0.3, silence=20)
IMPATIENT = Patience(every=0.3, silence=1)


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
    said, _, warned = wired.outputs.text("test.a").partition("\n[lading] ")
    assert said.endswith("\nup\nlate\n")
    assert warned.startswith("the container engine was away when this step ended")


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
            bench = Bench(
                engine=engine, server="nobody", source=source, patience=Patience(beginning=0)
            )
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
