"""A server as a process, with a GitHub that hears its statuses and a git server it fetches from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import docker
import httpx2
from sqlalchemy.engine import Connection

from server.store import Database
from server.store.database import sqlite_url
from tests.doubles.base import serve, wait_until
from tests.doubles.github import GitHubDouble
from tests.parts.git_server import Repository, git_server
from tests.parts.process import LadingProcess

SECRET = "a secret between the host and us"
CONTEXT = "lading/push/default"

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(kw_only=True)
class World:
    """The server, its host, and what is pushed to."""

    server: LadingProcess
    github: GitHubDouble
    repository: Repository
    engine: docker.APIClient

    @property
    def database(self) -> Path:
        return self.server.folder / "data" / "lading.db"

    def push(self, files: dict[str, str], *, expect: int = 202) -> str:
        """Commit, push and tell the server; the commit's id."""
        sha = self.repository.pushed(dict(files))
        web = self.github.repositories["acme/web"]
        delivery = self.github.push_delivery(web, sha=sha, secret=SECRET)
        answer = httpx2.post(
            f"{self.server.url}/webhooks/github",
            content=delivery.body,
            headers=delivery.headers,
            timeout=30,
        )
        assert answer.status_code == expect, answer.text
        return sha

    def wait_for_output(self, run: int, step: str, text: str) -> None:
        """Wait until a step has written something."""

        def written() -> bool:
            return text in self.log(run, step)

        wait_until(written, f"{step} has written {text}", 30)

    def log(self, run: int, step: str) -> str:
        return self.server.get(f"/runs/{run}/steps/{step}/log").text

    def write(
        self, verb: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Change the rows while no server runs."""
        database = Database(sqlite_url(self.database))
        try:
            return database.run(verb, *args, **kwargs)
        finally:
            database.close()

    def containers(self, *, running: bool = False) -> list[str]:
        """Ids of the server's containers."""
        filters: dict[str, str] = {"label": f"lading.server={self.server_id}"}
        if running:
            filters["status"] = "running"
        return [str(one["Id"]) for one in self.engine.containers(all=True, filters=filters)]

    def left(self) -> list[str]:
        """Containers and volumes of the server."""
        filters = {"label": f"lading.server={self.server_id}"}
        volumes = self.engine.volumes(filters=filters)["Volumes"] or []
        return self.containers() + [str(one["Name"]) for one in volumes]

    @property
    def server_id(self) -> str:
        return (self.server.folder / "data" / "server-id").read_text()

    def remove_everything(self) -> None:
        """Steps outlive their server; nothing of them shall outlive the test."""
        for container in self.containers():
            with contextlib.suppress(docker.errors.APIError):  # it is being removed already
                self.engine.remove_container(container, force=True, v=True)
        wait_until(lambda: not self.containers(), "no container is left", 20)
        for volume in self.left():
            self.engine.remove_volume(volume, force=True)


@contextlib.contextmanager
def world(folder: Path, engine_url: str) -> Iterator[World]:
    """Everything but a running server; what it leaves on the engine is removed at the end."""
    (folder / "git" / "acme").mkdir(parents=True)
    github = GitHubDouble()
    github.add_repository("acme/web")
    with (
        serve(github.app) as github_url,
        git_server(folder / "git") as git,
        contextlib.closing(docker.APIClient(engine_url, version="auto")) as engine,
    ):
        server = LadingProcess(folder, engine=engine_url, git=folder / "git")
        with server.config.open("a") as config:
            config.write(
                f'[hosts.github]\nkind = "github"\nwebhook_secret = "{SECRET}"\n'
                f'token = "{github.token}"\napi_url = "{github_url}"\nurl = "{git.url}"\n'
            )
        made = World(
            server=server,
            github=github,
            repository=Repository(folder / "git" / "acme"),
            engine=engine,
        )
        try:
            yield made
        finally:
            server.kill()
            with contextlib.suppress(FileNotFoundError):
                made.remove_everything()


def commands(image: str, *lines: str) -> dict[str, str]:
    """A definition with one step that runs these lines as a script."""
    definition = f"test:\n  unit:\n    image: {image}\n    commands: [sh ./unit.sh]\n"
    return {".lading.yml": definition, "unit.sh": "\n".join(lines) + "\n"}
