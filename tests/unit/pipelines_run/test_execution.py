from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.execution import execute
from pipelines.plan import Channel, Plan, Stage, Step
from pipelines.problems import ExecutorUnavailableError
from pipelines.progress import Fact, Outcome, Progress, State, StepEnded, StepStarted
from pipelines.testing import (
    MemoryOutputs,
    Script,
    ScriptedExecutor,
    build_step,
    commands_step,
    plan_of,
    push_step,
)
from pipelines.uptime import Uptime, uptime

FAILED = Outcome(state=State.FAILURE, exit_code=1, message="exit code 1")


class Walk:
    """One execution, with everything it told."""

    def __init__(self, plan: Plan, executor: ScriptedExecutor, *, room: int = 4) -> None:
        self.plan = plan
        self.executor = executor
        self.room = room
        self.facts: list[Fact] = []
        self.outputs = MemoryOutputs()
        self.cancelled = asyncio.Event()
        self.taken: dict[str, dict[int, int]] = {}
        self.steady: Callable[[], Uptime | None] = uptime
        self.durable: Callable[[Fact], Awaitable[None]] = self.at_once
        self._heard = asyncio.Condition()
        self._ticks = 0

    async def at_once(self, _: Fact) -> None:
        async with self._heard:
            self._heard.notify_all()

    def emit(self, fact: Fact) -> Awaitable[None]:
        self.facts.append(fact)
        return self.durable(fact)

    def clock(self) -> datetime:
        self._ticks += 1
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._ticks)

    async def go(self, earlier: Progress | None = None) -> Progress:
        return await execute(
            self.plan,
            self.executor,
            emit=self.emit,
            outputs=self.outputs,
            clock=self.clock,
            cancelled=self.cancelled,
            grace=0.01,
            parallel_steps=self.room,
            earlier=earlier,
            taken=lambda key: self.taken.get(key, {}),
            steady=self.steady,
        )

    async def until(self, told: str) -> None:
        async with asyncio.timeout(5), self._heard:
            await self._heard.wait_for(lambda: told in self.told)

    @property
    def told(self) -> list[str]:
        return [f"{fact.kind} {fact.step}" for fact in self.facts]

    def ends(self) -> dict[str, tuple[State, str]]:
        return {
            fact.step: (fact.outcome.state, fact.outcome.message)
            for fact in self.facts
            if isinstance(fact, StepEnded)
        }


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await work

    asyncio.run(bounded())


CHAIN = (
    build_step(),
    commands_step("unit", image="build.web", needs=("build.web",)),
    push_step("r.io/web", needs=("test.unit",)),
)


def test_steps_run_one_after_the_other_and_tell_each_change() -> None:
    async def work() -> None:
        walk = Walk(plan_of(*CHAIN), ScriptedExecutor())
        progress = await walk.go()
        assert progress.state is State.SUCCESS
        assert walk.told == [
            f"{kind} {step}"
            for step in ("build.web", "test.unit", "push.web")
            for kind in ("ready", "started", "running", "ended")
        ]
        assert walk.executor.calls[0] == "open"
        assert walk.executor.calls[-1] == "close"

    run(work())


def test_a_failure_skips_what_needs_it_and_lets_the_rest_go_on() -> None:
    async def work() -> None:
        plan = plan_of(*CHAIN, commands_step("lint"), commands_step("slow", needs=("test.lint",)))
        walk = Walk(plan, ScriptedExecutor(scripts={"build.web": Script(outcome=FAILED)}))
        progress = await walk.go()
        assert progress.state is State.FAILURE
        ends = walk.ends()
        assert ends["test.unit"] == (State.SKIPPED, "skipped: build.web failed")
        assert ends["push.web"] == (State.SKIPPED, "skipped: build.web failed")
        assert ends["test.slow"][0] is State.SUCCESS
        assert "started test.unit" not in walk.told

    run(work())


def test_no_more_steps_run_at_once_than_there_is_room() -> None:
    async def work() -> None:
        steps = [commands_step(f"s{number}") for number in range(6)]
        for room in (1, 3):
            held = asyncio.Event()
            executor = ScriptedExecutor(scripts={step.key: Script(release=held) for step in steps})
            walk = Walk(plan_of(*steps), executor, room=room)
            going = asyncio.create_task(walk.go())
            await walk.until(f"running test.s{room - 1}")
            assert walk.told[:6] == [f"ready {step.key}" for step in steps]
            held.set()
            assert (await going).state is State.SUCCESS
            assert executor.most_at_once == room

    run(work())


