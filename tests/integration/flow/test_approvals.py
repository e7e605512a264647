"""Waiting for a person, on a real engine: strangers' commits, and steps that ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import docker

from pipelines.progress import State
from server.store import approvals, runs
from server.store.rows import Bounds, Verdict
from tests.doubles.base import wait_until
from tests.integration.flow.conftest import SECRET, Flow


def pipeline(flow: Flow, *, test: str = "true", deploy: str = "true", more: str = "") -> str:
    return (
        f"test:\n  unit:\n    image: {flow.image}\n    commands: ['{test}']\n"
        f"deploy:\n  live:\n    image: {flow.image}\n    commands: ['{deploy}']\n"
        f"    approval: {{prompt: Ship it?}}\n{more}"
    )


def held(flow: Flow, run: int) -> None:
    wait_until(lambda: flow.server.run(run).state is State.HELD, f"run {run} is held", 60)


def say(flow: Flow, run: int, verb: str) -> None:
    answer = flow.server.api.post(f"/runs/{run}/{verb}")
    assert answer.status_code == 200, answer.text


def stranger(flow: Flow, files: dict[str, str], *, number: int = 7) -> int:
    """The run of a stranger's pull request."""
    base = flow.push({"README": "x"})
    sha = flow.push(files, ref=f"refs/pull/{number}/head")
    name = flow.web.full_name.split("/")[1]
    delivery = flow.github.pull_request_delivery(
        flow.web,
        number=number,
        sha=sha,
        base_sha=base,
        secret=SECRET,
        fork=flow.github.add_repository(f"mallory/{name}"),
    )
    return flow.run_of(flow.server.deliver("github", delivery).json()["delivery"])


def test_a_strangers_commit_runs_only_once_approved_and_gets_nothing(flow: Flow) -> None:
    text = (
        f"build:\n  web: {{}}\n"
        f"test:\n  unit:\n    image: {flow.image}\n    commands: ['env']\n"
        f"  greedy:\n    image: {flow.image}\n    commands: ['env']\n"
        f"    env: {{TOKEN: {{from_secret: npm}}}}\n"
        f"push:\n  web:\n    to: {flow.registry.address}/acme/web\n"
        f"deploy:\n  live:\n    image: {flow.image}\n    commands: ['env']\n"
    )
    lading = flow.server.lading
    asyncio.run_coroutine_threadsafe(_keep_secret(flow), flow.server.loop).result(30)
    run = stranger(
        flow,
        {"Dockerfile": f"FROM {flow.image}\n", ".lading.yml": text.replace("[env]", "['env']")},
    )
    assert flow.server.run(run).state is State.HELD
    assert flow.server.ask(runs.steps_of, run, 1)[0].ready_at is None

    say(flow, run, "approve")
    ended = flow.server.ended(run)

    steps = {step.key: step for step in flow.server.steps(run)}
    assert set(steps) == {"build.web", "test.unit", "test.greedy"}
    assert steps["test.unit"].state is State.SUCCESS
    greedy = steps["test.greedy"].outcome
    assert greedy is not None
    assert "a pull request from a fork gets no secrets" in greedy.message
    assert "correct-horse" not in flow.server.log(run, "test.unit")
    assert ended.plan is not None
    assert not ended.plan.trusted
    assert lading.logins_for(ended) == {}
    assert flow.server.images(run) == []
    flow.github.wait_for(flow.web.full_name, ended.sha, "lading/pull_request/default", "error")


async def _keep_secret(flow: Flow) -> None:
    await flow.server.lading.secrets.set(
        repository=None, name="npm", value="correct-horse", bounds=Bounds(), by="test"
    )


def test_a_declined_stranger_never_ran(flow: Flow, left_on_engine: Callable[[], list[str]]) -> None:
    run = stranger(flow, {".lading.yml": pipeline(flow)}, number=8)

    say(flow, run, "decline")

    assert flow.server.run(run).sentence == "declined by test"
    assert all(step.started_at is None for step in flow.server.steps(run))
    assert left_on_engine() == []


