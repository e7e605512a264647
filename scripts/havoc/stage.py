"""All that the chaos needs, started and put away: engine, git server, double, server process."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.engine.client import connect
from pipelines.engine.leftovers import find_leftovers, remove_leftovers
from scripts.parts.errors import PartError
from tests.doubles.base import serve
from tests.doubles.github import GitHubDouble
from tests.doubles.github import Repository as GitHubRepository
from tests.parts.git_server import Repository, git_server
from tests.parts.process import GitHubPlaces, LadingProcess

SECRET = "a secret of the chaos alone"
SLOTS = 3
REPOSITORIES = 3


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What was started; the server itself is started and ended by the chaos."""

    server: LadingProcess
    github: GitHubDouble
    repositories: list[tuple[GitHubRepository, Repository]]
    engine: str | None

    def left(self) -> list[str]:
        """What runs have on the engine."""
        identity = self.server.data / "server-id"
        if self.engine is None or not identity.exists():
            return []
        with contextlib.closing(connect(self.engine)) as client:
            found = find_leftovers(client, identity.read_text())
        return [*found.containers, *found.volumes, *found.tags]


@contextlib.contextmanager
def stage(folder: Path, *, engine: str | None) -> Iterator[Stage]:
    """Everything but the server's process; what the server leaves is removed at the end.

    Args:
        folder: For all files.
        engine: Its URL; None: nothing shall run.
    """
    hosted = folder / "hosted" / "acme"
    hosted.mkdir(parents=True)
    github = GitHubDouble()
    with serve(github.app) as api_url, git_server(folder / "hosted") as served:
        server = LadingProcess(
            folder,
            engine=engine or f"unix://{folder / 'no-engine.sock'}",
            git=folder,
            github=GitHubPlaces(api_url=api_url, url=served.url, token=github.token, secret=SECRET),
            port=_free_port(),
            slots=SLOTS,
        )
        repositories = [
            (github.add_repository(f"acme/web-{number}"), Repository(hosted, f"web-{number}"))
            for number in range(REPOSITORIES)
        ]
        try:
            yield Stage(server=server, github=github, repositories=repositories, engine=engine)
        finally:
            server.kill()
            _clear(server, engine)


def _clear(server: LadingProcess, engine: str | None) -> None:
    identity = server.data / "server-id"
    if engine is not None and identity.exists():
        with contextlib.closing(connect(engine)) as client:
            remove_leftovers(client, identity.read_text(), set())


def _free_port() -> int:
    """A port below those that systems hand out: nobody gets it while the server is killed."""
    for port in random.sample(range(20_000, 30_000), 50):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise PartError("no port of 127.0.0.1 between 20000 and 30000 is free")
