"""Going on with an attempt that an earlier process left."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.plan import Plan, Step
from pipelines.progress import (
    Fact,
    Outcome,
    Progress,
    State,
    StepEnded,
    StepReady,
    StepRunning,
    StepStarted,
)
from pipelines.testing import Script, ScriptedExecutor, commands_step, plan_of, push_step
from tests.unit.pipelines_run.test_execution import CHAIN, Walk, run

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
PASSED = Outcome(state=State.SUCCESS)


def left(plan: Plan, *, ended: tuple[str, ...] = (), running: tuple[str, ...] = ()) -> Progress:
    """Where an earlier process was."""
    facts: list[Fact] = []
    for key in (*ended, *running):
        facts += [
            StepReady(step=key, at=BEFORE),
            StepStarted(step=key, at=BEFORE),
            StepRunning(step=key, at=BEFORE),
        ]
    facts += [StepEnded(step=key, at=BEFORE, outcome=PASSED) for key in ended]
    progress = Progress.of(plan)
    for fact in facts:
        progress = progress.apply(fact)
    return progress


def test_ended_steps_stay_ended_running_ones_are_taken_up_and_the_rest_starts_in_order() -> None:
    async def work() -> None:
        plan = plan_of(*CHAIN)
        walk = Walk(plan, ScriptedExecutor(found=frozenset({"test.unit"})))
        progress = await walk.go(left(plan, ended=("build.web",), running=("test.unit",)))
        assert progress.state is State.SUCCESS
        assert walk.told == [
            "ended test.unit",
            "ready push.web",
            "started push.web",
            "running push.web",
            "ended push.web",
        ]
        calls = [call for call in walk.executor.calls if not call.startswith("discard")]
        assert calls == ["open", "adopt test.unit", "adopt push.web", "run push.web", "close"]

    run(work())


def test_every_running_step_is_taken_up_at_once_whatever_room_there_is() -> None:
    async def work() -> None:
        steps = [commands_step(f"s{number}") for number in range(4)]
        keys = [step.key for step in steps]
        held = asyncio.Event()
        executor = ScriptedExecutor(
            scripts={key: Script(release=held) for key in keys}, found=frozenset(keys[:3])
        )
        plan = plan_of(*steps)
        walk = Walk(plan, executor, room=2)
        going = asyncio.create_task(walk.go(left(plan, running=tuple(keys[:3]))))
        await walk.until("ready test.s3")
        assert executor.calls == ["open", *(f"adopt {key}" for key in keys[:3])]
        held.set()
        assert (await going).state is State.SUCCESS
        assert executor.most_at_once == 3

    run(work())


def test_output_goes_on_from_the_last_stored_byte_of_each_stream() -> None:
    async def work() -> None:
        script = Script(writes=((1, b"one two"), (2, b"problem"), (1, b" three")))
        plan = plan_of(commands_step("a"))
        executor = ScriptedExecutor(scripts={"test.a": script}, found=frozenset({"test.a"}))
        walk = Walk(plan, executor)
        walk.taken = {"test.a": {0: 100, 1: 4, 2: 7}}
        await walk.go(left(plan, running=("test.a",)))
        assert walk.outputs.steps["test.a"].writes == [(1, b"two"), (1, b" three")]

    run(work())


def test_a_build_of_which_nothing_is_left_begins_anew_and_says_so() -> None:
    async def work() -> None:
        plan = plan_of(*CHAIN)
        walk = Walk(plan, ScriptedExecutor())
        assert (await walk.go(left(plan, running=("build.web",)))).state is State.SUCCESS
        assert walk.executor.calls[:3] == ["open", "adopt build.web", "run build.web"]
        assert walk.outputs.text("build.web").startswith("[lading] Lading was restarted")

    run(work())


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (push_step("r.io/web"), "see whether the registry has the image, then re-run"),
        (commands_step("web"), "was removed while Lading was restarted"),
    ],
)
def test_what_must_not_run_twice_ends_in_an_error_where_nothing_is_left_of_it(
    step: Step, sentence: str
) -> None:
    async def work() -> None:
        plan = plan_of(step)
        walk = Walk(plan, ScriptedExecutor())
        assert (await walk.go(left(plan, running=(step.key,)))).state is State.ERROR
        assert sentence in walk.ends()[step.key][1]
        assert f"run {step.key}" not in walk.executor.calls

    run(work())


def test_a_push_does_not_begin_before_it_is_stored_that_it_does() -> None:
    async def work() -> None:
        stored = asyncio.Event()

        async def slowly(fact: Fact) -> None:
            await walk.at_once(fact)
            if isinstance(fact, StepStarted):
                await stored.wait()

        walk = Walk(plan_of(push_step("r.io/web")), ScriptedExecutor())
        walk.durable = slowly
        going = asyncio.create_task(walk.go())
        await walk.until("started push.web")
        for _ in range(20):  # turns of the loop in which it could begin
            await asyncio.sleep(0)
        assert walk.executor.calls == ["open"]
        stored.set()
        assert (await going).state is State.SUCCESS

    run(work())


def test_a_push_may_end_when_the_process_ends() -> None:
    async def work() -> None:
        release = asyncio.Event()
        executor = ScriptedExecutor(scripts={"push.web": Script(release=release)})
        walk = Walk(
            plan_of(push_step("r.io/web"), commands_step("a", needs=("push.web",))), executor
        )
        going = asyncio.create_task(walk.go())
        await walk.until("running push.web")
        going.cancel()
        asyncio.get_running_loop().call_later(0.01, release.set)
        with pytest.raises(asyncio.CancelledError):
            await going
        assert walk.told[-1] == "ended push.web"
        assert walk.ends()["push.web"][0] is State.SUCCESS
        assert executor.calls[-1] == "release"
        assert "run test.a" not in executor.calls

    run(work())


def test_a_cancel_stops_a_step_that_was_taken_up() -> None:
    async def work() -> None:
        plan = plan_of(commands_step("a"))
        scripts = {"test.a": Script(writes=((1, b"up"),), release=asyncio.Event())}
        executor = ScriptedExecutor(scripts=scripts, found=frozenset({"test.a"}))
        walk = Walk(plan, executor)
        going = asyncio.create_task(walk.go(left(plan, running=("test.a",))))
        async with asyncio.timeout(5):
            while "adopt test.a" not in executor.calls:  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0)
        walk.cancelled.set()
        assert (await going).state is State.CANCELLED
        assert "stop test.a" in executor.calls

    run(work())


def test_a_steps_own_time_limit_goes_on_while_nobody_was_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.execution.LEAST", 0.01)

    async def work() -> None:
        plan = plan_of(commands_step("a", timeout=600))
        scripts = {"test.a": Script(release=asyncio.Event())}
        executor = ScriptedExecutor(scripts=scripts, found=frozenset({"test.a"}))
        walk = Walk(plan, executor)
        walk.clock = lambda: BEFORE + timedelta(hours=1)  # type: ignore[method-assign]
        await walk.go(left(plan, running=("test.a",)))
        assert walk.ends()["test.a"][1].startswith("timed out after 10 min")

    run(work())
