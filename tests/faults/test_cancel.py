"""F38: a cancel in each phase ends a run once, tells the host, and leaves nothing on the engine."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
from pydantic import SecretStr

from pipelines.progress import State
from server.config import GitHubSettings, RegistrySettings, WorkerSettings
from server.store import runs
from tests.doubles.base import serve, wait_until
from tests.doubles.github import GitHubDouble
from tests.parts.git_server import GitServer, Repository, git_server
from tests.parts.lading import Running, lading, settings

SECRET = "a secret between the host and us"
CONTEXT = "lading/push/default"


class Silence:
    """A server that takes connections, and never says a word."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.called = threading.Event()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._open.append(self._listening.accept()[0])
                self.called.set()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)
        for one in self._open:
            one.close()


@dataclass(kw_only=True)
class Place:
    """A server with one slot, and what it works with."""

    test: str
    server: Running
    github: GitHubDouble
    git: GitServer
    repository: Repository
    image: str
    engine: docker.DockerClient
    silent: Silence
    mirrors: Path
    shas: dict[int, str] = field(default_factory=dict)

    def start(self, definition: str, **files: str) -> int:
        """Push a definition; the run that it starts."""
        # Two tests within a second would otherwise push one and the same commit, which runs once.
        message = f"for {self.test}"
        sha = self.repository.pushed({".lading.yml": definition, **files}, message)
        web = self.github.repositories["acme/web"]
        answer = self.server.deliver(
            "github", self.github.push_delivery(web, sha=sha, secret=SECRET)
        )
        assert answer.status_code == 202, answer.text
        decision = self.server.decision(answer.json()["delivery"])
        assert decision.pipelines, decision.reason
        (pipeline,) = decision.pipelines
        assert pipeline.run is not None, pipeline.reason
        self.shas[pipeline.run] = sha
        return pipeline.run

    def commands(self, *commands: str) -> str:
        """A definition with one step."""
        lines = "".join(f"      - |\n        {command}\n" for command in commands)
        return f"test:\n  unit:\n    image: {self.image}\n    commands:\n{lines}"

    def cancel(self, run: int) -> None:
        """Ask for it as a person does."""
        answer = self.server.api.post(f"/runs/{run}/cancel")
        assert answer.status_code == 202, answer.text

    def left(self) -> list[str]:
        """Names of all containers and volumes of this server."""
        filters = {"label": f"lading.server={self.server.lading.server_id}"}
        containers = self.engine.api.containers(all=True, filters=filters)
        volumes = self.engine.api.volumes(filters=filters)["Volumes"] or []
        return [str(one["Names"]) for one in containers] + [str(one["Name"]) for one in volumes]

    def is_cancelled(self, run: int, *, within: float = 20) -> None:
        """It ended once, its host shows it, and nothing is left."""
        ended = self.server.ended(run, within=within)
        assert (ended.state, ended.sentence) == (State.CANCELLED, "cancelled by test")
        assert set(self.server.states(run).values()) == {State.CANCELLED}
        status = self.github.wait_for("acme/web", self.shas[run], CONTEXT, "error")
        assert status.description == "cancelled by test"
        wait_until(lambda: self.left() == [], f"nothing is left, but {self.left()}", 20)


@pytest.fixture(scope="module")
def place_parts(
    tmp_path_factory: pytest.TempPathFactory, engine_url: str
) -> Iterator[tuple[Running, GitHubDouble, GitServer, Path, Silence]]:
    folder = tmp_path_factory.mktemp("cancel")
    (folder / "acme").mkdir()
    github, silent = GitHubDouble(), Silence()
    github.add_repository("acme/web")
    with serve(github.app) as github_url, git_server(folder) as git:
        configured = settings(
            folder / "data",
            engine=engine_url,
            hosts={
                "github": GitHubSettings(
                    kind="github",
                    webhook_secret=SecretStr(SECRET),
                    token=SecretStr(github.token),
                    api_url=github_url,
                    url=git.url,
                )
            },
            registries={
                silent.address: RegistrySettings(username="a", password=SecretStr("b" * 8))
            },
            worker=WorkerSettings(slots=1, memory=256 * 2**20, grace=1.0),
        )
        with lading(configured) as running:
            yield running, github, git, folder, silent
    silent.close()


@pytest.fixture
def place(
    place_parts: tuple[Running, GitHubDouble, GitServer, Path, Silence],
    busybox_image: str,
    docker_client: docker.DockerClient,
    request: pytest.FixtureRequest,
) -> Iterator[Place]:
    server, github, git, folder, silent = place_parts
    silent.called.clear()
    shutil.rmtree(folder / "acme")
    (folder / "acme").mkdir()
    yield Place(
        test=request.node.name,
        server=server,
        github=github,
        git=git,
        repository=Repository(folder / "acme"),
        image=busybox_image,
        engine=docker_client,
        silent=silent,
        mirrors=folder / "data" / "mirrors",
    )
    git.answers.set()


