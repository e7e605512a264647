"""`lading verify`: an image version made once more from its record."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.engine.client import Engine
from pipelines.engine.interruption import Interruption, Patience, Watchdog
from pipelines.images.context import ContextError
from pipelines.images.exact.shelf import Shelf
from pipelines.images.exact.verifying import Verdict, verify
from pipelines.images.names import split
from pipelines.images.session import ImageSession
from pipelines.locks import LEVELS, Exact
from pipelines.problems import LadingError
from pipelines.registries.logins import Login
from pipelines.source import GitSource
from server import clock
from server.cli.errors import UsageError
from server.cli.terminal import inert
from server.cli.tokens import opened
from server.config import Settings
from server.hosts.factory import make_hosts
from server.mirrors import MirrorKey, Mirrors
from server.store import Database, images, repositories, runs
from server.store.rows import ImageVersionRow, RepositoryRow, RunRow
from server.store.soundness import DatabaseDamagedError

SAME, DIFFERS, CANNOT = 0, 1, 3
SHOWN = 200
"""Differences that are printed; a moved package archive may change thousands of files."""
_THREADS = 8

Say = Callable[[str], None]


class _Told:
    """A step's output on standard error."""

    full = False

    def write(self, stream: int, data: bytes) -> None:  # noqa: ARG002 - the port's
        sys.stderr.write(inert(data.decode(errors="replace").rstrip("\n")) + "\n")


def run(settings: Settings, image: str, say: Say) -> int:
    """Build a version again and say whether it is the same.

    Args:
        settings: Of the server whose record it is.
        image: `repository@sha256:…` or `repository:tag`, as it was pushed.
        say: Is told the verdict, line by line.

    Returns:
        0 where the digest is the same, 1 where it differs, 3 where it cannot be told.

    Raises:
        UsageError: There is no such version, or nobody wrote down what it was made from.
    """
    with opened(settings) as database:
        version, record = _recorded(database, image)
        try:
            verdict = asyncio.run(_verify(settings, database, version, record))
        except (UsageError, DatabaseDamagedError):
            raise
        except (ContextError, LadingError) as error:
            say(f"It cannot be told whether {image} can be made again: {error}")
            return CANNOT
        database.run(images.version_verified, version.id, level=verdict.level, at=clock.now())
    for line in _lines(version, verdict):
        say(line)
    return SAME if verdict.same else DIFFERS


def _recorded(database: Database, image: str) -> tuple[ImageVersionRow, Exact]:
    repository, name = split(image)
    by_digest = name.startswith("sha256:")
    version = database.run(
        images.image_version_named,
        repository,
        digest=name if by_digest else None,
        tag=None if by_digest else name,
    )
    if version is None:
        raise UsageError(
            f"no run here has pushed {image}: name it as the run's page does, "
            "`registry/path@sha256:…` or `registry/path:tag`"
        )
    if version.lock is None:
        raise UsageError(
            f"nobody wrote down what {image} was made from: it was pushed by an older Lading, or "
            "its build has `reproducible: false`"
        )
    return version, Exact(digest=version.digest, size=version.size, image="", lock=version.lock)


async def _verify(
    settings: Settings, database: Database, version: ImageVersionRow, record: Exact
) -> Verdict:
    run, repository = await _whence(database, version)
    source = await _source(settings, run, repository)
    logins = {
        host: Login(username=login.username, password=login.password.get_secret_value())
        for host, login in settings.registries.items()
    }
    with (
        ThreadPoolExecutor(_THREADS, thread_name_prefix="engine") as threads,
        contextlib.closing(Engine(settings.engine.url, threads)) as engine,
        TemporaryDirectory(prefix="verify-", dir=settings.server.data) as folder,
    ):
        await engine.connected()
        session = ImageSession(
            engine=engine,
            logins=logins,
            output=_Told(),
            interruption=Interruption(),
            watchdog=Watchdog(engine, Patience()),
        )
        return await verify(
            session,
            Shelf(Path(folder)),
            record,
            repository=version.image,
            source=source,
            labels={} if run.plan is None else run.plan.labels,
            memory=settings.worker.memory,
        )


async def _whence(database: Database, version: ImageVersionRow) -> tuple[RunRow, RepositoryRow]:
    run = await database.read(runs.run, version.run)
    repository = await database.read(repositories.repository, version.repository)
    if run is None or repository is None:
        raise UsageError(f"the run that pushed {version.image}@{version.digest} is there no more")
    return run, repository


async def _source(settings: Settings, run: RunRow, repository: RepositoryRow) -> GitSource:
    host = make_hosts(settings).get(run.host)
    if host is None:
        raise UsageError(f"host {run.host} of that run is no longer configured")
    git_dir = await Mirrors(settings.server.data / "mirrors").fetch(
        MirrorKey(host=host.name, external_id=repository.external_id),
        host.remote(repository.ref),
        sha=run.sha,
        ref=run.event.ref,
    )
    return GitSource(git_dir, run.sha)


def _lines(version: ImageVersionRow, verdict: Verdict) -> list[str]:
    name = f"{version.image}@{version.digest}"
    level = f"{verdict.level}: {LEVELS[verdict.level]}"
    if verdict.same:
        return [f"{name} is what commit {version.sha[:12]} builds, bit for bit.", level]
    found = [
        f"{name} came out otherwise: {verdict.digest}",
        *(f"  {sentence}" for sentence in verdict.inputs),
        *(f"  {inert(each.path)}: {inert(each.what)}" for each in verdict.differences[:SHOWN]),
    ]
    more = len(verdict.differences) - SHOWN
    if more > 0:
        found.append(f"  and {more} more")
    if not verdict.differences:
        found.append("  every file is the same; only the bytes around them differ")
    return [*found, level]