def test_a_deploy_waits_for_a_person_in_the_same_attempt_with_its_files(
    flow: Flow, left_on_engine: Callable[[], list[str]]
) -> None:
    sha = flow.push({".lading.yml": pipeline(flow, test="echo made > made", deploy="cat made")})
    run = flow.run_of(flow.tell_github(sha))
    held(flow, run)

    assert (run, 1) not in flow.server.lading.worker.active
    asyncio.run_coroutine_threadsafe(
        flow.server.lading._remove_leftovers(), flow.server.loop
    ).result(30)
    told = flow.github.latest(flow.web.full_name, sha, "lading/push/default")
    assert told is not None
    wait_until(
        lambda: (
            "waits for approval: Ship it?"
            in str(
                flow.github.history(flow.web.full_name, sha, "lading/push/default")[-1].description
            )
        ),
        "the status says what it waits for",
        20,
    )
    say(flow, run, "approve")

    ended = flow.server.ended(run)
    assert (ended.state, ended.attempt) == (State.SUCCESS, 1), ended.sentence
    assert "made" in flow.server.log(run, "deploy.live").split("\n")
    (row,) = flow.server.ask(approvals.approvals_of, run)
    assert (row.verdict, row.answered_by, row.sha) == (Verdict.APPROVED, "test", sha)
    flow.github.wait_for(flow.web.full_name, sha, "lading/push/default", "success")
    wait_until(lambda: left_on_engine() == [], "everything is cleaned up", 20)


def test_a_declined_deploy_is_cancelled_with_who_declined(flow: Flow) -> None:
    more = f"  after:\n    image: {flow.image}\n    commands: ['true']\n    needs: [deploy.live]\n"
    sha = flow.push({".lading.yml": pipeline(flow, more=more)})
    run = flow.run_of(flow.tell_github(sha))
    held(flow, run)

    say(flow, run, "decline")

    ended = flow.server.ended(run)
    assert ended.state is State.CANCELLED
    assert "declined by test" in ended.sentence
    assert flow.server.states(run) == {
        "test.unit": State.SUCCESS,
        "deploy.live": State.CANCELLED,
        "deploy.after": State.SKIPPED,
    }


def test_a_cancelled_wait_leaves_nothing_on_the_engine(
    flow: Flow, left_on_engine: Callable[[], list[str]]
) -> None:
    sha = flow.push({".lading.yml": pipeline(flow)})
    run = flow.run_of(flow.tell_github(sha))
    held(flow, run)
    assert left_on_engine()

    flow.server.api.post(f"/runs/{run}/cancel")

    assert flow.server.run(run).state is State.CANCELLED
    asyncio.run_coroutine_threadsafe(
        flow.server.lading._remove_leftovers(), flow.server.loop
    ).result(30)
    assert left_on_engine() == []


def test_an_image_built_before_the_wait_is_there_after_it(flow: Flow) -> None:
    text = (
        "build:\n  web: {}\n"
        "deploy:\n  live:\n    commands: ['cat /greeting']\n    approval: {prompt: Ship it?}\n"
    )
    dockerfile = f"FROM {flow.image}\nRUN echo hello > /greeting\n"
    sha = flow.push({"Dockerfile": dockerfile, ".lading.yml": text})
    run = flow.run_of(flow.tell_github(sha))
    held(flow, run)

    say(flow, run, "approve")

    assert flow.server.ended(run).state is State.SUCCESS
    assert "hello" in flow.server.log(run, "deploy.live")


def test_no_container_holds_a_deploys_secrets_while_somebody_is_asked(
    flow: Flow, docker_client: docker.DockerClient
) -> None:
    sha = flow.push({".lading.yml": pipeline(flow)})
    run = flow.run_of(flow.tell_github(sha))
    held(flow, run)

    server = flow.server.lading.server_id
    filters = {"label": [f"lading.run={run}", f"lading.server={server}"]}
    wait_until(
        lambda: docker_client.api.containers(all=True, filters=filters) == [],
        "no container is there",
        20,
    )
    flow.server.api.post(f"/runs/{run}/cancel")


def test_where_its_files_are_gone_meanwhile_the_run_ends_in_an_error_that_says_so(
    flow: Flow, docker_client: docker.DockerClient
) -> None:
    sha = flow.push({".lading.yml": pipeline(flow)})
    run = flow.run_of(flow.tell_github(sha))
    held(flow, run)
    filters = {"label": [f"lading.run={run}", f"lading.server={flow.server.lading.server_id}"]}
    (volume,) = docker_client.volumes.list(filters=filters)
    volume.remove(force=True)

    say(flow, run, "approve")

    ended = flow.server.ended(run)
    assert ended.state is State.ERROR
    assert "workspace" in ended.sentence
    assert "re-run" in ended.sentence


def test_two_runs_never_deploy_to_one_name_at_once(flow: Flow) -> None:
    text = f"deploy:\n  live:\n    image: {flow.image}\n    commands: [sleep 2]\n"
    found = []
    for number in range(2):
        sha = flow.push({".lading.yml": text, "number": str(number)})
        found.append(flow.run_of(flow.tell_github(sha)))

    spans = []
    for run in found:
        assert flow.server.ended(run).state is State.SUCCESS
        (step,) = flow.server.steps(run)
        assert step.started_at is not None
        assert step.ended_at is not None
        spans.append((step.started_at, step.ended_at))
    first, second = sorted(spans)
    assert first[1] <= second[0]
