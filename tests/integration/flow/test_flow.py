"""From a push to the status beside the commit, through every room, on real parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import docker
import pytest

from pipelines.events import Event
from pipelines.progress import State
from server.hosts.git import hook
from server.hosts.port import Irrelevant, Payload
from server.store.rows import DecisionOutcome, DeliveryState
from tests.doubles.base import wait_until
from tests.integration.flow.conftest import KEY, SECRET, Flow

ZERO = "0" * 40


def library(image: str, *commands: str) -> str:
    lines = "".join(f"\n      - {command}" for command in commands)
    return f"test:\n  unit:\n    image: {image}\n    commands:{lines}\n"


def application(flow: Flow, *, test: str = "cat /app/greeting") -> dict[str, str]:
    return {
        "Dockerfile": f"FROM {flow.image}\nCOPY greeting /app/greeting\n",
        "greeting": "hello\n",
        ".lading.yml": (
            "build:\n  web: {}\n"
            f"test:\n  unit:\n    commands:\n      - {test}\n"
            f"push:\n  web:\n    to: {flow.registry.address}/acme/web\n"
        ),
    }


def test_a_github_push_is_built_tested_pushed_and_its_status_turns_green(
    flow: Flow, docker_client: docker.DockerClient, left_on_engine: Callable[[], list[str]]
) -> None:
    sha = flow.push(application(flow))

    run = flow.run_of(flow.tell_github(sha))
    ended = flow.server.ended(run)

    assert ended.state is State.SUCCESS, ended.sentence
    assert list(flow.server.states(run)) == ["build.web", "test.unit", "push.web"]
    assert "hello" in flow.server.log(run, "test.unit")
    status = flow.github.wait_for(flow.web.full_name, sha, "lading/push/default", "success")
    assert status.target_url == f"{flow.server.url}/runs/{run}"
    history = flow.github.history(flow.web.full_name, sha, "lading/push/default")
    assert [one.state for one in history] == ["pending", "success"]
    (version,) = flow.server.images(run)
    assert version.tags == ("main", f"sha-{sha[:12]}", "latest")
    pulled = docker_client.images.pull(
        version.image,
        tag=version.digest,
        auth_config={
            "username": str(flow.registry.username),
            "password": str(flow.registry.password),
        },
    )
    labels = pulled.labels
    assert labels["org.opencontainers.image.revision"] == sha
    wait_until(lambda: left_on_engine() == [], "everything is cleaned up", 20)


def test_what_failed_runs_again_alone_on_the_image_that_was_built_before(
    flow: Flow, docker_client: docker.DockerClient
) -> None:
    lading = flow.server.lading
    files = application(flow, test='test "$CI_ATTEMPT" = 2')
    files["Dockerfile"] += "RUN head -c 9 /dev/urandom > /data\n"
    sha = flow.push(files)
    run = flow.run_of(flow.tell_github(sha))
    assert flow.server.ended(run).state is State.FAILURE
    built = flow.server.steps(run)[0].outcome

    def sweep() -> list[str]:
        wait_until(lambda: not lading.worker.active, "the attempt is cleared up", 20)
        asyncio.run_coroutine_threadsafe(lading._remove_leftovers(), flow.server.loop).result(30)
        prefix = f":attempt.{lading.server_id}.{run}."
        names = [name for image in docker_client.images.list() for name in image.tags]
        return [name for name in names if prefix in name]

    assert len(sweep()) == 1
    flow.server.api.post(f"/runs/{run}/attempts", json={"only": "failed"})

    assert flow.server.ended(run, attempt=2).state is State.SUCCESS
    steps = {step.key: step for step in flow.server.steps(run)}
    assert steps["build.web"].carried_from == 1
    assert steps["build.web"].outcome == built
    assert steps["test.unit"].carried_from is None
    assert [version.attempt for version in flow.server.images(run)] == [2]
    assert sweep() == []
    flow.github.wait_for(flow.web.full_name, sha, "lading/push/default", "success")


def test_a_failing_test_stops_the_push_and_says_so_beside_the_commit(flow: Flow) -> None:
    sha = flow.push(application(flow, test="exit 3"))

    run = flow.run_of(flow.tell_github(sha))
    ended = flow.server.ended(run)

    assert flow.server.states(run) == {
        "build.web": State.SUCCESS,
        "test.unit": State.FAILURE,
        "push.web": State.SKIPPED,
    }
    status = flow.github.wait_for(flow.web.full_name, sha, "lading/push/default", "failure")
    assert status.description == ended.sentence
    assert "test.unit" in ended.sentence
    assert "3" in ended.sentence
    assert flow.server.images(run) == []


def test_a_pull_request_is_built_without_a_push(flow: Flow) -> None:
    base = flow.push({"README": "x"})
    sha = flow.push(application(flow), ref="refs/pull/7/head")
    delivery = flow.github.pull_request_delivery(
        flow.web, number=7, sha=sha, base_sha=base, secret=SECRET, fork=flow.web
    )
    answer = flow.server.deliver("github", delivery)

    run = flow.run_of(answer.json()["delivery"])
    ended = flow.server.ended(run)

    assert ended.event.pull_request == 7
    assert ended.state is State.SUCCESS, ended.sentence
    flow.github.wait_for(flow.web.full_name, sha, "lading/pull_request/default", "success")


def test_a_pull_request_from_a_fork_pushes_nothing(flow: Flow) -> None:
    base = flow.push({"README": "x"})
    sha = flow.push(application(flow), ref="refs/pull/8/head")
    fork = flow.github.add_repository(f"mallory/{flow.web.full_name.split('/')[1]}")
    delivery = flow.github.pull_request_delivery(
        flow.web, number=8, sha=sha, base_sha=base, secret=SECRET, fork=fork
    )

    run = flow.run_of(flow.server.deliver("github", delivery).json()["delivery"])
    flow.server.api.post(f"/runs/{run}/approve")

    assert flow.server.ended(run).state is State.SUCCESS
    assert list(flow.server.states(run)) == ["build.web", "test.unit"]


def test_a_closed_pull_request_starts_nothing_and_says_why(flow: Flow) -> None:
    delivery = flow.github.pull_request_delivery(
        flow.web, number=9, sha="1" * 40, base_sha="2" * 40, secret=SECRET, action="closed"
    )

    decision = flow.server.decision(flow.server.deliver("github", delivery).json()["delivery"])

    assert decision.outcome is DecisionOutcome.NOTHING
    assert "closed" in decision.reason


def test_a_tag_is_pushed_under_its_versions(flow: Flow) -> None:
    sha = flow.push(application(flow), ref="refs/tags/v1.2.3")

    run = flow.run_of(flow.tell_github(sha, ref="refs/tags/v1.2.3"))

    assert flow.server.ended(run).state is State.SUCCESS
    (version,) = flow.server.images(run)
    assert version.tags == ("1.2.3", "1.2", "1", "latest")
    flow.github.wait_for(flow.web.full_name, sha, "lading/tag/default", "success")


def test_a_deleted_branch_starts_nothing_and_says_why(flow: Flow) -> None:
    decision = flow.server.decision(flow.tell_github(ZERO, ref="refs/heads/old", before="1" * 40))

    assert decision.outcome is DecisionOutcome.NOTHING
    assert "deleted" in decision.reason


def test_a_gitlab_merge_request_goes_through_pending_and_running_to_success(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = flow.push(
        {".lading.yml": library(flow.image, "echo hi")}, ref="refs/merge-requests/3/head"
    )
    # One git server serves both hosts' repositories here; GitLab's own address is its double's.
    hosts = flow.server.lading.hosts
    monkeypatch.setattr(hosts["gitlab"], "remote", hosts["github"].remote)
    delivery = flow.gitlab.merge_request_delivery(flow.project, number=3, sha=sha, secret=SECRET)

    run = flow.run_of(flow.server.deliver("gitlab", delivery).json()["delivery"])

    assert flow.server.ended(run).state is State.SUCCESS
    status = flow.gitlab.wait_for(flow.project, sha, "lading/pull_request/default", "success")
    assert status.states[0] == "pending"
    assert status.states[-1] == "success"


def test_a_push_to_a_plain_repository_tells_the_run_to_whoever_pushes(flow: Flow) -> None:
    hook.install(
        flow.repository.bare,
        server_url=flow.server.url,
        host_name="git",
        secret=KEY,
        name=f"acme/{flow.repository.bare.stem}",
    )
    flow.repository.commit({".lading.yml": library(flow.image, "echo hi")})

    said = flow.repository.push("HEAD:refs/heads/main")

    assert f"{flow.server.url}/runs/" in said
    run = int(said.split("/runs/")[1].split()[0])
    assert flow.server.ended(run).state is State.SUCCESS


def test_a_branch_that_is_not_wanted_leads_to_a_decision_with_its_reason(flow: Flow) -> None:
    text = "when: {event: push, branch: main}\n" + library(flow.image, "true")
    sha = flow.push({".lading.yml": text}, ref="refs/heads/dev")

    decision = flow.server.decision(flow.tell_github(sha, ref="refs/heads/dev"))

    assert decision.outcome is DecisionOutcome.NOTHING
    assert "main" in decision.reason
    assert "dev" in decision.reason


def test_only_changed_paths_count_and_they_come_from_git_itself(flow: Flow) -> None:
    text = "when: {event: push, path: src/**}\n" + library(flow.image, "true")
    before = flow.push({".lading.yml": text, "src/a": "1"})
    other = flow.push({"docs/a": "1"})
    wanted = flow.push({"src/a": "2"})

    nothing = flow.server.decision(flow.tell_github(other, before=before))
    started = flow.server.decision(flow.tell_github(wanted, before=other))

    assert nothing.outcome is DecisionOutcome.NOTHING
    assert started.outcome is DecisionOutcome.STARTED


def test_the_same_push_under_a_new_delivery_id_starts_nothing_twice(flow: Flow) -> None:
    sha = flow.push({".lading.yml": library(flow.image, "true")})
    first = flow.run_of(flow.tell_github(sha))

    again = flow.server.decision(flow.tell_github(sha))

    assert again.outcome is DecisionOutcome.DUPLICATE
    assert again.pipelines == ()
    assert flow.server.ended(first).attempt == 1


def test_a_broken_definition_is_an_error_beside_the_commit_with_its_first_problem(
    flow: Flow,
) -> None:
    sha = flow.push({".lading.yml": "test:\n  unit:\n    comands: [true]\n"})

    run = flow.run_of(flow.tell_github(sha))

    status = flow.github.wait_for(flow.web.full_name, sha, "lading/push/default", "error")
    assert flow.server.run(run).state is State.ERROR
    assert str(status.description).startswith(".lading.yml:")


def test_a_commit_that_asks_to_be_skipped_is_whatever_the_payload_says(flow: Flow) -> None:
    definition = {".lading.yml": library(flow.image, "true")}
    sha = flow.repository.commit(dict(definition), message="Fix a word [skip ci]")
    flow.repository.push("HEAD:refs/heads/main")

    decision = flow.server.decision(flow.tell_github(sha))

    assert decision.outcome is DecisionOutcome.NOTHING
    assert "[skip ci]" in decision.reason


def test_a_commit_without_a_definition_is_decided_and_nothing_runs(flow: Flow) -> None:
    sha = flow.push({"README": "no pipeline here"})

    decision = flow.server.decision(flow.tell_github(sha))

    assert decision.reason.startswith("no pipeline at commit")


def test_a_wrong_registry_login_is_an_error_that_names_the_registry_and_the_setting(
    flow: Flow,
) -> None:
    address = flow.registry.address
    right = flow.server.lading.settings.registries[address]
    wrong = right.model_copy(update={"password": type(right.password)("wrong")})
    flow.server.lading.settings.registries[address] = wrong
    try:
        sha = flow.push(application(flow))
        run = flow.run_of(flow.tell_github(sha))
        ended = flow.server.ended(run)
    finally:
        flow.server.lading.settings.registries[address] = right

    assert ended.state is State.ERROR
    assert address in ended.sentence
    flow.github.wait_for(flow.web.full_name, sha, "lading/push/default", "error")


def test_a_cancelled_run_stops_a_step_that_ignores_sigterm(
    flow: Flow, left_on_engine: Callable[[], list[str]]
) -> None:
    sha = flow.push(
        {".lading.yml": library(flow.image, "trap '' TERM; while true; do sleep 1; done")}
    )
    run = flow.run_of(flow.tell_github(sha))
    flow.server.running(run, "test.unit")

    answer = flow.server.api.post(f"/runs/{run}/cancel")

    assert answer.status_code == 202, answer.text
    ended = flow.server.ended(run, within=20)
    assert (ended.state, ended.sentence) == (State.CANCELLED, "cancelled by test")
    status = flow.github.wait_for(flow.web.full_name, sha, "lading/push/default", "error")
    assert "cancelled" in str(status.description).lower()
    wait_until(lambda: left_on_engine() == [], "everything is cleaned up", 20)


def test_a_newer_push_stops_the_running_one_and_both_commits_say_what_became_of_them(
    flow: Flow, left_on_engine: Callable[[], list[str]]
) -> None:
    superseding = "concurrency: {cancel_in_progress: true}\n"
    wait = library(flow.image, "while [ -e first ]; do sleep 0.1; done")
    old = flow.push({".lading.yml": superseding + wait, "first": ""})
    first = flow.run_of(flow.tell_github(old))
    flow.server.running(first, "test.unit")

    (flow.repository.work / "first").unlink()
    new = flow.push({})
    second = flow.run_of(flow.tell_github(new, before=old))

    ended = flow.server.ended(first, within=20)
    assert (ended.state, ended.sentence) == (State.CANCELLED, f"superseded by run {second}")
    assert flow.server.ended(second).state is State.SUCCESS
    flow.github.wait_for(flow.web.full_name, new, "lading/push/default", "success")
    told = flow.github.wait_for(flow.web.full_name, old, "lading/push/default", "error")
    assert f"superseded by run {second}" in str(told.description)
    wait_until(lambda: left_on_engine() == [], "everything is cleaned up", 20)


def test_a_run_that_takes_long_holds_up_no_run_beside_it(flow: Flow) -> None:
    long = flow.push({".lading.yml": library(flow.image, "while true; do sleep 1; done")})
    first = flow.run_of(flow.tell_github(long))
    flow.server.running(first, "test.unit")

    short = flow.push({".lading.yml": library(flow.image, "true")})
    second = flow.run_of(flow.tell_github(short))

    assert flow.server.ended(second).state is State.SUCCESS
    assert not flow.server.run(first).state.ended
    flow.server.api.post(f"/runs/{first}/cancel")
    flow.server.ended(first)


def test_a_rerun_is_a_new_attempt_and_the_old_one_is_kept(flow: Flow) -> None:
    sha = flow.push({".lading.yml": library(flow.image, "echo attempt $CI_ATTEMPT")})
    run = flow.run_of(flow.tell_github(sha))
    flow.server.ended(run)

    answer = flow.server.api.post(f"/runs/{run}/attempts")

    assert answer.status_code == 201, answer.text
    assert flow.server.ended(run, attempt=2).state is State.SUCCESS
    assert "attempt 2" in flow.server.log(run, "test.unit")
    first = flow.server.lading.logs.read(run, 1, "test.unit", start=0, limit=1000)
    assert b"attempt 1" in first


def test_a_run_by_hand_builds_the_branch_as_it_is_now(flow: Flow) -> None:
    first = flow.push({".lading.yml": library(flow.image, "true")})
    flow.server.decision(flow.tell_github(first))
    second = flow.push({"more": "1"})

    answer = flow.server.api.post(
        "/runs", json={"repository": flow.web.full_name, "ref": "main", "host": "github"}
    )

    assert answer.status_code == 201, answer.text
    newest = flow.server.api.get("/runs", params={"repository": flow.web.full_name}).json()
    run = newest["items"][0]
    assert run["sha"] == second
    assert flow.server.ended(run["id"]).state is State.SUCCESS


def test_a_status_is_told_again_until_the_host_takes_it(flow: Flow) -> None:
    sha = flow.push({".lading.yml": library(flow.image, "true")})
    flow.github.fail_next(2, status=502)

    run = flow.run_of(flow.tell_github(sha))

    flow.server.ended(run)
    flow.github.wait_for(flow.web.full_name, sha, "lading/push/default", "success", timeout=60)


def test_a_status_that_the_host_refuses_for_good_is_not_told_again(flow: Flow) -> None:
    flow.web.commits = set()  # GitHub says 422: it knows no such commit
    sha = flow.push({".lading.yml": library(flow.image, "true")})

    run = flow.run_of(flow.tell_github(sha))
    flow.server.ended(run)

    def told() -> list[str]:
        path = f"/repos/{flow.web.full_name}/statuses/{sha}"
        return [one.path for one in flow.github.requests if one.path == path]

    wait_until(lambda: len(told()) >= 1, "the status was told", 20)
    assert len(told()) <= 2  # pending and success, each once


@pytest.mark.parametrize("hostile", ["$(touch pwned)", "`id`;#", "a' \"b"])
def test_what_strangers_write_reaches_steps_as_text_alone(flow: Flow, hostile: str) -> None:
    definition = library(flow.image, """'echo "title=$CI_COMMIT_TITLE"'""", "ls")
    sha = flow.repository.commit({".lading.yml": definition}, message=hostile)
    flow.repository.push("HEAD:refs/heads/main")
    delivery = flow.github.push_delivery(flow.web, sha=sha, secret=SECRET, message=hostile)

    run = flow.run_of(flow.server.deliver("github", delivery).json()["delivery"])

    assert flow.server.ended(run).state is State.SUCCESS
    assert f"title={hostile}" in flow.server.log(run, "test.unit")
    assert "pwned\n" not in flow.server.log(run, "test.unit").split("$ ls")[1]


def test_a_delivery_that_cannot_be_read_is_set_aside_and_the_rest_flows(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = flow.server.lading.hosts["github"]
    read = host.read

    def poisoned(headers: Mapping[str, str], payload: Payload) -> Event | Irrelevant:
        if payload.get("ref") == "refs/heads/poison":
            raise ZeroDivisionError("a fault of our own")
        return read(headers, payload)

    monkeypatch.setattr(host, "read", poisoned)
    monkeypatch.setattr("server.intake.intake.POLL", 0.01)
    sha = flow.push({".lading.yml": library(flow.image, "true")})
    poison = flow.tell_github(sha, ref="refs/heads/poison")

    run = flow.run_of(flow.tell_github(sha))

    assert flow.server.ended(run).state is State.SUCCESS
    wait_until(
        lambda: flow.server.delivery(poison).state is DeliveryState.QUARANTINED,
        "the poisoned delivery is set aside",
        20,
    )
    kept = flow.server.delivery(poison)
    assert kept.tries == 3
    assert kept.error == "ZeroDivisionError: a fault of our own"
    assert b"refs/heads/poison" in kept.body


def test_what_a_lost_attempt_left_on_the_engine_is_swept_away_and_what_runs_stays(
    flow: Flow, docker_client: docker.DockerClient, left_on_engine: Callable[[], list[str]]
) -> None:
    lading = flow.server.lading
    labels = {"lading.server": lading.server_id, "lading.run": "999999", "lading.attempt": "1"}
    lost = docker_client.containers.create(flow.image, ["true"], labels=labels)
    sha = flow.push({".lading.yml": library(flow.image, "while true; do sleep 1; done")})
    run = flow.run_of(flow.tell_github(sha))
    flow.server.running(run, "test.unit")

    asyncio.run_coroutine_threadsafe(lading._remove_leftovers(), flow.server.loop).result(30)

    names = {one.id for one in docker_client.containers.list(all=True)}
    assert lost.id not in names
    assert not flow.server.run(run).state.ended
    flow.server.api.post(f"/runs/{run}/cancel")
    assert flow.server.ended(run).state is State.CANCELLED
    wait_until(lambda: left_on_engine() == [], "everything is cleaned up", 20)
