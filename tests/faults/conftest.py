"""A server that is made to end, between a double of GitHub and the real other parts."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from pipelines.engine.caches import LABEL
from pipelines.engine.client import connect
from pipelines.engine.leftovers import remove_leftovers
from pipelines.engine.old_caches import remove_old_caches
from server.store import deliveries, runs
from server.store.rows import DeliveryRow, RunRow
from tests.doubles.base import Delivery, serve, wait_until
from tests.doubles.github import GitHubDouble
from tests.doubles.github import Repository as GitHubRepository
from tests.parts.git_server import Repository, git_server
from tests.parts.process import GitHubPlaces, LadingProcess

SECRET = "a secret between the host and us"
CONTEXT = "lading/push/default"
ENDS = ("success", "failure", "error")


@dataclass(kw_only=True)
class Stage:
    """The server, which does not run yet, and everything around it."""

    server: LadingProcess
    github: GitHubDouble
    web: GitHubRepository
    repository: Repository
    image: str
    client: docker.DockerClient

    @property
    def server_id(self) -> str:
        """By which the engine knows what is the server's."""
        return (self.server.data / "server-id").read_text()

    def push(self, *commands: str, files: dict[str, str] | None = None) -> str:
        """Commit and push a pipeline with one step; the commit's id."""
        return self.repository.pushed({".lading.yml": self.pipeline(*commands), **(files or {})})

    def pipeline(self, *commands: str) -> str:
        """One test step."""
        lines = "".join(f"\n      - {command}" for command in commands)
        return f"test:\n  unit:\n    image: {self.image}\n    commands:{lines}\n"

    def delivery(self, sha: str) -> Delivery:
        """The push's webhook; sent again, it keeps its id, as GitHub's redelivery does."""
        return self.github.push_delivery(self.web, sha=sha, secret=SECRET)

    def deliver(self, delivery: Delivery) -> int | None:
        """Send it; the status code, None where there was no answer."""
        return self.server.deliver("github", delivery)

    def stored(self) -> list[DeliveryRow]:
        """The deliveries in the rows."""
        return self.server.read(deliveries.deliveries_page)

    def runs(self) -> list[RunRow]:
        """The runs in the rows."""
        return self.server.read(runs.runs_page)

    def ended(self) -> RunRow:
        """The only run there is, once it has ended."""

        def over() -> bool:
            return [row.state.ended for row in self.runs()] == [True]

        wait_until(over, "the one run has ended", 60)
        return self.runs()[0]

    def log(self, step: str = "test.unit") -> str:
        """The step's whole output."""
        return self.server.logs.read(1, 1, step, start=0, limit=1 << 26).decode()

    def told(self, sha: str, state: str) -> list[str]:
        """All that the host was told of the commit, once it shows this state."""
        self.github.wait_for(self.web.full_name, sha, CONTEXT, state)
        history = self.github.history(self.web.full_name, sha, CONTEXT)
        return [status.state for status in history]

    def left(self, *, running: bool = False) -> list[str]:
        """What runs left on the engine, or only the containers that run. Images stay a day."""
        server = self.server_id
        filters = {"label": f"lading.server={server}"}
        if running:
            filters["status"] = "running"
        containers = self.client.api.containers(all=True, filters=filters)
        if running:
            return [str(one["Id"]) for one in containers]
        volumes = self.client.api.volumes(filters=filters)["Volumes"] or []
        networks = self.client.api.networks(filters=filters)
        kept = [one["Name"] for one in volumes if LABEL not in one["Labels"]]
        return [*(str(one["Id"]) for one in (*containers, *networks)), *kept]

    def nothing_is_left(self) -> None:
        """Wait until the engine holds nothing of ours."""
        wait_until(lambda: self.left() == [], "nothing is left on the engine", 60)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all tests of a module share."""

    folder: Path
    github: GitHubDouble
    places: GitHubPlaces
    engine: str


@pytest.fixture(scope="module")
def surroundings(
    tmp_path_factory: pytest.TempPathFactory, engine_url: str
) -> Iterator[Surroundings]:
    """A double of GitHub, a git server and an engine."""
    folder, github = tmp_path_factory.mktemp("hosts"), GitHubDouble()
    (folder / "acme").mkdir()
    with serve(github.app) as api_url, git_server(folder) as served:
        places = GitHubPlaces(api_url=api_url, url=served.url, token=github.token, secret=SECRET)
        yield Surroundings(folder=folder, github=github, places=places, engine=engine_url)


@pytest.fixture
def program() -> str:
    """What the server is started with."""
    return "server.cli"


@pytest.fixture
def stage(
    surroundings: Surroundings,
    program: str,
    tmp_path: Path,
    docker_client: docker.DockerClient,
    busybox_image: str,
) -> Iterator[Stage]:
    """A server of its own for each test, and a repository."""
    name = tmp_path.name[:60]
    server = LadingProcess(
        tmp_path,
        engine=surroundings.engine,
        git=tmp_path,
        github=surroundings.places,
        program=program,
    )
    stage = Stage(
        server=server,
        github=surroundings.github,
        web=surroundings.github.add_repository(f"acme/{name}"),
        repository=Repository(surroundings.folder / "acme", name),
        image=busybox_image,
        client=docker_client,
    )
    yield stage
    server.kill()
    # Steps outlive their server; nothing of them shall outlive the test.
    if (server.data / "server-id").exists():
        with contextlib.closing(connect(surroundings.engine)) as client:
            remove_leftovers(client, stage.server_id, set())
            remove_old_caches(client, stage.server_id, before=math.inf)
