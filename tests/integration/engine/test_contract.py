"""What every executor does: one suite for the real one and for the scripted one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from pipelines.executor import Executor
from pipelines.plan import Plan
from pipelines.progress import Outcome, State
from pipelines.testing import (
    MemoryOutput,
    Script,
    ScriptedExecutor,
    commands_step,
    plan_of,
)
from tests.integration.engine.bench import Bench, run, until


@dataclass(kw_only=True)
class Case:
    """An executor with four steps: one succeeds, one fails, one waits, one takes no SIGTERM."""

    plan: Plan
    executor: Executor


def scripted(bench: Bench, plan: Plan) -> Executor:
    del bench, plan
    up = ((1, b"up\n"),)
    failed = Outcome(state=State.FAILURE, exit_code=3, message="exit code 3")
    return ScriptedExecutor(
        scripts={
            "test.good": Script(writes=((1, b"out\n"), (2, b"err\n"))),
            "test.bad": Script(outcome=failed),
            "test.long": Script(writes=up, release=asyncio.Event()),
            "test.deaf": Script(writes=up, release=asyncio.Event(), deaf=True),
        }
    )


def real(bench: Bench, plan: Plan) -> Executor:
    return bench.executor(plan)


@pytest.fixture(params=[scripted, real])
def case(request: pytest.FixtureRequest, bench: Bench, busybox_image: str) -> Callable[[], Case]:
    plan = plan_of(
        commands_step("good", "echo out; echo err >&2", image=busybox_image),
        commands_step("bad", "exit 3", image=busybox_image),
        commands_step("long", "echo up", "sleep 600", image=busybox_image),
        commands_step("deaf", "trap '' TERM; echo up; sleep 600", image=busybox_image),
    )
    return lambda: Case(plan=plan, executor=request.param(bench, plan))


def with_executor(
    make: Callable[[], Case], work: Callable[[Case], Coroutine[Any, Any, None]]
) -> None:
    async def whole() -> None:
        case = make()
        try:
            await case.executor.open()
            await work(case)
        finally:
            await case.executor.close()

    run(whole(), seconds=30)


async def one(case: Case, key: str) -> tuple[Outcome, MemoryOutput, int]:
    """A step's outcome, its output, and how often it said that its work began."""
    output, begun = MemoryOutput(), []
    outcome = await case.executor.run(case.plan.step(key), output, lambda: begun.append(key))
    return outcome, output, len(begun)


def test_a_step_tells_when_it_began_and_all_it_wrote(case: Callable[[], Case]) -> None:
    async def work(case: Case) -> None:
        outcome, output, begun = await one(case, "test.good")
        assert (outcome.state, outcome.exit_code, outcome.message) == (State.SUCCESS, 0, "")
        assert output.of(1).endswith(b"out\n")
        assert output.of(2) == b"err\n"
        assert begun == 1

    with_executor(case, work)


def test_a_failing_step_is_a_failure_with_its_exit_code(case: Callable[[], Case]) -> None:
    async def work(case: Case) -> None:
        outcome, _, _ = await one(case, "test.bad")
        assert (outcome.state, outcome.exit_code) == (State.FAILURE, 3)
        assert outcome.message == "exit code 3"

    with_executor(case, work)


@pytest.mark.parametrize(("key", "codes"), [("test.long", {143, 137}), ("test.deaf", {137})])
def test_a_stopped_step_ends_within_the_grace(
    case: Callable[[], Case], key: str, codes: set[int]
) -> None:
    async def work(case: Case) -> None:
        output = MemoryOutput()
        going = asyncio.create_task(case.executor.run(case.plan.step(key), output, lambda: None))
        await until(lambda: b"up\n" in output.of(1))
        await case.executor.stop(key, grace=0.5)
        outcome = await asyncio.wait_for(going, 10)
        assert outcome.state is State.FAILURE
        assert outcome.exit_code in codes

    with_executor(case, work)


def test_a_stop_of_what_does_not_run_does_nothing(case: Callable[[], Case]) -> None:
    async def work(case: Case) -> None:
        await case.executor.stop("test.good", grace=0)
        assert (await one(case, "test.good"))[0].state is State.SUCCESS
        await case.executor.stop("test.good", grace=0)

    with_executor(case, work)


def test_steps_run_side_by_side(case: Callable[[], Case]) -> None:
    async def work(case: Case) -> None:
        results = await asyncio.gather(one(case, "test.good"), one(case, "test.bad"))
        assert [outcome.state for outcome, _, _ in results] == [State.SUCCESS, State.FAILURE]

    with_executor(case, work)


def test_removing_twice_is_quiet(case: Callable[[], Case]) -> None:
    async def work(case: Case) -> None:
        await one(case, "test.good")
        await case.executor.discard("test.good")
        await case.executor.discard("test.good")
        await case.executor.discard("test.long")
        await case.executor.close()

    with_executor(case, work)


def test_closing_without_opening_is_quiet(case: Callable[[], Case]) -> None:
    async def work() -> None:
        await case().executor.close()

    run(work())


def test_of_a_step_that_nobody_began_nothing_is_adopted(case: Callable[[], Case]) -> None:
    async def work(case: Case) -> None:
        output = MemoryOutput()
        step = case.plan.step("test.good")
        assert await case.executor.adopt(step, output, lambda: None, {}) is None
        assert output.writes == []
        assert (await one(case, "test.good"))[0].state is State.SUCCESS

    with_executor(case, work)


def test_letting_go_without_opening_is_quiet(case: Callable[[], Case]) -> None:
    async def work() -> None:
        await case().executor.release()

    run(work())
