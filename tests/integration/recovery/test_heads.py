"""Missed pushes are found by comparing heads; what a webhook told of never runs twice."""

from __future__ import annotations

import json

import pytest

from server.recovery import heads as heads_module
from server.store.rows import DecisionOutcome, Found, PauseKind
from tests.doubles.base import wait_until
from tests.integration.recovery.conftest import MAIN, SECRET, ZERO, Place
from tests.parts.git_server import git


def met(place: Place) -> str:
    """Have the repository known, and its heads remembered; the commit of its main branch."""
    sha = place.push()
    place.tell(sha)
    place.look_at_heads()
    return sha


def shas(place: Place) -> list[str]:
    return [run.sha for run in place.runs()]


def test_a_push_without_a_webhook_is_found_and_its_decision_says_so(place: Place) -> None:
    first = met(place)
    second = place.push()

    place.look_at_heads()

    wait_until(lambda: shas(place) == [first, second], "the missed push has its run", 10)
    row = place.of()[1]
    decision = place.server.decision(row.id)
    assert row.found is Found.HEADS
    assert decision.outcome is DecisionOutcome.STARTED
    assert decision.reason.startswith("Found by comparing branch heads: no webhook came. ")
    event = place.runs()[1].event
    assert (event.branch, event.before, event.title) == ("main", first, "a change")
    assert str(event.url).endswith(f"/{place.web.full_name}/commit/{second}")


def test_the_first_look_only_remembers(place: Place) -> None:
    first = place.push(MAIN, *(f"refs/heads/old-{count}" for count in range(9)))
    place.tell(first)

    place.look_at_heads()
    place.look_at_heads()

    assert len(place.of()) == 1
    assert place.known().heads_at is not None


def test_four_branches_and_tags_pushed_at_once_are_all_found(place: Place) -> None:
    first = met(place)
    refs = [*(f"refs/heads/new-{count}" for count in range(4)), "refs/tags/v1", "refs/tags/v2"]
    second = place.push(*refs)

    place.look_at_heads()

    wait_until(lambda: len(shas(place)) == 7, "each has its run", 10)
    assert shas(place) == [first] + [second] * 6
    assert sorted(run.event.ref for run in place.runs()[1:]) == sorted(refs)


def test_an_annotated_tag_is_found_by_the_commit_it_names(place: Place) -> None:
    met(place)
    sha = place.push("refs/heads/side")
    place.tell(sha, ref="refs/heads/side")
    git(place.repository.work, "tag", "-a", "v3", "-m", "the third")
    place.repository.push("refs/tags/v3")

    place.look_at_heads()

    wait_until(lambda: len(shas(place)) == 3, "the tag has its run", 10)
    run = place.runs()[2]
    assert (run.event.tag, run.sha) == ("v3", sha)
    place.look_at_heads()
    assert len(place.of()) == 3


def test_a_push_that_a_webhook_told_of_is_not_found(place: Place) -> None:
    first = met(place)
    second = place.push()
    place.tell(second, before=first)

    place.look_at_heads()

    assert len(place.of()) == 2


def test_a_webhook_that_comes_after_all_is_the_found_ones_repeat(place: Place) -> None:
    first = met(place)
    second = place.push()
    place.look_at_heads()
    wait_until(lambda: len(shas(place)) == 2, "the missed push has its run", 10)

    decision = place.tell(second, before=first)

    assert decision.outcome is DecisionOutcome.DUPLICATE
    assert "Found by comparing branch heads" in decision.reason
    assert shas(place) == [first, second]


def test_webhooks_of_pushes_that_one_look_saw_as_one_build_only_what_was_not_built(
    place: Place,
) -> None:
    first = met(place)
    second = place.push(message="two")
    third = place.push(message="three")
    place.look_at_heads()
    wait_until(lambda: len(shas(place)) == 2, "the newest missed push has its run", 10)

    late = place.tell(second, before=first)
    repeat = place.tell(third, before=second)

    assert late.outcome is DecisionOutcome.STARTED
    assert f"By now main is at {third[:12]}" in late.reason
    assert repeat.outcome is DecisionOutcome.DUPLICATE
    assert shas(place) == [first, third, second]


def test_a_webhook_that_comes_in_the_minute_of_grace_is_the_one_that_counts(
    place: Place,
) -> None:
    first = met(place)
    second = place.push()
    place.in_the_grace = lambda: place.tell(second, before=first)

    place.look_at_heads()

    assert [row.found for row in place.of()] == [None, None]
    assert shas(place) == [first, second]


