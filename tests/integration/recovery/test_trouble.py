"""Hosts that misbehave: their commits, their statuses and everybody else's."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from pipelines.progress import State
from server.hosts.port import Remote, RepositoryRef
from server.intake import reading
from server.store.rows import DecisionOutcome, PauseKind
from tests.doubles.base import wait_until
from tests.integration.recovery.conftest import DEFINITION, MAIN, SECRET, Place


@contextlib.contextmanager
def silent_host() -> Iterator[str]:
    """A host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listening.accept()[0])

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        for one in taken:
            one.close()
        thread.join(5)


def tell(place: Place, sha: str) -> str:
    """Send a push's webhook; our id of the delivery."""
    delivery = place.github.push_delivery(place.web, sha=sha, secret=SECRET)
    return str(place.server.deliver("github", delivery).json()["delivery"])


def test_a_fetch_is_tried_five_more_times_within_about_five_minutes() -> None:
    assert len(reading.FETCH_WAITS) == 5
    assert 240 <= sum(reading.FETCH_WAITS) <= 360


def test_a_host_that_hangs_holds_up_no_other_host(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = place.server.lading.hosts
    sha = place.push()
    github = hosts["github"]
    with silent_host() as hanging:

        def remote(repository: RepositoryRef) -> Remote:
            return Remote(url=f"{hanging}/{repository.full_name}.git", protocols="http")

        monkeypatch.setattr(hosts["gitlab"], "remote", remote)
        waiting = []
        for number in range(20):  # many more than are read at once
            project = place.gitlab.add_project(f"acme/hangs-{number}")
            push = place.gitlab.push_delivery(project, sha=sha, secret=SECRET)
            waiting.append(place.server.deliver("gitlab", push).json()["delivery"])

        # git gives up after 30 s of silence: by then it would be read anyway.
        decision = place.server.decision(tell(place, sha), within=15)

        assert decision.outcome is DecisionOutcome.STARTED
        assert {place.server.delivery(id_).state for id_ in waiting} == {"waiting"}
        monkeypatch.setattr(hosts["gitlab"], "remote", github.remote)


def test_a_repository_whose_fetch_fails_for_now_holds_up_no_other_of_its_host(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = place.server.lading.hosts["github"]
    right = host.remote
    sha = place.push()

    def remote(repository: RepositoryRef) -> Remote:
        if "broken" in repository.full_name:
            return Remote(url="http://127.0.0.1:1/broken.git", protocols="http")
        return right(repository)

    monkeypatch.setattr(host, "remote", remote)
    waiting = []
    for number in range(20):
        broken = place.github.add_repository(f"acme/broken-{number}")
        push = place.github.push_delivery(broken, sha=sha, secret=SECRET)
        waiting.append(place.server.deliver("github", push).json()["delivery"])

    decision = place.tell(sha)

    assert decision.outcome is DecisionOutcome.STARTED
    assert {place.server.delivery(id_).state for id_ in waiting} == {"waiting"}


def unreadable(place: Place, monkeypatch: pytest.MonkeyPatch, *, name: str = "") -> tuple[int, str]:
    """A push whose commit cannot be had when its webhook comes; its run, and the commit."""
    host = place.server.lading.hosts["github"]
    text = (f"name: {name}\n" if name else "") + DEFINITION
    sha = place.repository.commit({".lading.yml": text})
    place.repository.push(f"HEAD:{MAIN}")
    with monkeypatch.context() as patch:
        refusing = Remote(url=str(place.repository.bare / "not-here"), protocols="file")
        patch.setattr(host, "remote", lambda _repository: refusing)
        decision = place.server.decision(tell(place, sha))
    (pipeline,) = decision.pipelines
    assert pipeline.run is not None
    return pipeline.run, sha


def test_a_run_whose_commit_could_not_be_read_is_run_again_by_reading_it_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sha = unreadable(place, monkeypatch)
    before = place.server.run(run)
    assert (before.state, before.plan) == (State.ERROR, None)
    (pause,) = place.pauses()
    assert pause.kind is PauseKind.FETCH

    answer = place.server.api.post(f"/runs/{run}/attempts")

    assert answer.status_code == 201, answer.text
    after = place.server.run(run)
    assert (after.attempt, after.sha) == (2, sha)
    assert after.plan is not None
    assert after.definition_file == ".lading.yml"
    assert place.pauses() == []
    shown = place.server.api.get(f"/runs/{run}").json()
    assert [one["reason"] for one in shown["attempts"]] == ["push", "re-run by test"]


def test_a_commit_that_still_cannot_be_read_says_so_and_changes_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = unreadable(place, monkeypatch)
    away = place.repository.bare.rename(place.repository.bare.with_suffix(".away"))

    answer = place.server.api.post(f"/runs/{run}/attempts")

    away.rename(place.repository.bare)
    assert answer.status_code == 409
    assert "the commit still cannot be read" in answer.json()["detail"]
    assert place.server.run(run).attempt == 1


def test_the_error_under_the_old_name_is_taken_back_when_the_pipeline_has_another(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sha = unreadable(place, monkeypatch, name="web")
    place.github.wait_for(place.web.full_name, sha, "lading/push/default", "error")

    place.server.api.post(f"/runs/{run}/attempts")

    assert place.server.run(run).pipeline == "web"
    place.github.wait_for(place.web.full_name, sha, "lading/push/default", "success")
    # There is no engine here, so that the run waits.
    place.github.wait_for(place.web.full_name, sha, "lading/push/web", "pending")


def test_the_same_push_told_again_starts_nothing_once_its_commit_was_read_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sha = unreadable(place, monkeypatch)
    place.server.api.post(f"/runs/{run}/attempts")

    again = place.server.decision(tell(place, sha))

    assert again.outcome is DecisionOutcome.DUPLICATE
    assert len(place.runs()) == 1


def test_a_run_of_a_redelivered_push_still_leads_to_its_delivery(place: Place) -> None:
    sha = place.push()
    id_ = tell(place, sha)
    (pipeline,) = place.server.decision(id_).pipelines

    place.server.api.post(f"/deliveries/{id_}/redeliver")
    again = place.server.decision(id_)

    assert again.outcome is DecisionOutcome.DUPLICATE
    shown = place.server.api.get(f"/runs/{pipeline.run}").json()
    assert shown["delivery"].endswith(f"/deliveries/{id_}")


def test_a_refused_token_is_flagged_and_its_statuses_are_not_hammered(place: Place) -> None:
    place.github.token, right = "revoked", place.github.token
    try:
        shas = [place.push(message=str(count)) for count in range(5)]
        for sha in shas:
            place.tell(sha, ref=MAIN)
        wait_until(lambda: len(place.pauses()) == 1, "the host is flagged", 20)
        (pause,) = place.pauses()
        assert (pause.kind, pause.full_name) == (PauseKind.REFUSED, None)
        assert "expired or revoked" in pause.reason
        wait_until(lambda: len(place.runs()) == 5, "all are decided", 20)
        for run in place.runs():
            place.server.api.post(f"/runs/{run.id}/cancel")
        assert len([one for one in place.github.requests if "/statuses/" in one.path]) <= 2
        listed = place.server.api.get("/pauses").json()["items"]
        assert [one["kind"] for one in listed if one["repository"] is None] == ["refused"]
    finally:
        place.github.token = right
