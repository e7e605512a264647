"""Deliveries that come late or in another order than things happened."""

from __future__ import annotations

from server.store.rows import DecisionOutcome
from tests.integration.recovery.conftest import SECRET, ZERO, Place

SIDE = "refs/heads/side"


def test_a_push_told_after_its_branch_was_deleted_is_not_built(place: Place) -> None:
    sha = place.push(SIDE)
    place.repository.push("HEAD:refs/heads/main")  # so that the commit itself can be had
    place.repository.push(f":{SIDE}")
    gone = place.tell(ZERO, ref=SIDE, before=sha)

    late = place.tell(sha, ref=SIDE)

    assert gone.outcome is DecisionOutcome.NOTHING
    assert late.outcome is DecisionOutcome.NOTHING
    assert late.reason == "the branch side has been deleted meanwhile: nothing to build"
    assert place.runs() == []


def test_a_deleted_tag_is_not_built_even_if_nothing_told_of_its_end(place: Place) -> None:
    sha = place.push("refs/tags/v1")
    place.repository.push(":refs/tags/v1")

    decision = place.tell(sha, ref="refs/tags/v1")

    assert decision.reason == "the tag v1 has been deleted meanwhile: nothing to build"
    assert place.runs() == []


def test_a_branch_made_anew_after_its_end_is_built(place: Place) -> None:
    first = place.push(SIDE)
    place.tell(first, ref=SIDE)
    place.repository.push(f":{SIDE}")
    place.tell(ZERO, ref=SIDE, before=first)
    second = place.push(SIDE)

    decision = place.tell(second, ref=SIDE)

    assert decision.outcome is DecisionOutcome.STARTED
    assert [run.sha for run in place.runs()] == [first, second]


def test_an_older_push_told_after_a_newer_one_says_that_the_branch_has_moved_on(
    place: Place,
) -> None:
    first = place.push()
    second = place.push(message="two")
    third = place.push(message="three")
    place.tell(first)
    place.tell(third, before=second)

    late = place.tell(second, before=first)

    assert late.outcome is DecisionOutcome.STARTED
    assert late.reason.endswith(f"By now main is at {third[:12]}.")


def test_a_pull_requests_new_commit_told_before_its_opening_builds_both(place: Place) -> None:
    base = place.push()
    opened = place.push("refs/pull/4/head", message="opened")
    newer = place.push("refs/pull/4/head", message="newer")
    decided = []
    for sha, action in ((newer, "synchronize"), (opened, "opened")):
        delivery = place.github.pull_request_delivery(
            place.web,
            number=4,
            sha=sha,
            base_sha=base,
            secret=SECRET,
            action=action,
            fork=place.web,
        )
        answer = place.server.deliver("github", delivery)
        decided.append(place.server.decision(answer.json()["delivery"]))

    assert [one.outcome for one in decided] == [DecisionOutcome.STARTED] * 2
    assert [run.sha for run in place.runs()] == [newer, opened]
