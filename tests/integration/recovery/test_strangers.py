"""Strangers' pull requests, by every way that leads into a server."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from pipelines.events import Slot
from pipelines.progress import State
from server import clock
from server.config import Settings
from server.config.models import GitHubRepositorySettings
from server.hosts.port import HostError
from server.intake import strangers
from server.store import statuses
from server.store.gate import HELD_SENTENCE
from server.store.rows import DecisionOutcome, DecisionRow, RunRow
from tests.doubles.base import Delivery, wait_until
from tests.integration.recovery.conftest import DEFINITION, SECRET, Place

WRITER = 7


class Fork:
    """A fork, and its pull request number 7."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.base = place.push()
        place.tell(self.base)
        self.repository = place.github.add_repository(f"mallory/{place.web.name}")

    def commit(self, message: str = "help") -> str:
        """A commit that only the pull request has."""
        return self.place.push("refs/pull/7/head", message=message)

    def delivery(self, sha: str, **how: object) -> Delivery:
        """What GitHub sends of it."""
        return self.place.github.pull_request_delivery(
            self.place.web,
            number=7,
            sha=sha,
            base_sha=self.base,
            secret=SECRET,
            **{"fork": self.repository, **how},  # type: ignore[arg-type]
        )

    def tell(self, sha: str, **how: object) -> DecisionRow:
        """Send that; what is decided."""
        answer = self.place.server.deliver("github", self.delivery(sha, **how))
        assert answer.status_code == 202, answer.text
        return self.place.server.decision(answer.json()["delivery"])

    def run(self, sha: str, **how: object) -> RunRow:
        """The run that it starts."""
        (pipeline,) = self.tell(sha, **how).pipelines
        assert pipeline.run is not None
        return self.place.server.run(pipeline.run)


@pytest.fixture
def fork(place: Place) -> Fork:
    place.github.permissions, place.github.people = {}, {}
    return Fork(place)


def post(place: Place, path: str, json: object = None) -> httpx2.Response:
    answer = place.server.api.post(path, json=json)
    assert answer.status_code in (200, 201, 202), answer.text
    return answer


def start(place: Place, sha: str) -> None:
    """A person starts a run of a commit by its id."""
    post(place, "/runs", {"repository": place.web.full_name, "host": "github", "ref": sha})


def of_commit(place: Place, sha: str) -> list[RunRow]:
    return [run for run in place.runs() if run.sha == sha]


def test_a_strangers_pull_request_is_held_and_its_commit_says_so(place: Place, fork: Fork) -> None:
    run = fork.run(fork.commit())

    assert (run.state, run.sentence, run.stranger) == (State.HELD, HELD_SENTENCE, "666")
    (status,) = place.server.ask(statuses.statuses_of_run, run.id)
    assert (status.state, status.description) == ("pending", HELD_SENTENCE)
    told = place.github.wait_for(place.web.full_name, run.sha, status.context, "pending")
    assert told.description == HELD_SENTENCE


def by_another_delivery(fork: Fork, run: RunRow) -> None:
    fork.tell(run.sha, action="reopened")


def by_reading_it_again(fork: Fork, run: RunRow) -> None:
    of_commit = [row.id for row in fork.place.of() if run.sha.encode() in row.body]
    post(fork.place, f"/deliveries/{of_commit[-1]}/redeliver")
    fork.place.server.decision(of_commit[-1])


def by_the_api(fork: Fork, run: RunRow) -> None:
    start(fork.place, run.sha)


def by_a_rerun(fork: Fork, run: RunRow) -> None:
    post(fork.place, f"/runs/{run.id}/cancel")
    post(fork.place, f"/runs/{run.id}/attempts")


def by_a_rerun_of_what_failed(fork: Fork, run: RunRow) -> None:
    post(fork.place, f"/runs/{run.id}/cancel")
    post(fork.place, f"/runs/{run.id}/attempts", {"only": "failed"})


def by_a_rerun_from_a_step(fork: Fork, run: RunRow) -> None:
    post(fork.place, f"/runs/{run.id}/decline")
    post(fork.place, f"/runs/{run.id}/attempts", {"from": "test.unit"})


def by_a_schedule(fork: Fork, _run: RunRow) -> None:
    slot = Slot(file=".lading.yml", cron="0 3 * * *", timezone="UTC", at=clock.now())
    fork.place.do(fork.place.server.lading.intake.start_slot(fork.place.known().id, slot))


def by_the_hosts_list(fork: Fork, run: RunRow) -> None:
    fork.place.github.send(fork.place.hook, fork.delivery(run.sha, action="synchronize"))
    before = len(fork.place.of())
    fork.place.github.lose(fork.place.hook, fork.delivery(run.sha, action="reopened"))
    fork.place.look_at_lists()
    wait_until(lambda: len(fork.place.of()) > before, "it is sent again", 20)
    fork.place.decided()


def by_comparing_heads(fork: Fork, _run: RunRow) -> None:
    fork.place.look_at_heads()


