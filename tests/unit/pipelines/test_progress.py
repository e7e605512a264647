from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.plan import Step
from pipelines.progress import Fact, Outcome, Progress, State
from tests.unit.pipelines.building import (
    after,
    at,
    ended,
    plan_of,
    ready,
    running,
    started,
    step,
)

CHAIN = plan_of(
    step("build.web"),
    step("test.lint"),
    step("test.unit", "build.web"),
    step("push.web", "test.lint", "test.unit"),
)


def chain(*facts: Fact) -> Progress:
    return after(Progress.of(CHAIN), *facts)


def test_steps_without_needs_are_ready_at_once_in_the_plans_order() -> None:
    assert chain().ready() == ("build.web", "test.lint")


def test_a_step_is_ready_when_all_its_needs_ended_well() -> None:
    progress = chain(ended("build.web"), ended("test.lint"))
    assert progress.ready() == ("test.unit",)
    assert progress.apply(ended("test.unit")).ready() == ("push.web",)


def test_a_started_step_is_no_longer_ready() -> None:
    progress = chain(ready("build.web"))
    assert progress.ready() == ("build.web", "test.lint")
    assert progress.apply(started("build.web")).ready() == ("test.lint",)


def test_facts_give_a_step_its_times_and_state() -> None:
    one = chain(ready("build.web", 1), started("build.web", 2), running("build.web", 3)).steps
    assert one["build.web"].state is State.RUNNING
    done = chain(
        ready("build.web", 1),
        started("build.web", 2),
        running("build.web", 3),
        ended("build.web", seconds=4),
    ).steps["build.web"]
    times = (done.ready_at, done.started_at, done.running_at, done.ended_at)
    assert times == (at(1), at(2), at(3), at(4))
    assert done.state is State.SUCCESS


def test_a_fact_told_twice_keeps_its_first_time() -> None:
    progress = chain(started("build.web", 1), started("build.web", 9))
    assert progress.steps["build.web"].started_at == at(1)


def test_a_fact_about_an_ended_step_changes_nothing() -> None:
    progress = chain(ended("build.web", State.FAILURE))
    for fact in (
        ready("build.web"),
        started("build.web"),
        running("build.web"),
        ended("build.web"),
    ):
        assert progress.apply(fact) is progress


def test_a_fact_leaves_the_progress_before_it_as_it_was() -> None:
    before = chain()
    before.ready()
    before.apply(ended("build.web"))
    before.apply(ended("test.lint", State.FAILURE))
    assert before == chain()
    assert before.ready() == ("build.web", "test.lint")
    assert before.doomed() == {}


def test_a_fact_about_an_unknown_step_is_refused() -> None:
    with pytest.raises(KeyError):
        chain().apply(ready("test.nope"))


def test_an_outcome_is_an_end() -> None:
    with pytest.raises(ValidationError, match="running is no end"):
        Outcome(state=State.RUNNING)


def test_what_waits_for_a_failed_step_is_doomed_with_the_cause() -> None:
    progress = chain(ended("build.web", State.FAILURE))
    assert progress.doomed() == {
        "test.unit": "skipped: build.web failed",
        "push.web": "skipped: build.web failed",
    }
    assert progress.ready() == ("test.lint",)


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        (State.ERROR, "had an error"),
        (State.CANCELLED, "was cancelled"),
        (State.SKIPPED, "was skipped"),
    ],
)
def test_every_bad_end_dooms_in_its_own_words(state: State, verb: str) -> None:
    doomed = chain(ended("test.lint", state)).doomed()
    assert doomed == {"push.web": f"skipped: test.lint {verb}"}


def test_the_first_need_that_did_not_pass_is_named() -> None:
    progress = chain(ended("test.lint", State.FAILURE), ended("build.web", State.ERROR, 2))
    assert progress.doomed()["push.web"] == "skipped: test.lint failed"


def test_a_doomed_step_that_was_told_skipped_is_doomed_no_more() -> None:
    skipped = ended("test.unit", State.SKIPPED, 2, "skipped: build.web failed")
    progress = chain(ended("build.web", State.FAILURE), skipped)
    assert progress.doomed() == {"push.web": "skipped: build.web failed"}


