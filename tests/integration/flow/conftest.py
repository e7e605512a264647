"""A server with the hosts' doubles, a real git server, a real engine and a real registry."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
from pydantic import SecretStr

from scripts.parts.registry import Registry
from server.config import GitHubSettings, GitLabSettings, GitSettings, RegistrySettings
from tests.doubles.base import serve
from tests.doubles.github import GitHubDouble
from tests.doubles.github import Repository as GitHubRepository
from tests.doubles.gitlab import GitLabDouble, Project
from tests.parts.git_server import Repository, git_server
from tests.parts.lading import Running, lading, settings

SECRET = "a secret between the host and us"
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()


@dataclass(kw_only=True)
class Flow:
    """The server and everything around it."""

    server: Running
    github: GitHubDouble
    gitlab: GitLabDouble
    repository: Repository
    """What is pushed to; each host serves it as `acme/web`."""
    web: GitHubRepository
    project: Project
    image: str
    registry: Registry
    before: str = field(default="0" * 40)

    def push(self, files: dict[str, str], *, ref: str = "refs/heads/main") -> str:
        """Commit and push; the commit's id."""
        sha = self.repository.commit(dict(files))
        self.repository.push(f"HEAD:{ref}")
        return sha

    def tell_github(self, sha: str, *, ref: str = "refs/heads/main", before: str = "0" * 40) -> str:
        """Send the push's webhook; our id of the delivery."""
        delivery = self.github.push_delivery(
            self.web, sha=sha, secret=SECRET, ref=ref, before=before
        )
        answer = self.server.deliver("github", delivery)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["delivery"])

    def run_of(self, delivery: str) -> int:
        """The one run that a delivery started."""
        decision = self.server.decision(delivery)
        (pipeline,) = decision.pipelines
        assert pipeline.run is not None, decision.reason
        return pipeline.run


@pytest.fixture(scope="module")
def server_parts(
    tmp_path_factory: pytest.TempPathFactory,
    engine_url: str,
    registry: Registry,
) -> Iterator[tuple[Running, GitHubDouble, GitLabDouble, Path]]:
    """One server for the tests of a module; each test has repositories of its own."""
    folder = tmp_path_factory.mktemp("flow")
    github, gitlab = GitHubDouble(), GitLabDouble()
    with (
        serve(github.app) as github_url,
        serve(gitlab.app) as gitlab_url,
        git_server(folder) as served,
    ):
        configured = settings(
            folder / "data",
            engine=engine_url,
            hosts={
                "github": GitHubSettings(
                    kind="github",
                    webhook_secret=SecretStr(SECRET),
                    token=SecretStr(github.token),
                    api_url=github_url,
                    url=served.url,
                ),
                "gitlab": GitLabSettings(
                    kind="gitlab",
                    webhook_secret=SecretStr(SECRET),
                    token=SecretStr(gitlab.token),
                    url=gitlab_url,
                ),
                "git": GitSettings(kind="git", url=str(folder), webhook_secret=SecretStr(KEY)),
            },
            registries={
                registry.address: RegistrySettings(
                    username=str(registry.username), password=SecretStr(str(registry.password))
                )
            },
        )
        with lading(configured) as running:
            yield running, github, gitlab, folder


@pytest.fixture
def flow(
    server_parts: tuple[Running, GitHubDouble, GitLabDouble, Path],
    registry: Registry,
    busybox_image: str,
    request: pytest.FixtureRequest,
) -> Flow:
    """A fresh repository at every host."""
    server, github, gitlab, folder = server_parts
    name = f"web-{abs(hash(request.node.name)) % 10**8}"
    (folder / "acme").mkdir(exist_ok=True)
    repository = Repository(folder / "acme", name)
    return Flow(
        server=server,
        github=github,
        gitlab=gitlab,
        repository=repository,
        web=github.add_repository(f"acme/{name}"),
        project=gitlab.add_project(f"acme/{name}"),
        image=busybox_image,
        registry=registry,
    )


@pytest.fixture
def left_on_engine(flow: Flow, docker_client: docker.DockerClient) -> Callable[[], list[str]]:
    """Names of containers, volumes and networks that runs left behind."""
    server = flow.server.lading.server_id

    def left() -> list[str]:
        filters = {"label": f"lading.server={server}"}
        containers = docker_client.api.containers(all=True, filters=filters)
        volumes = docker_client.api.volumes(filters=filters)["Volumes"] or []
        networks = docker_client.api.networks(filters=filters)
        names = [str(one["Names"]) for one in containers]
        return names + [str(one["Name"]) for one in (*volumes, *networks)]

    return left