WAYS = [
    by_another_delivery,
    by_reading_it_again,
    by_the_api,
    by_a_rerun,
    by_a_rerun_of_what_failed,
    by_a_rerun_from_a_step,
    by_a_schedule,
    by_the_hosts_list,
    by_comparing_heads,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_way_to_start_gets_around_the_approval(
    place: Place, fork: Fork, way: Callable[[Fork, RunRow], None]
) -> None:
    run = fork.run(fork.commit(way.__name__))

    way(fork, run)

    found = of_commit(place, run.sha)
    assert {one.state for one in found} == {State.HELD}
    assert not any(one.trusted for one in found)


def test_a_new_push_to_an_approved_pull_request_is_held_again(place: Place, fork: Fork) -> None:
    first = fork.run(fork.commit("one"))
    post(place, f"/runs/{first.id}/approve")
    assert place.server.run(first.id).state is State.WAITING

    second = fork.run(fork.commit("two"), action="synchronize")

    assert second.state is State.HELD


def test_an_approved_commit_is_not_asked_for_again_by_a_rerun(place: Place, fork: Fork) -> None:
    run = fork.run(fork.commit())
    post(place, f"/runs/{run.id}/approve")
    post(place, f"/runs/{run.id}/cancel")

    post(place, f"/runs/{run.id}/attempts")

    assert place.server.run(run.id).state is State.WAITING


def test_a_run_of_somebody_who_may_write_is_not_held_and_still_not_trusted(
    place: Place, fork: Fork
) -> None:
    place.github.permissions = {WRITER: "write"}

    run = fork.run(fork.commit(), author=WRITER)

    assert (run.state, run.stranger, run.trusted) == (State.WAITING, None, False)


@pytest.mark.parametrize(("author", "sender"), [(WRITER, 666), (666, WRITER)])
def test_both_who_opened_it_and_who_pushed_must_be_able_to_write(
    place: Place, fork: Fork, author: int, sender: int
) -> None:
    place.github.permissions = {WRITER: "admin"}

    assert fork.run(fork.commit(), author=author, sender=sender).state is State.HELD


def test_a_host_that_does_not_tell_who_may_write_leaves_it_held(
    place: Place, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.github.permissions = {WRITER: "admin"}

    async def silent(*_: object) -> bool:
        raise HostError("GitHub answered 503")

    monkeypatch.setattr(place.server.lading.hosts["github"], "may_write", silent)

    assert fork.run(fork.commit(), author=WRITER).state is State.HELD


def test_a_head_given_as_a_commits_id_in_the_base_is_held(place: Place, fork: Fork) -> None:
    sha = fork.commit()

    run = fork.run(sha, fork=place.web, source_branch=sha)

    assert (run.state, run.trusted) == (State.HELD, False)


def test_a_pull_request_of_the_repository_itself_is_trusted(place: Place, fork: Fork) -> None:
    run = fork.run(fork.commit(), fork=place.web)

    assert (run.state, run.trusted) == (State.WAITING, True)


def policy(place: Place, monkeypatch: pytest.MonkeyPatch, **hosts: object) -> None:
    github = place.server.lading.settings.hosts["github"].model_copy(update=hosts)
    configured = Settings.model_construct(hosts={"github": github})
    monkeypatch.setattr(place.server.lading.intake, "_policy", configured.strangers)


def test_where_strangers_are_ignored_nothing_starts_and_the_decision_says_why(
    place: Place, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy(place, monkeypatch, strangers="ignore")

    decision = fork.tell(fork.commit())

    assert decision.outcome is DecisionOutcome.NOTHING
    assert "`strangers` of host github says `ignore`" in decision.reason


def test_where_strangers_run_they_run_at_once_without_trust(
    place: Place, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy(place, monkeypatch, strangers="run")

    run = fork.run(fork.commit())

    assert (run.state, run.trusted) == (State.WAITING, False)


def test_a_repositorys_own_word_goes_before_its_hosts(
    place: Place, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {place.web.full_name: GitHubRepositorySettings(strangers="hold")}
    policy(place, monkeypatch, strangers="ignore", repositories=table)

    assert fork.run(fork.commit()).state is State.HELD


def test_an_older_commit_of_a_branch_is_started_by_its_id_without_asking(place: Place) -> None:
    older = place.push(message="one")
    place.tell(place.push(message="two"))

    start(place, older)

    (run,) = of_commit(place, older)
    assert (run.state, run.trusted) == (State.WAITING, True)


def test_without_a_word_of_the_configuration_strangers_are_held() -> None:
    assert Settings().strangers("github", "acme/web") == "hold"
    assert strangers.hold("github", "acme/web") == "hold"


def test_a_gitlab_merge_request_from_a_fork_is_held_for_whom_gitlab_names(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = place.server.lading.hosts
    monkeypatch.setattr(hosts["gitlab"], "remote", hosts["github"].remote)
    place.push()
    sha = place.repository.commit({".lading.yml": DEFINITION, "a": "help"}, "help")
    place.repository.push("HEAD:refs/merge-requests/3/head")
    fork = place.gitlab.add_project(f"mallory/{place.web.name}")
    place.gitlab.roles = {WRITER: 30}

    def told(number: int, author: int) -> RunRow:
        made = place.gitlab.merge_request_delivery(
            place.project, number=number, sha=sha, fork=fork, author=author, secret=SECRET
        )
        answer = place.server.deliver("gitlab", made)
        (pipeline,) = place.server.decision(answer.json()["delivery"]).pipelines
        assert pipeline.run is not None
        return place.server.run(pipeline.run)

    held, free = told(3, 666), told(3 + 1, WRITER)

    assert (held.state, held.stranger) == (State.HELD, "666")
    assert (free.state, free.trusted) == (State.WAITING, False)