def test_a_branch_that_is_gone_again_after_the_minute_of_grace_is_not_built(place: Place) -> None:
    first = met(place)
    place.push("refs/heads/short")
    place.in_the_grace = lambda: place.repository.push(":refs/heads/short")

    place.look_at_heads()

    assert shas(place) == [first]
    assert len(place.of()) == 1


def test_a_deleted_branch_is_forgotten_and_one_made_anew_is_found(place: Place) -> None:
    met(place)
    place.push("refs/heads/side")
    place.look_at_heads()
    wait_until(lambda: len(shas(place)) == 2, "the branch has its run", 10)
    place.repository.push(":refs/heads/side")
    place.look_at_heads()

    again = place.push("refs/heads/side")
    place.look_at_heads()

    wait_until(lambda: len(shas(place)) == 3, "the new branch has its run", 10)
    event = place.runs()[2].event
    assert (event.sha, event.before) == (again, None)


def test_what_gitlab_was_asked_to_skip_stays_skipped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = place.server.lading.hosts
    monkeypatch.setattr(hosts["gitlab"], "remote", hosts["github"].remote)
    first = place.push()
    told = place.gitlab.push_delivery(place.project, sha=first, secret=SECRET)
    place.server.decision(place.server.deliver("gitlab", told).json()["delivery"])
    place.look_at_heads()
    second = place.push()
    skipped = place.gitlab.push_delivery(place.project, sha=second, before=first, secret=SECRET)
    body = {**json.loads(skipped.body), "push_options": {"ci": {"skip": True}}}
    skipped = place.gitlab.delivery("Push Hook", body, secret=SECRET)
    place.server.decision(place.server.deliver("gitlab", skipped).json()["delivery"])

    place.look_at_heads()

    assert len(place.of("gitlab")) == 2
    assert shas(place) == [first]


def test_githubs_merge_queue_is_not_found(place: Place) -> None:
    met(place)
    place.push("refs/heads/gh-readonly-queue/main/pr-1")

    place.look_at_heads()

    assert len(place.of()) == 1


def test_a_push_to_a_plain_repository_without_a_hook_is_found(place: Place) -> None:
    name = place.web.full_name
    ref = place.server.lading.hosts["git"].repository({"repository": name})
    assert ref is not None
    place.remember("git", ref)
    first = place.push()
    place.look_at_heads()
    second = place.push()

    place.look_at_heads()

    wait_until(lambda: shas(place) == [second], "the push has its run", 10)
    assert first != second


def test_many_heads_at_once_are_handed_over_bit_by_bit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads_module, "MOST", 3)
    met(place)
    place.push(*(f"refs/heads/new-{count}" for count in range(5)))

    place.look_at_heads()
    assert len(place.of()) == 4
    place.decided()
    place.look_at_heads()

    assert len(place.of()) == 6


def test_a_repository_that_git_may_not_read_is_flagged_and_left_alone(place: Place) -> None:
    met(place)
    moved = place.repository.bare.rename(place.repository.bare.with_suffix(".away"))

    place.look_at_heads()
    (pause,) = place.pauses()
    assert (pause.kind, pause.full_name) == (PauseKind.FETCH, place.web.full_name)

    moved.rename(place.repository.bare)
    second = place.push()
    place.look_at_heads()
    assert len(place.of()) == 1  # it is not tried before an hour is over
    place.clock.forward(hours=1)
    place.do(place.heads.look())

    wait_until(lambda: shas(place)[1:] == [second], "the push has its run", 10)
    assert place.pauses() == []


def test_a_found_push_read_again_starts_nothing_twice(place: Place) -> None:
    first = met(place)
    second = place.push()
    place.look_at_heads()
    wait_until(lambda: len(shas(place)) == 2, "the missed push has its run", 10)
    row = place.of()[1]
    place.server.decision(row.id)

    answer = place.server.api.post(f"/deliveries/{row.id}/redeliver")

    assert answer.status_code == 202
    assert place.server.decision(row.id).outcome is DecisionOutcome.DUPLICATE
    assert shas(place) == [first, second]


def test_all_zeros_stand_for_nothing(place: Place) -> None:
    met(place)
    gone = place.tell(ZERO, ref="refs/heads/side", before="1" * 40)

    assert (gone.outcome, gone.ref, gone.sha) == (
        DecisionOutcome.NOTHING,
        "refs/heads/side",
        None,
    )
