"""A server whose hosts are doubles and real git, without an engine: what counts is what is decided.

Its clock's jobs are left out; tests look themselves, when they want to.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.engine import Connection

from server import clock
from server.config import GitHubSettings, GitLabSettings, GitSettings, HostSettings
from server.hosts.port import RepositoryRef
from server.recovery import Heads, Lists
from server.store import deliveries, pauses, repositories, runs, tables
from server.store.rows import DecisionRow, DeliveryRow, PauseKind, PauseRow, RepositoryRow, RunRow
from tests.builders import Clock
from tests.doubles.base import Hook, serve
from tests.doubles.github import GitHubDouble
from tests.doubles.github import Repository as GitHubRepository
from tests.doubles.gitlab import GitLabDouble, Project
from tests.parts.git_server import Repository, git_server
from tests.parts.lading import Running, lading, settings

SECRET = "a secret between the host and us"
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
ZERO = "0" * 40
MAIN = "refs/heads/main"
DEFINITION = "test:\n  unit:\n    image: busybox\n    commands: ['true']\n"

T = TypeVar("T")


@dataclass(kw_only=True)
class Place:
    """A server, and one fresh repository that each of its hosts has."""

    server: Running
    github: GitHubDouble
    gitlab: GitLabDouble
    repository: Repository
    web: GitHubRepository
    project: Project
    hook: Hook
    monotonic: float = 0.0

    def __post_init__(self) -> None:
        lading = self.server.lading
        self.clock = Clock(clock.now())
        self.lists = self.new_lists()
        self.in_the_grace: Callable[[], object] = lambda: None
        """Called in the minute that a webhook has to come after all."""
        self.heads = Heads(
            hosts=lading.hosts,
            database=lading.database,
            mirrors=lading.mirrors,
            clock=self.clock,
            wake=lading.intake.notify,
            new_id=lading.delivery_ids.new,
            pause=self._pause,
        )

    async def _pause(self, _seconds: float) -> None:
        await asyncio.to_thread(self.in_the_grace)

    def new_lists(self) -> Lists:
        """As after a restart."""
        lading = self.server.lading
        return Lists(
            hosts=lading.hosts,
            database=lading.database,
            clock=self.clock,
            url=self.server.url,
            monotonic=lambda: self.monotonic,
        )

    def do(self, work: Coroutine[object, object, T]) -> T:
        """Something on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.server.loop).result(60)

    def look_at_lists(self) -> None:
        """As the clock does, six minutes later."""
        self.monotonic += 360
        self.clock.forward(seconds=360)
        self.do(self.lists.look())

    def look_at_heads(self) -> None:
        """As the clock does."""
        self.clock.at = max(self.clock.at, clock.now())
        self.do(self.heads.look())

    def push(self, *refs: str, message: str = "a change", file: str = "a") -> str:
        """Commit and push, telling nobody."""
        sha = self.repository.commit({".lading.yml": DEFINITION, file: message}, message)
        self.repository.push(*(f"HEAD:{ref}" for ref in refs or (MAIN,)))
        return sha

    def tell(self, sha: str, *, ref: str = MAIN, before: str = ZERO) -> DecisionRow:
        """Send a push's webhook from GitHub; what is decided."""
        delivery = self.github.push_delivery(
            self.web, sha=sha, secret=SECRET, ref=ref, before=before
        )
        answer = self.server.deliver("github", delivery)
        assert answer.status_code == 202, answer.text
        return self.server.decision(answer.json()["delivery"])

    def known(self, host: str = "github") -> RepositoryRow:
        """The repository's row."""
        rows = self._read(repositories.repositories_named, self.web.full_name)
        return next(row for row in rows if row.host == host)

    def of(self, host: str = "github") -> list[DeliveryRow]:
        """Every delivery of this repository, oldest first."""
        rows = self._read(deliveries.deliveries_page, limit=1000)[::-1]
        mine = []
        for row in rows:
            whole = self.server.delivery(row.id)
            if row.host == host and self.web.full_name.encode() in whole.body:
                mine.append(whole)
        return mine

    def remember(self, host: str, ref: RepositoryRef) -> RepositoryRow:
        """Make a repository known."""
        return self.server.lading.database.run(
            repositories.remember_repository, host=host, ref=ref, at=self.clock()
        )

    def runs(self) -> list[RunRow]:
        """Every run of this repository, oldest first."""
        name = self.web.full_name
        return self._read(runs.runs_page, repository=name, limit=100)[::-1]

    def decided(self) -> list[DecisionRow]:
        """What was decided about each delivery, once all are."""
        return [self.server.decision(row.id) for row in self.of()]

    def pauses(self) -> list[PauseRow]:
        """What is left alone of this repository and the hosts as a whole, and why."""
        rows = self._read(pauses.all_pauses, now=self.clock())
        return [row for row in rows if row.full_name in (None, self.web.full_name)]

    def _read(self, verb: Callable[..., T], *args: object, **kwargs: object) -> T:
        return asyncio.run(self.server.lading.database.read(verb, *args, **kwargs))


@pytest.fixture(scope="module")
def parts(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Running, GitHubDouble, GitLabDouble, Path]]:
    """One server for the tests of a module; each test has repositories of its own."""
    folder = tmp_path_factory.mktemp("recovery")
    github, gitlab = GitHubDouble(), GitLabDouble()
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("server.schedules.ticking", lambda _jobs: contextlib.nullcontext())
        github_url = stack.enter_context(serve(github.app))
        gitlab_url = stack.enter_context(serve(gitlab.app))
        served = stack.enter_context(git_server(folder))
        hosts: dict[str, HostSettings] = {
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
        }
        none = f"unix://{folder}/no-engine.sock"
        running = stack.enter_context(lading(settings(folder / "data", engine=none, hosts=hosts)))
        yield running, github, gitlab, folder


@pytest.fixture
def place(
    parts: tuple[Running, GitHubDouble, GitLabDouble, Path], request: pytest.FixtureRequest
) -> Place:
    """A fresh repository at every host; the doubles are as they are when nothing is wrong."""
    server, github, gitlab, folder = parts
    name = f"web-{abs(hash(request.node.name)) % 10**8}"
    (folder / "acme").mkdir(exist_ok=True)
    for double in (github, gitlab):
        double.requests.clear()
        double.may_list_hooks = True
    gitlab.resends_left = 5
    server.lading.database.run(_leave_earlier_ones_alone)
    return Place(
        server=server,
        github=github,
        gitlab=gitlab,
        repository=Repository(folder / "acme", name),
        web=github.add_repository(f"acme/{name}"),
        project=gitlab.add_project(f"acme/{name}"),
        hook=github.add_hook(f"acme/{name}", f"{server.url}/webhooks/github"),
    )


def _leave_earlier_ones_alone(conn: Connection) -> None:
    """Earlier tests' repositories are none of the next one's business."""
    conn.execute(sa.delete(tables.pauses))
    now = clock.now()
    for row in repositories.all_repositories(conn):
        for kind in (PauseKind.FETCH, PauseKind.HOOKS):
            pauses.pause(
                conn,
                row.host,
                kind=kind,
                repository=row.id,
                reason="an earlier test's",
                now=now,
                until=now + timedelta(days=365),
            )
