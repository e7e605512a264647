"""Steps that wait for a person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipelines.answers import Answer, Answers
from pipelines.execution import execute
from pipelines.plan import Approval, Plan, Stage, Step
from pipelines.progress import Progress, State
from pipelines.testing import Script, ScriptedExecutor, commands_step, plan_of
from tests.unit.pipelines_run.test_execution import Walk, run

ASKED = Approval(prompt="Ship it?", timeout=60)


class Asking(Walk):
    """A walk with answers."""

    def __init__(self, plan: Plan, executor: ScriptedExecutor) -> None:
        super().__init__(plan, executor)
        self.answers = Answers()
        self.may = asyncio.Event()
        self.may.set()

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
            answers=self.answers,
            turn=self.turn,
        )

    @asynccontextmanager
    async def turn(self, step: Step, given_up: asyncio.Event) -> AsyncIterator[bool]:
        """Deploys wait until they may, or have given up."""
        if step.stage is Stage.DEPLOY:
            either = [asyncio.ensure_future(one.wait()) for one in (self.may, given_up)]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for one in either:
                one.cancel()
        yield not given_up.is_set()


def deploy(name: str, *needs: str, after_failure: bool = False) -> Step:
    step = commands_step(name, needs=needs)
    own: dict[str, object] = {"stage": Stage.DEPLOY, "approval": None if after_failure else ASKED}
    own |= {"after_success": not after_failure, "after_failure": after_failure}
    return step.model_copy(update=own)


PLAN = plan_of(commands_step("unit"), deploy("live", "test.unit"))


def test_a_walk_breaks_off_where_only_a_person_can_say_what_comes_next() -> None:
    async def work() -> None:
        walk = Asking(PLAN, ScriptedExecutor())
        progress = await walk.go()
        assert progress.steps["test.unit"].state is State.SUCCESS
        assert progress.steps["deploy.live"].state is State.WAITING
        assert walk.told[-1] == "ready deploy.live"
        assert walk.executor.calls[-1] == "release"

    run(work())


def test_who_comes_next_goes_on_with_what_was_approved() -> None:
    async def work() -> None:
        before = await Asking(PLAN, ScriptedExecutor()).go()
        walk = Asking(PLAN, ScriptedExecutor())
        walk.answers.give({"deploy.live": Answer()})
        progress = await walk.go(before)
        assert progress.state is State.SUCCESS
        assert walk.told == ["started deploy.live", "running deploy.live", "ended deploy.live"]

    run(work())


def test_an_answer_that_comes_while_others_run_is_heard_at_once() -> None:
    async def work() -> None:
        held = asyncio.Event()
        plan = plan_of(commands_step("slow"), deploy("live"))
        walk = Asking(plan, ScriptedExecutor(scripts={"test.slow": Script(release=held)}))
        going = asyncio.create_task(walk.go())
        await walk.until("running test.slow")
        assert "started deploy.live" not in walk.told
        walk.answers.give({"deploy.live": Answer()})
        await walk.until("ended deploy.live")
        held.set()
        assert (await going).state is State.SUCCESS

    run(work())


def test_what_was_refused_is_cancelled_with_the_reason_and_what_follows_a_failure_runs() -> None:
    async def work() -> None:
        plan = plan_of(deploy("live"), deploy("tell", "deploy.live", after_failure=True))
        walk = Asking(plan, ScriptedExecutor())
        walk.answers.give({"deploy.live": Answer(refused="declined by ann")})
        progress = await walk.go()
        outcome = progress.steps["deploy.live"].outcome
        assert outcome is not None
        assert (outcome.state, outcome.message) == (State.CANCELLED, "declined by ann")
        assert progress.steps["deploy.tell"].state is State.SUCCESS
        assert progress.state is State.CANCELLED

    run(work())


def test_a_cancelled_walk_ends_what_waits_for_a_person_too() -> None:
    async def work() -> None:
        walk = Asking(PLAN, ScriptedExecutor())
        walk.cancelled.set()
        progress = await walk.go()
        assert progress.steps["deploy.live"].state is State.CANCELLED
        assert walk.executor.calls[-1] == "close"

    run(work())


def test_the_first_answer_to_a_step_counts() -> None:
    answers = Answers({"deploy.live": Answer(refused="declined by ann")})
    answers.give({"deploy.live": Answer()})
    assert answers.to("deploy.live") == Answer(refused="declined by ann")


def test_a_step_that_waits_for_its_turn_is_begun_once() -> None:
    async def work() -> None:
        plan = plan_of(deploy("live"), commands_step("one"), commands_step("two"))
        walk = Asking(plan, ScriptedExecutor())
        walk.may.clear()
        walk.answers.give({"deploy.live": Answer()})
        going = asyncio.create_task(walk.go())
        await walk.until("ended test.one")
        await walk.until("ended test.two")
        walk.may.set()
        assert (await going).state is State.SUCCESS
        assert walk.executor.calls.count("run deploy.live") == 1

    run(work())


def test_a_cancel_ends_a_step_that_waits_for_its_turn() -> None:
    async def work() -> None:
        walk = Asking(plan_of(deploy("live")), ScriptedExecutor())
        walk.may.clear()
        walk.answers.give({"deploy.live": Answer()})
        going = asyncio.create_task(walk.go())
        await walk.until("ready deploy.live")
        walk.cancelled.set()
        progress = await going
        assert progress.steps["deploy.live"].state is State.CANCELLED
        assert "run deploy.live" not in walk.executor.calls

    run(work())
