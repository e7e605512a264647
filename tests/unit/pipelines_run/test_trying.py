"""A step that fails is tried again, as often as it may be."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.executor import OWN, STDOUT
from pipelines.plan import Plan
from pipelines.progress import (
    Fact,
    Outcome,
    Progress,
    State,
    StepEnded,
    StepRetried,
    StepRunning,
    StepStarted,
)
from pipelines.testing import SUCCESS, Script, ScriptedExecutor, build_step, commands_step, plan_of
from tests.unit.pipelines_run.test_execution import FAILED, Walk, run

AT = datetime(2026, 1, 1, tzinfo=UTC)
AWAY = Outcome(state=State.ERROR, message="the engine is away")
UNIT = "test.unit"


def tried(retries: int = 2, timeout: float = 60) -> Plan:
    return plan_of(commands_step("unit", retries=retries, timeout=timeout))


def walking(plan: Plan, *tries: Outcome, then: Outcome = SUCCESS, adopts: bool = False) -> Walk:
    script = Script(tries=list(tries), outcome=then, writes=((STDOUT, b"x\n"),))
    found = frozenset({UNIT}) if adopts else frozenset[str]()
    return Walk(
        plan, ScriptedExecutor(scripts={step.key: script for step in plan.steps}, found=found)
    )


def outcome_of(walk: Walk) -> Outcome:
    (ended,) = (fact for fact in walk.facts if isinstance(fact, StepEnded))
    return ended.outcome


def left(plan: Plan, *facts: Fact) -> Progress:
    progress = Progress.of(plan)
    for fact in (StepStarted(step=UNIT, at=AT), StepRunning(step=UNIT, at=AT), *facts):
        progress = progress.apply(fact)
    return progress


def retried(**more: object) -> StepRetried:
    return StepRetried.model_validate({"step": UNIT, "at": AT, "outcome": FAILED, **more})


def test_a_failed_try_is_followed_by_another_and_the_outcome_says_how_many_it_took() -> None:
    async def work() -> None:
        walk = walking(tried(), FAILED)
        progress = await walk.go()
        assert progress.state is State.SUCCESS
        assert walk.told == [
            f"{kind} {UNIT}"
            for kind in ("ready", "started", "running", "retried", "running", "ended")
        ]
        ended = outcome_of(walk)
        assert (ended.tries, ended.message) == (2, "passed at try 2 of 3")

    run(work())


def test_what_a_try_made_is_discarded_before_the_next_begins() -> None:
    async def work() -> None:
        walk = walking(tried(), FAILED)
        await walk.go()
        unit = [call for call in walk.executor.calls if call.endswith(UNIT)]
        assert unit == [f"run {UNIT}", f"discard {UNIT}", f"run {UNIT}", f"discard {UNIT}"]

    run(work())


def test_the_log_says_which_try_begins_and_why() -> None:
    async def work() -> None:
        walk = walking(tried(), FAILED)
        await walk.go()
        said = walk.outputs.steps[UNIT].of(OWN).decode()
        assert said == "\n[lading] try 2 of 3: exit code 1\n"

    run(work())


def test_after_the_last_try_the_step_has_failed_and_says_at_which() -> None:
    async def work() -> None:
        walk = walking(tried(2), then=FAILED)
        assert (await walk.go()).state is State.FAILURE
        ended = outcome_of(walk)
        assert (ended.tries, ended.message) == (3, "exit code 1 (try 3 of 3)")
        assert walk.executor.calls.count(f"run {UNIT}") == 3

    run(work())


def test_a_step_without_retry_is_tried_once() -> None:
    async def work() -> None:
        walk = walking(tried(0), then=FAILED)
        await walk.go()
        assert outcome_of(walk) == FAILED

    run(work())


def test_an_engine_that_is_away_costs_no_try() -> None:
    async def work() -> None:
        walk = walking(tried(), AWAY)
        await walk.go()
        assert outcome_of(walk) == AWAY
        assert walk.executor.calls.count(f"run {UNIT}") == 1

    run(work())


def test_a_build_is_tried_again_too() -> None:
    async def work() -> None:
        step = build_step().model_copy(update={"retries": 1})
        walk = walking(plan_of(step), FAILED)
        assert (await walk.go()).state is State.SUCCESS
        assert outcome_of(walk).tries == 2

    run(work())


def test_a_cancel_ends_it_whatever_tries_are_left() -> None:
    async def work() -> None:
        script = Script(release=asyncio.Event())
        walk = Walk(tried(), ScriptedExecutor(scripts={UNIT: script}))
        going = asyncio.create_task(walk.go())
        await walk.until(f"running {UNIT}")
        walk.cancelled.set()
        assert (await going).state is State.CANCELLED
        assert walk.executor.calls.count(f"run {UNIT}") == 1

    run(work())


def test_a_cancel_between_two_tries_begins_no_other() -> None:
    async def work() -> None:
        walk = walking(tried(), FAILED)
        durable = asyncio.Event()

        async def held(fact: Fact) -> None:
            await walk.at_once(fact)
            if isinstance(fact, StepRetried):
                walk.cancelled.set()
                await durable.wait()

        walk.durable = held
        going = asyncio.create_task(walk.go())
        await walk.until(f"retried {UNIT}")
        await asyncio.sleep(0)  # the cancel is seen by now, and what was told not yet durable
        await asyncio.sleep(0)
        durable.set()
        assert (await going).state is State.CANCELLED
        assert walk.executor.calls.count(f"run {UNIT}") == 1

    run(work())


def test_the_next_try_begins_only_once_the_one_before_is_durable() -> None:
    async def work() -> None:
        walk = walking(tried(), FAILED)
        durable = asyncio.Event()

        async def held(fact: Fact) -> None:
            await walk.at_once(fact)
            if isinstance(fact, StepRetried):
                await durable.wait()

        walk.durable = held
        going = asyncio.create_task(walk.go())
        await walk.until(f"retried {UNIT}")
        assert walk.executor.calls == ["open", f"run {UNIT}"]
        durable.set()
        await going

    run(work())


def test_each_try_has_the_whole_of_the_time_limit() -> None:
    async def work() -> None:
        script = Script(release=asyncio.Event())
        walk = Walk(tried(1, timeout=0.02), ScriptedExecutor(scripts={UNIT: script}))
        assert (await walk.go()).state is State.FAILURE
        assert walk.executor.calls.count(f"run {UNIT}") == 2
        assert outcome_of(walk).message.startswith("timed out after")

    run(work())


def test_the_time_limit_of_the_whole_run_leaves_no_other_try() -> None:
    async def work() -> None:
        script = Script(release=asyncio.Event())
        plan = plan_of(commands_step("unit", retries=5), timeout=0.02)
        walk = Walk(plan, ScriptedExecutor(scripts={UNIT: script}))
        assert (await walk.go()).state is State.FAILURE
        assert walk.executor.calls.count(f"run {UNIT}") == 1

    run(work())


def test_after_a_restart_the_tries_made_before_count() -> None:
    async def work() -> None:
        plan = tried(2)
        walk = walking(plan, then=FAILED, adopts=True)
        running = StepRunning(step=UNIT, at=AT)
        await walk.go(left(plan, retried(), running))
        assert outcome_of(walk).tries == 3
        assert [call for call in walk.executor.calls if call.startswith(("run", "adopt"))] == [
            f"adopt {UNIT}",
            f"run {UNIT}",
        ]

    run(work())


def test_after_a_restart_only_the_output_of_the_present_try_counts_as_taken() -> None:
    async def work() -> None:
        plan = tried(2)
        walk = walking(plan, adopts=True)
        walk.taken = {UNIT: {STDOUT: 9}}
        await walk.go(left(plan, retried(taken={STDOUT: 8}), StepRunning(step=UNIT, at=AT)))
        # The script writes two bytes, of which one was stored before.
        assert walk.outputs.steps[UNIT].of(STDOUT) == b"\n"

    run(work())


def test_a_restart_between_two_tries_begins_the_next_and_loses_nothing() -> None:
    async def work() -> None:
        plan = tried(2)
        walk = walking(plan)
        assert (await walk.go(left(plan, retried()))).state is State.SUCCESS
        assert outcome_of(walk).tries == 2

    run(work())


@pytest.mark.parametrize("tries", [0, 1])
def test_a_step_lasts_from_the_beginning_of_its_present_try(tries: int) -> None:
    minute = timedelta(minutes=1)
    progress = left(tried(), *[retried(at=AT + minute)] * tries)
    lasted = progress.steps[UNIT].lasted(AT + 3 * minute, None)
    assert lasted == (3 - tries) * 60
