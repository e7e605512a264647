"""Missed deliveries are found in the hosts' own lists, and come through the ordinary door."""

from __future__ import annotations

import itertools

import pytest

from server.store.rows import DecisionOutcome, Found, PauseKind
from tests.doubles.base import wait_until
from tests.doubles.github import Repository as GitHubRepository
from tests.integration.recovery.conftest import SECRET, Place
from tests.parts.lading import Running


def known(place: Place) -> str:
    """Have the repository known, by a first push whose webhook arrives; the commit."""
    sha = place.push()
    delivery = place.github.push_delivery(place.web, sha=sha, secret=SECRET)
    place.github.send(place.hook, delivery)
    wait_until(lambda: len(place.of()) == 1, "the first push arrived", 10)
    place.decided()
    return sha


def lost(place: Place, sha: str, before: str) -> str:
    """A push whose webhook did not reach us; its id."""
    delivery = place.github.push_delivery(place.web, sha=sha, secret=SECRET, before=before)
    place.github.lose(place.hook, delivery)
    return delivery.headers["X-GitHub-Delivery"]


def asked_for(place: Place) -> int:
    """How often GitHub was asked to send something again."""
    return sum(one.path.endswith("/attempts") for one in place.github.requests)


def test_a_delivery_that_failed_is_asked_for_and_its_decision_says_so(place: Place) -> None:
    first = known(place)
    second = place.push()
    id_ = lost(place, second, first)

    place.look_at_lists()

    wait_until(lambda: len(place.of()) == 2, "it was sent again", 10)
    row = place.of()[1]
    decision = place.server.decision(row.id)
    assert (row.delivery_id, decision.outcome) == (id_, DecisionOutcome.STARTED)
    assert decision.reason.startswith("Found in the host's own list, and sent again at our request")
    assert place.server.delivery(row.id).found is Found.LISTED
    assert [run.sha for run in place.runs()] == [first, second]


def test_what_is_here_already_is_not_asked_for_whatever_the_host_says(place: Place) -> None:
    first = known(place)
    second = place.push()
    delivery = place.github.push_delivery(place.web, sha=second, secret=SECRET, before=first)
    place.server.deliver("github", delivery)
    place.github.lose(place.hook, delivery)  # our answer came too late for it

    place.look_at_lists()

    assert asked_for(place) == 0


def test_what_the_host_believes_arrived_but_did_not_is_asked_for(place: Place) -> None:
    first = known(place)
    second = place.push()
    delivery = place.github.push_delivery(place.web, sha=second, secret=SECRET, before=first)
    place.github.lose(place.hook, delivery, answered=200)  # a proxy's page

    place.look_at_lists()

    wait_until(lambda: len(place.of()) == 2, "it was sent again", 10)


def test_what_was_sent_before_the_repository_was_known_is_left_alone(place: Place) -> None:
    lost(place, place.push(), "0" * 40)
    known(place)

    place.look_at_lists()

    assert asked_for(place) == 0


def test_what_does_not_come_is_asked_for_ever_more_seldom_and_then_given_up(place: Place) -> None:
    first = known(place)
    ours_no_more = place.github.push_delivery(
        place.web, sha=first, secret="an older secret of ours"
    )
    place.github.lose(place.hook, ours_no_more, answered=401)

    looks = []
    for look in range(60):  # six hours
        before = asked_for(place)
        place.look_at_lists()
        looks += [look] * (asked_for(place) - before)
        sent = len(looks) + 2
        wait_until(lambda: len(place.github.sendings_of(place.hook)) == sent, "it was sent", 10)  # noqa: B023

    # A look every six minutes, and waits of 5, 10, 20, 40 and 80 minutes.
    assert [later - earlier for earlier, later in itertools.pairwise(looks)] == [1, 2, 4, 7, 14]
    assert len(place.of()) == 1


def test_a_restart_asks_for_nothing_twice(place: Place) -> None:
    first = known(place)
    lost(place, place.push(), first)
    place.look_at_lists()
    wait_until(lambda: len(place.of()) == 2, "it was sent again", 10)

    place.lists = place.new_lists()
    place.look_at_lists()

    assert asked_for(place) == 1


def test_a_token_that_may_not_list_webhooks_is_told_once_and_not_tried_again_for_hours(
    place: Place,
) -> None:
    known(place)
    place.github.may_list_hooks = False

    for _ in range(10):  # an hour
        place.look_at_lists()

    mine = [one for one in place.github.requests if f"{place.web.full_name}/hooks" in one.path]
    assert [one.answered for one in mine] == [403]
    (pause,) = place.pauses()
    assert pause.kind is PauseKind.HOOKS
    assert "read and write access to webhooks" in pause.reason
    place.github.may_list_hooks = True
    for _ in range(60):
        place.look_at_lists()
    assert not place.pauses()


def test_a_host_that_wants_quiet_is_not_asked_about_its_other_repositories(place: Place) -> None:
    known(place)
    place.github.add_repository("acme/other")
    place.github.requests.clear()
    place.github.fail_next(1, 429, {"Retry-After": "900"}, about="/hooks")

    place.look_at_lists()
    place.look_at_lists()

    assert sum("/hooks" in one.path for one in place.github.requests) == 1
    (pause,) = place.pauses()
    assert (pause.kind, pause.full_name) == (PauseKind.QUIET, None)


def test_a_repository_whose_webhook_is_elsewhere_says_so(place: Place) -> None:
    known(place)
    place.hook.url = "https://other.example/webhooks/github"

    place.look_at_lists()

    (pause,) = place.pauses()
    assert "server.url" in pause.reason


def test_gitlab_sends_again_five_in_a_minute_and_the_rest_in_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Running = place.server
    hosts = server.lading.hosts
    monkeypatch.setattr(hosts["gitlab"], "remote", hosts["github"].remote)
    hook = place.gitlab.add_hook(place.project.full_name, f"{server.url}/webhooks/gitlab")
    first = place.push()
    place.gitlab.send(hook, place.gitlab.push_delivery(place.project, sha=first, secret=SECRET))
    wait_until(lambda: len(place.of("gitlab")) == 1, "the first push arrived", 10)
    shas = [place.push(message=str(count)) for count in range(7)]
    for before, sha in zip([first, *shas], shas, strict=False):
        push = place.gitlab.push_delivery(place.project, sha=sha, before=before, secret=SECRET)
        place.gitlab.lose(hook, push)

    place.look_at_lists()
    assert len(place.of("gitlab")) == 6

    place.gitlab.resends_left = 5
    place.monotonic += 61
    place.do(place.lists.look())
    assert len(place.of("gitlab")) == 8
    assert [server.decision(row.id).sha for row in place.of("gitlab")] == [first, *shas]


def test_a_pull_request_is_found_in_the_list_too(place: Place) -> None:
    base = known(place)
    sha = place.push("refs/pull/7/head")
    web: GitHubRepository = place.web
    opened = place.github.pull_request_delivery(
        web, number=7, sha=sha, base_sha=base, secret=SECRET, fork=web
    )
    place.github.lose(place.hook, opened, answered=502)

    place.look_at_lists()

    wait_until(lambda: len(place.runs()) == 2, "the pull request has its run", 10)
    assert place.runs()[1].event.pull_request == 7