def test_a_step_starts_the_moment_its_needs_have_ended() -> None:
    async def work() -> None:
        held = asyncio.Event()
        plan = plan_of(
            commands_step("slow"), commands_step("a"), commands_step("b", needs=("test.a",))
        )
        walk = Walk(plan, ScriptedExecutor(scripts={"test.slow": Script(release=held)}))
        going = asyncio.create_task(walk.go())
        await walk.until("ended test.b")
        assert "ended test.slow" not in walk.told
        held.set()
        assert (await going).state is State.SUCCESS

    run(work())


def test_output_reaches_the_place_of_its_step() -> None:
    async def work() -> None:
        scripts = {"test.a": Script(writes=((1, b"out"), (2, b"err")))}
        walk = Walk(plan_of(commands_step("a")), ScriptedExecutor(scripts=scripts))
        await walk.go()
        assert walk.outputs.steps["test.a"].writes == [(1, b"out"), (2, b"err")]

    run(work())


@pytest.mark.parametrize("deaf", [False, True])
def test_a_step_past_its_time_limit_is_stopped_and_told_so(*, deaf: bool) -> None:
    async def work() -> None:
        scripts = {"test.a": Script(release=asyncio.Event(), deaf=deaf)}
        executor = ScriptedExecutor(scripts=scripts)
        plan = plan_of(commands_step("a", timeout=0.02), commands_step("b", needs=("test.a",)))
        walk = Walk(plan, executor)
        await walk.go()
        state, message = walk.ends()["test.a"]
        assert state is State.FAILURE
        assert message.startswith("timed out after 0.0 s: ")
        assert "stop test.a" in executor.calls
        assert walk.ends()["test.b"][0] is State.SKIPPED

    run(work())


def test_the_runs_own_time_limit_ends_everything() -> None:
    async def work() -> None:
        scripts = {"test.a": Script(release=asyncio.Event())}
        plan = plan_of(commands_step("a"), commands_step("b", needs=("test.a",)), timeout=0.02)
        walk = Walk(plan, ScriptedExecutor(scripts=scripts))
        await walk.go()
        ends = walk.ends()
        assert ends["test.a"][0] is State.FAILURE
        assert "the run did not end within" in ends["test.a"][1]
        assert ends["test.b"][0] is State.CANCELLED

    run(work())


def test_a_cancel_stops_what_runs_and_never_starts_the_rest() -> None:
    async def work() -> None:
        scripts = {"test.a": Script(release=asyncio.Event())}
        executor = ScriptedExecutor(scripts=scripts)
        walk = Walk(plan_of(commands_step("a"), commands_step("b", needs=("test.a",))), executor)
        going = asyncio.create_task(walk.go())
        await walk.until("running test.a")
        walk.cancelled.set()
        assert (await going).state is State.CANCELLED
        assert walk.ends() == {
            "test.b": (State.CANCELLED, "cancelled before it started"),
            "test.a": (State.CANCELLED, "cancelled"),
        }
        assert executor.calls[-1] == "close"

    run(work())


def test_a_cancel_before_the_start_runs_nothing() -> None:
    async def work() -> None:
        walk = Walk(plan_of(*CHAIN), ScriptedExecutor())
        walk.cancelled.set()
        progress = await walk.go()
        assert progress.state is State.CANCELLED
        assert not [call for call in walk.executor.calls if call.startswith("run")]

    run(work())


def test_a_push_that_ended_well_in_spite_of_a_cancel_stays_a_success() -> None:
    async def work() -> None:
        release = asyncio.Event()

        class Late(ScriptedExecutor):
            async def stop(self, key: str, *, grace: float) -> None:
                del key, grace
                release.set()

        scripts = {"push.web": Script(release=release), "test.a": Script(release=release)}
        walk = Walk(plan_of(push_step("r.io/web"), commands_step("a")), Late(scripts=scripts))
        going = asyncio.create_task(walk.go())
        await walk.until("running test.a")
        walk.cancelled.set()
        await going
        assert walk.ends()["push.web"][0] is State.SUCCESS
        assert walk.ends()["test.a"][0] is State.CANCELLED

    run(work())