def test_progress_read_from_json_goes_on_as_the_one_that_was_stored() -> None:
    skipped = ended("test.unit", State.SKIPPED, 2, "skipped: build.web failed")
    progress = chain(ended("build.web", State.FAILURE), skipped, started("test.lint", 3))
    read = Progress.model_validate_json(progress.model_dump_json())
    assert read == progress
    assert (read.ready(), read.doomed(), read.state) == (
        progress.ready(),
        progress.doomed(),
        progress.state,
    )


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([], State.SUCCESS),
        ([State.SUCCESS, State.SUCCESS], State.SUCCESS),
        ([State.SUCCESS, State.SKIPPED], State.SUCCESS),
        ([State.SUCCESS, State.FAILURE, State.SKIPPED], State.FAILURE),
        ([State.FAILURE, State.ERROR], State.ERROR),
        ([State.ERROR, State.CANCELLED, State.FAILURE], State.CANCELLED),
    ],
)
def test_the_state_is_the_worst_of_the_ends(states: list[State], state: State) -> None:
    plan = plan_of(*(step(f"test.s{number}") for number in range(len(states))))
    facts = (ended(f"test.s{number}", end) for number, end in enumerate(states))
    assert after(Progress.of(plan), *facts).state is state


def test_the_state_is_running_until_all_have_ended() -> None:
    assert chain().state is State.RUNNING
    assert chain(ended("build.web", State.FAILURE)).state is State.RUNNING


ALL = (ended("build.web"), ended("test.lint"), ended("test.unit"), ended("push.web", seconds=12))


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ((), "waiting: 0 of 4 steps done"),
        ((started("build.web"),), "0 of 4 steps done, running build.web"),
        (
            (started("build.web"), started("test.lint")),
            "0 of 4 steps done, running build.web and 1 more",
        ),
        ((started("build.web"), *ALL), "4 steps passed in 12 s"),
        (ALL, "4 steps passed in 0.0 s"),
        (
            (
                *ALL[:2],
                ended("test.unit", State.FAILURE, 3, code=1),
                ended("push.web", State.SKIPPED),
            ),
            "test.unit failed: exit code 1",
        ),
        (
            (*ALL[:3], ended("push.web", State.ERROR, 3, "the registry did not\n answer")),
            "push.web had an error: the registry did not answer",
        ),
        (
            (*ALL[:3], ended("push.web", State.FAILURE, 3, "push.web was refused")),
            "push.web was refused",
        ),
        ((*ALL[:3], ended("push.web", State.CANCELLED)), "push.web was cancelled"),
        (
            (*ALL[:2], ended("test.unit", State.FAILURE, 3), ended("push.web", State.FAILURE, 2)),
            "push.web failed (and 1 more)",
        ),
    ],
)
def test_the_sentence_says_where_it_stands(facts: tuple[Fact, ...], sentence: str) -> None:
    assert chain(*facts).sentence() == sentence


def test_one_step_is_not_called_steps() -> None:
    progress = after(Progress.of(plan_of(step("test.a"))), started("test.a"), ended("test.a"))
    assert progress.sentence() == "1 step passed in 1 s"


def test_a_plan_without_steps_has_nothing_to_run() -> None:
    assert Progress.of(plan_of()).sentence() == "nothing to run for this event"


def test_a_sentence_is_never_longer_than_a_status_may_be() -> None:
    two = plan_of(step("test.a"), step("test.b"))
    ends = [ended(key, State.FAILURE, 1, "x" * 500) for key in ("test.a", "test.b")]
    sentence = after(Progress.of(two), *ends).sentence()
    assert len(sentence) == 140
    assert sentence.endswith("… (and 1 more)")


def test_a_thousand_steps_are_walked_in_little_time() -> None:
    tests = [step(f"test.t{number}") for number in range(500)]
    needs = [each.key for each in tests]
    plan = plan_of(*tests, *(step(f"push.p{number}", *needs) for number in range(500)))
    start = time.process_time()
    progress = Progress.of(plan)
    while waiting := progress.ready():
        for fact in (ready(waiting[0]), started(waiting[0]), ended(waiting[0])):
            progress = progress.apply(fact)
            progress.doomed()
    assert progress.state is State.SUCCESS
    assert time.process_time() - start < 2


KEYS = [each.key for each in CHAIN.steps]
ENDS = [state for state in State if state.ended]
FACTS = st.lists(
    st.one_of(
        st.builds(ready, st.sampled_from(KEYS)),
        st.builds(started, st.sampled_from(KEYS)),
        st.builds(running, st.sampled_from(KEYS)),
        st.builds(ended, st.sampled_from(KEYS), st.sampled_from(ENDS)),
    ),
    max_size=20,
)


