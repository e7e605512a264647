"""What a new attempt carries over, and what it does again after all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from pipelines.plan import Plan
from pipelines.progress import Built, Outcome, Progress, State, StepProgress, StepRenewed
from pipelines.repeating import kept, renewed
from pipelines.testing import (
    Script,
    ScriptedExecutor,
    build_step,
    commands_step,
    plan_of,
    push_step,
)
from tests.unit.pipelines_run.test_execution import FAILED, Walk, run

AT = datetime(2026, 1, 1, tzinfo=UTC)

PLAN = plan_of(
    build_step("web"),
    build_step("docs"),
    commands_step("unit", image="build.web", needs=("build.web",)),
    commands_step("lint", image="busybox"),
    push_step("r.io/web", name="web", needs=("build.web", "test.unit", "test.lint")),
    push_step("r.io/docs", name="docs", needs=("build.docs", "test.unit", "test.lint")),
)


def states(**ended: State) -> dict[str, State]:
    """All passed, but for these, by the last part of their key."""
    names = {key.replace(".", "_"): state for key, state in ended.items()}
    return {step.key: names.get(step.key.replace(".", "_"), State.SUCCESS) for step in PLAN.steps}


def carried(plan: Plan, keys: Iterable[str]) -> Progress:
    """An attempt that begins with these steps done in attempt 1."""
    done = {
        key: StepProgress(
            state=State.SUCCESS,
            ended_at=AT,
            outcome=Outcome(
                state=State.SUCCESS,
                built=Built(image_id="sha256:1") if key.startswith("build") else None,
            ),
            carried_from=1,
        )
        for key in keys
    }
    steps = {step.key: done.get(step.key, StepProgress()) for step in plan.steps}
    return Progress(plan=plan, steps=steps)


def test_what_passed_is_kept_and_all_else_runs_again() -> None:
    ended = states(
        test_lint=State.FAILURE,
        push_web=State.SKIPPED,
        push_docs=State.CANCELLED,
        build_docs=State.ERROR,
    )
    assert kept(PLAN, ended) == {"build.web", "test.unit"}


def test_from_a_step_on_it_and_all_that_needs_it_runs_again() -> None:
    assert kept(PLAN, states(), again="test.unit") == {
        "build.web",
        "build.docs",
        "test.lint",
    }


def test_from_a_step_on_what_did_not_pass_elsewhere_runs_too() -> None:
    ended = states(test_lint=State.FAILURE, push_web=State.SKIPPED, push_docs=State.SKIPPED)
    assert kept(PLAN, ended, again="test.unit") == {"build.web", "build.docs"}


def test_an_image_that_nobody_wants_any_more_may_be_gone() -> None:
    progress = carried(PLAN, {step.key for step in PLAN.steps} - {"push.web"})
    assert renewed(progress, {"build.docs"}) == ()


def test_an_image_that_is_gone_is_built_again_and_what_needs_it_runs_again() -> None:
    progress = carried(PLAN, {step.key for step in PLAN.steps} - {"push.web"})
    assert renewed(progress, {"build.web", "build.docs"}) == (
        "build.web",
        "build.docs",
        "test.unit",
        "push.docs",
    )


def test_only_what_was_carried_over_is_renewed() -> None:
    progress = carried(PLAN, {"build.web"})
    fresh = progress.apply(StepRenewed(step="build.web", at=AT))
    assert fresh.steps["build.web"] == StepProgress()
    own = fresh.steps["build.web"].model_copy(
        update={"state": State.SUCCESS, "outcome": Outcome(state=State.SUCCESS)}
    )
    ended = Progress(plan=PLAN, steps={**fresh.steps, "build.web": own})
    assert ended.apply(StepRenewed(step="build.web", at=AT)) == ended


def test_carried_over_steps_are_not_run_and_what_is_left_is() -> None:
    async def work() -> None:
        walk = Walk(PLAN, ScriptedExecutor())
        progress = await walk.go(carried(PLAN, {step.key for step in PLAN.steps} - {"push.web"}))
        assert progress.state is State.SUCCESS
        ran = [call for call in walk.executor.calls if call.startswith("run ")]
        assert ran == ["run push.web"]
        assert progress.sentence().startswith("1 step passed in ")
        assert progress.sentence().endswith(", 5 before")

    run(work())


def test_what_is_gone_is_told_and_done_again_before_what_needs_it() -> None:
    async def work() -> None:
        walk = Walk(PLAN, ScriptedExecutor(gone=frozenset({"build.web"})))
        progress = await walk.go(carried(PLAN, {step.key for step in PLAN.steps} - {"push.web"}))
        assert progress.state is State.SUCCESS
        assert walk.told[:4] == [
            "renewed build.web",
            "renewed test.unit",
            "renewed push.docs",
            "ready build.web",
        ]
        ran = [call for call in walk.executor.calls if call.startswith("run ")]
        assert ran[:2] == ["run build.web", "run test.unit"]
        assert set(ran[2:]) == {"run push.web", "run push.docs"}
        assert "[lading]" not in walk.outputs.text("push.docs")

    run(work())


@pytest.mark.parametrize("fails", [False, True])
def test_images_are_kept_where_the_attempt_did_not_succeed(*, fails: bool) -> None:
    async def work() -> None:
        scripts = {"test.lint": Script(outcome=FAILED)} if fails else {}
        walk = Walk(PLAN, ScriptedExecutor(scripts=scripts))
        await walk.go()
        assert walk.executor.kept_images is fails

    run(work())


def test_a_push_that_may_be_repeated_is_where_nothing_is_left_of_it() -> None:
    async def work() -> None:
        plan = plan_of(push_step("r.io/web", retry_safe=True))
        begun = StepProgress(state=State.RUNNING, started_at=AT, running_at=AT)
        walk = Walk(plan, ScriptedExecutor())
        progress = await walk.go(Progress(plan=plan, steps={"push.web": begun}))
        assert progress.state is State.SUCCESS
        assert "run push.web" in walk.executor.calls

    run(work())


def test_at_its_time_limit_a_step_tells_why_it_could_not_be_done() -> None:
    async def work() -> None:
        waits = Outcome(state=State.ERROR, message="registry r.io unavailable")
        script = Script(outcome=waits, release=asyncio.Event(), stopped=waits)
        plan = plan_of(push_step("r.io/web", timeout=0.1))
        walk = Walk(plan, ScriptedExecutor(scripts={"push.web": script}))
        progress = await walk.go()
        assert progress.state is State.ERROR
        assert walk.ends()["push.web"][1] == "registry r.io unavailable; given up after 0.1 s"

    run(work())