def test_a_run_that_waits(place: Place) -> None:
    first = place.start(place.commands("sleep 600"))
    place.server.running(first, "test.unit")
    second = place.start(place.commands("echo never"))

    place.cancel(second)

    assert place.server.run(second).state is State.CANCELLED
    place.cancel(first)
    place.is_cancelled(first)
    place.is_cancelled(second)


def test_a_run_whose_commit_is_fetched_from_a_host_that_does_not_answer(place: Place) -> None:
    first = place.start(place.commands("sleep 600"))
    place.server.running(first, "test.unit")
    second = place.start(place.commands("echo never"))
    shutil.rmtree(place.mirrors)
    place.git.answers.clear()
    asked = len(place.git.seen)
    place.cancel(first)
    place.is_cancelled(first)
    wait_until(lambda: len(place.git.seen) > asked, "the commit is fetched again", 20)

    place.cancel(second)

    place.is_cancelled(second, within=8)


def test_a_run_whose_image_is_pulled_from_a_registry_that_does_not_answer(place: Place) -> None:
    run = place.start(
        f"test:\n  unit:\n    image: {place.silent.address}/web:1\n    commands: [echo never]\n"
    )
    assert place.silent.called.wait(20)

    place.cancel(run)

    place.is_cancelled(run)


def test_a_run_that_builds(place: Place) -> None:
    run = place.start(
        "build:\n  web:\n    dockerfile: Dockerfile\n",
        Dockerfile=f"FROM {place.image}\nRUN echo up; sleep 614\n",
    )

    def building() -> bool:
        found = place.engine.api.containers()
        return any("sleep 614" in container["Command"] for container in found)

    wait_until(building, "the build runs", 30)

    place.cancel(run)

    place.is_cancelled(run)
    wait_until(lambda: not building(), "the builder has stopped", 20)


def test_a_run_whose_commands_clean_up_after_themselves(place: Place) -> None:
    trap = "trap 'sleep 0.3; echo cleaned; exit 0' TERM"
    inner = f'sh -c "{trap}; echo up; while :; do sleep 0.05; done"'
    run = place.start(place.commands(inner))
    wait_until(lambda: "\nup\n" in place.server.log(run, "test.unit"), "it is up", 20)

    place.cancel(run)

    place.is_cancelled(run)
    assert "cleaned\n" in place.server.log(run, "test.unit")


def test_a_run_that_pushes_to_a_registry_that_does_not_answer(place: Place) -> None:
    run = place.start(
        "build:\n  web:\n    dockerfile: Dockerfile\n"
        f"push:\n  web:\n    to: {place.silent.address}/acme/web\n",
        Dockerfile=f"FROM {place.image}\n",
    )
    assert place.silent.called.wait(30)

    place.cancel(run)

    ended = place.server.ended(run, within=30)
    assert (ended.state, ended.sentence) == (State.CANCELLED, "cancelled by test")
    assert place.server.states(run) == {"build.web": State.SUCCESS, "push.web": State.CANCELLED}
    wait_until(lambda: place.left() == [], "nothing is left", 20)


def test_a_run_that_has_ended_and_is_cleaned_up_stays_as_it_ended(place: Place) -> None:
    run = place.start(place.commands("trap '' TERM; echo done"))
    place.server.ended(run)

    answer = place.server.api.post(f"/runs/{run}/cancel")

    assert answer.status_code == 409
    assert "has ended already: success" in answer.text
    assert place.server.run(run).state is State.SUCCESS
    wait_until(lambda: place.left() == [], "nothing is left", 20)


def test_cancel_and_finish_at_the_same_moment_give_one_end_that_everybody_tells(
    place: Place,
) -> None:
    chance = random.Random(38)
    ends: list[State] = []

    def cancel_soon(run: int) -> None:
        waited = threading.Event()
        place.server.running(run, "test.unit")
        waited.wait(chance.uniform(0, 0.35))
        place.server.api.post(f"/runs/{run}/cancel")

    with ThreadPoolExecutor(1) as other:
        for number in range(5):
            run = place.start(place.commands(f"echo {number}; sleep 0.1"))
            cancelling = other.submit(cancel_soon, run)
            ended = place.server.ended(run)
            cancelling.result(30)
            ends.append(ended.state)
            assert place.server.run(run) == ended  # and nothing changed it afterwards
            (attempt,) = place.server._read(runs.attempts_of, run)
            assert (attempt.state, attempt.sentence) == (ended.state, ended.sentence)
            assert set(place.server.states(run).values()) == {ended.state}
            wanted = "success" if ended.state is State.SUCCESS else "error"
            place.github.wait_for("acme/web", place.shas[run], CONTEXT, wanted)

    assert set(ends) <= {State.SUCCESS, State.CANCELLED}
    wait_until(lambda: place.left() == [], "nothing is left", 20)