@given(FACTS)
def test_no_fact_leads_out_of_an_end(facts: list[Fact]) -> None:
    progress = Progress.of(CHAIN)
    for fact in facts:
        before = {key: each for key, each in progress.steps.items() if each.state.ended}
        progress = progress.apply(fact)
        assert {key: progress.steps[key] for key in before} == before


@given(FACTS)
def test_whatever_comes_what_is_ready_and_doomed_is_what_the_steps_say(facts: list[Fact]) -> None:
    progress = after(Progress.of(CHAIN), *facts)
    states = {key: each.state for key, each in progress.steps.items()}
    lost: set[str] = set()
    for each in CHAIN.steps:
        bad = [need for need in each.needs if need in lost or states[need] in ENDS[1:]]
        if bad and states[each.key] is State.WAITING:
            lost.add(each.key)
    free = tuple(
        each.key
        for each in CHAIN.steps
        if states[each.key] is State.WAITING and all(states[n] is State.SUCCESS for n in each.needs)
    )
    assert progress.ready() == free
    assert set(progress.doomed()) == lost
    fresh = Progress.model_validate_json(progress.model_dump_json())
    assert (fresh.ready(), set(fresh.doomed())) == (free, lost)


def flagged(key: str, *needs: str, **flags: bool) -> Step:
    return step(key, *needs).model_copy(update=flags)


CLEANUP = plan_of(
    step("test.unit"),
    flagged("test.report", "test.unit", after_success=False, after_failure=True),
    flagged("test.always", "test.unit", after_failure=True),
    step("push.web", "test.unit", "test.report", "test.always"),
)


def cleanup(*facts: Fact) -> Progress:
    return after(Progress.of(CLEANUP), *facts)


def test_a_step_for_failures_runs_after_one_and_the_rest_is_skipped() -> None:
    progress = cleanup(ended("test.unit", State.FAILURE))
    assert progress.ready() == ("test.report", "test.always")
    assert progress.doomed() == {"push.web": "skipped: test.unit failed"}


def test_a_step_for_failures_is_skipped_where_nothing_failed_and_holds_nobody_up() -> None:
    progress = cleanup(ended("test.unit"))
    assert progress.ready() == ("test.always",)
    assert progress.doomed() == {"test.report": "skipped: nothing it waits for failed"}
    done = after(progress, ended("test.report", State.SKIPPED), ended("test.always"))
    assert done.ready() == ("push.web",)


def test_a_failed_run_stays_failed_though_its_steps_for_failures_pass() -> None:
    progress = cleanup(
        ended("test.unit", State.FAILURE),
        ended("test.report"),
        ended("test.always"),
        ended("push.web", State.SKIPPED),
    )
    assert progress.state is State.FAILURE


def test_a_step_for_failures_waits_for_a_need_that_is_itself_skipped() -> None:
    plan = plan_of(
        step("build.web"),
        step("test.unit", "build.web"),
        flagged("test.report", "test.unit", after_failure=True),
    )
    progress = after(Progress.of(plan), ended("build.web", State.FAILURE))
    assert progress.ready() == ()
    assert set(progress.doomed()) == {"test.unit"}
    assert progress.apply(ended("test.unit", State.SKIPPED)).ready() == ("test.report",)


MAY_FAIL = plan_of(flagged("test.lint", allow_failure=True), step("push.web", "test.lint"))


def test_what_waits_for_a_step_that_may_fail_goes_on() -> None:
    progress = after(Progress.of(MAY_FAIL), ended("test.lint", State.FAILURE))
    assert progress.ready() == ("push.web",)


def test_a_run_passes_though_a_step_that_may_fail_did() -> None:
    progress = after(Progress.of(MAY_FAIL), ended("test.lint", State.FAILURE), ended("push.web"))
    assert progress.state is State.SUCCESS
    assert progress.sentence() == "1 step passed, 1 failed and may, in 0.0 s"


def test_a_cancelled_step_that_may_fail_is_cancelled_all_the_same() -> None:
    progress = after(Progress.of(MAY_FAIL), ended("test.lint", State.CANCELLED))
    assert set(progress.doomed()) == {"push.web"}
