from __future__ import annotations

from datetime import datetime

from pipelines.plan import BuildWork, Stage, Step
from pipelines.progress import Progress, State
from server.cli.results import ended, forgiven, table, waited_for
from server.cli.terminal import Paint
from tests.unit.pipelines.building import after, at, plan_of, running, started, step
from tests.unit.pipelines.building import ended as fact_ended

PLAIN = Paint(on=False)
BUILD = Step(stage=Stage.BUILD, name="web", timeout=60, work=BuildWork())
MAY = step("test.may").model_copy(update={"allow_failure": True})


def waited(progress: Progress, now: datetime, **words: str) -> str:
    return waited_for(progress, {key.replace("_", "."): text for key, text in words.items()}, now)


def test_what_is_prepared_built_and_run_is_told_with_its_time() -> None:
    progress = after(
        Progress.of(plan_of(BUILD, step("test.a"), step("test.b"), step("test.c"))),
        *(started("build.web", 0), running("build.web", 1)),
        started("test.a", 2),
        *(started("test.b", 3), running("test.b", 4)),
    )

    said = waited(progress, at(14), test_a="Pulling python:3.12", build_web="Step 2/3 : RUN make")

    assert said == (
        "build.web: Step 2/3 : RUN make (13 s); test.a: Pulling python:3.12 (12 s); "
        "test.b: running (10 s); 1 waiting"
    )


def test_of_many_steps_the_first_are_named_and_the_others_counted() -> None:
    keys = [f"test.s{number}" for number in range(6)]
    progress = after(Progress.of(plan_of(*map(step, keys))), *map(started, keys))

    assert waited(progress, at(1)).endswith("test.s3: preparing (1 s); 2 more")


def test_the_closing_table_has_each_step_with_result_and_time() -> None:
    progress = after(
        Progress.of(plan_of(step("test.good"), step("test.bad"), MAY, step("test.never"))),
        *(started("test.good"), fact_ended("test.good", seconds=2)),
        started("test.bad"),
        fact_ended("test.bad", State.FAILURE, 65, "exit code 1"),
        *(started("test.may"), fact_ended("test.may", State.FAILURE, 1, "exit code 2")),
        fact_ended("test.never", State.SKIPPED, 65, "skipped: test.bad failed"),
    )

    assert list(table(progress, {"push.web": "nothing is pushed; really"}, PLAIN)) == [
        "step        result          time",
        "test.good   passed           2 s",
        "test.bad    failed     1 min 5 s  exit code 1",
        "test.may    failed           1 s  exit code 2 (it may)",
        "test.never  skipped               test.bad failed",
        "push.web    not run               nothing is pushed",
    ]
    assert [forgiven(progress, key) for key in ("test.bad", "test.may")] == [False, True]


def test_an_end_is_told_in_a_few_words() -> None:
    progress = after(
        Progress.of(plan_of(step("test.a"), step("test.b"), step("test.c"))),
        *(started("test.a"), fact_ended("test.a", seconds=2)),
        *(started("test.b"), fact_ended("test.b", State.FAILURE, 3, "exit code 1")),
        *(started("test.c"), fact_ended("test.c", State.CANCELLED, 3, "cancelled")),
    )

    said = [ended(each, PLAIN, forgiven=False) for each in progress.steps.values()]

    assert said == ["passed in 2 s", "failed after 3 s: exit code 1", "cancelled after 3 s"]


def test_a_failure_is_red_and_one_that_may_be_is_not() -> None:
    progress = after(
        Progress.of(plan_of(step("test.a"))),
        *(started("test.a"), fact_ended("test.a", State.FAILURE)),
    )
    (found,) = progress.steps.values()

    assert "31m" in ended(found, Paint(on=True), forgiven=False)
    assert "31m" not in ended(found, Paint(on=True), forgiven=True)