def deploy_step() -> Step:
    """One that moves a channel after its commands."""
    moves = {"stage": Stage.DEPLOY, "channel": Channel(name="live", pushes=("push.web",))}
    return commands_step("live").model_copy(update=moves)


def test_a_channel_that_was_moved_in_spite_of_a_cancel_stays_a_success() -> None:
    async def work() -> None:
        moved = Script(release=asyncio.Event(), stopped=Outcome(state=State.SUCCESS))
        walk = Walk(plan_of(deploy_step()), ScriptedExecutor(scripts={"deploy.live": moved}))
        going = asyncio.create_task(walk.go())
        await walk.until("running deploy.live")
        walk.cancelled.set()
        await going
        assert walk.ends()["deploy.live"][0] is State.SUCCESS

    run(work())


def test_a_channel_is_moved_only_once_what_it_leads_to_is_durable() -> None:
    async def work() -> None:
        walk = Walk(plan_of(deploy_step()), ScriptedExecutor())
        durable, asked = asyncio.Event(), asyncio.Event()

        async def held(fact: Fact) -> None:
            if isinstance(fact, StepStarted):
                asked.set()
                await durable.wait()

        walk.durable = held
        going = asyncio.create_task(walk.go())
        await asked.wait()
        for _ in range(10):
            await asyncio.sleep(0)  # all that could go on has
        assert "run deploy.live" not in walk.executor.calls
        durable.set()
        assert (await going).state is State.SUCCESS

    run(work())


def test_an_engine_that_is_not_there_is_an_error_of_every_step() -> None:
    async def work() -> None:
        error = ExecutorUnavailableError("the engine does not answer: start it")
        walk = Walk(plan_of(*CHAIN), ScriptedExecutor(open_error=error))
        progress = await walk.go()
        assert progress.state is State.ERROR
        assert set(walk.ends().values()) == {(State.ERROR, str(error))}
        assert walk.executor.calls == ["open", "close"]

    run(work())


def test_a_step_is_discarded_only_when_its_end_is_durable() -> None:
    async def work() -> None:
        stored = asyncio.Event()

        async def slowly(fact: Fact) -> None:
            await walk.at_once(fact)
            if isinstance(fact, StepEnded):
                await stored.wait()

        walk = Walk(plan_of(*CHAIN), ScriptedExecutor())
        walk.durable = slowly
        going = asyncio.create_task(walk.go())
        await walk.until("ended push.web")  # storing keeps nobody waiting …
        assert not [call for call in walk.executor.calls if call.startswith("discard")]
        stored.set()  # … but removing waits for it
        await going
        assert {f"discard {step.key}" for step in CHAIN} <= set(walk.executor.calls)

    run(work())


def test_a_fact_that_cannot_be_stored_is_not_passed_over() -> None:
    async def work() -> None:
        async def full(_: Fact) -> None:
            raise OSError("disk full")

        walk = Walk(plan_of(*CHAIN), ScriptedExecutor())
        walk.durable = full
        with pytest.raises(OSError, match="disk full"):
            await walk.go()
        assert walk.executor.calls[-1] == "close"

    run(work())


def test_being_cancelled_itself_leaves_what_runs_and_ends_no_step() -> None:
    async def work() -> None:
        executor = ScriptedExecutor(scripts={"test.a": Script(release=asyncio.Event())})
        walk = Walk(plan_of(commands_step("a")), executor)
        going = asyncio.create_task(walk.go())
        await walk.until("running test.a")
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        assert executor.calls == ["open", "run test.a", "release"]
        assert walk.told[-1] == "running test.a"

    run(work())


def test_an_executor_that_breaks_its_contract_is_still_closed() -> None:
    async def work() -> None:
        scripts = {"test.a": Script(error=RuntimeError("a fault of ours"))}
        executor = ScriptedExecutor(scripts=scripts)
        walk = Walk(plan_of(commands_step("a"), commands_step("b")), executor)
        with pytest.raises(RuntimeError, match="a fault of ours"):
            await walk.go()
        assert executor.calls[-1] == "close"

    run(work())


def test_a_plan_without_steps_is_a_success() -> None:
    async def work() -> None:
        walk = Walk(plan_of(), ScriptedExecutor())
        assert (await walk.go()).state is State.SUCCESS

    run(work())
