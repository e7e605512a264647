"""Telling the hosts: the newest state of each status, until the host has taken it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from datetime import timedelta

import structlog
from sqlalchemy.engine import Connection

from pipelines.crashing import reach
from pipelines.values import Value
from server.clock import Clock
from server.hosts.port import CommitStatus, Host, HostError, Refusal, StatusState
from server.store import Database
from server.store import pauses as pause_verbs
from server.store import repositories as repository_verbs
from server.store import statuses as status_verbs
from server.store.rows import PauseKind, StatusRow

log = structlog.get_logger(__name__)

AT_ONCE = 50
POLL = 30.0  # seconds; the wake-up is only a hint
FIRST_WAIT = 2.0  # seconds before the second try; doubled each time
LONGEST_WAIT = 1800.0  # seconds
SHORTEST_QUIET = 1.0  # seconds
REFUSED_WAIT = timedelta(hours=1)
"""Between two tries where the token was refused: only a person can mend that."""


def backoff(tries: int, *, spread: float) -> timedelta:
    """How long to wait after so many failed tries: 2 s doubled up to half an hour, spread.

    Args:
        tries: From 0.
        spread: 0 to 1; shifts the wait by up to a quarter either way.
    """
    wait = min(FIRST_WAIT * 2.0 ** min(tries, 20), LONGEST_WAIT)
    return timedelta(seconds=wait * (0.75 + spread / 2))


class Pause(Value):
    """Whom to leave alone after a failure, and for how long."""

    kind: PauseKind
    repository: int
    wait: timedelta


def pause_of(error: HostError, repository: int) -> Pause | None:
    """What a failure means for further calls; None: nothing, each is tried by itself.

    Args:
        error: What the host said.
        repository: Whose status it was.
    """
    if error.retry_after is not None:
        # A host that asks for no time at all is given some: it has had enough.
        wait = timedelta(seconds=max(error.retry_after, SHORTEST_QUIET))
        return Pause(kind=PauseKind.QUIET, repository=pause_verbs.WHOLE_HOST, wait=wait)
    if error.refused is None:
        return None
    whole = error.refused is Refusal.CREDENTIAL
    return Pause(
        kind=PauseKind.REFUSED,
        repository=pause_verbs.WHOLE_HOST if whole else repository,
        wait=REFUSED_WAIT,
    )


class Reporting:
    """One task for each host, so that one that is down holds up nobody else."""

    def __init__(self, *, hosts: Mapping[str, Host], database: Database, clock: Clock) -> None:
        self._hosts = hosts
        self._database = database
        self._clock = clock
        self._due = {name: asyncio.Event() for name in hosts}

    def notify(self) -> None:
        """A status waits to be told."""
        for event in self._due.values():
            event.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        async with asyncio.TaskGroup() as group:
            for host in self._hosts.values():
                group.create_task(self._serve(host))

    async def _serve(self, host: Host) -> None:
        event = self._due[host.name]
        while True:
            event.clear()
            due = await self._database.read(
                status_verbs.due_statuses, host.name, now=self._clock(), limit=AT_ONCE
            )
            for status in due:
                if not await self._tell(host, status):
                    break
            if not due:
                await self._sleep(host, event)

    async def _sleep(self, host: Host, event: asyncio.Event) -> None:
        next_due = await self._database.read(status_verbs.next_due, host.name)
        wait = POLL
        if next_due is not None:
            wait = min(wait, max((next_due - self._clock()).total_seconds(), 0.05))
        try:
            async with asyncio.timeout(wait):
                await event.wait()
        except TimeoutError:
            return

    async def _tell(self, host: Host, status: StatusRow) -> bool:
        """Tell one status; False where the host, or its repository, is left alone for a while."""
        repository = await self._database.read(repository_verbs.repository, status.repository)
        if repository is None:  # pragma: no cover - a foreign key stands in the way
            raise AssertionError
        if status.state is StatusState.RUNNING and not host.knows_running:
            await self._database.write_patiently(
                status_verbs.status_sent, status.id, version=status.version
            )
            return True
        try:
            await host.post_status(
                CommitStatus(
                    repository=repository.ref,
                    sha=status.sha,
                    context=status.context,
                    state=status.state,
                    description=status.description,
                    target_url=status.target_url,
                    ref=status.ref,
                )
            )
        except HostError as error:
            return await self._failed(host, status, error)
        except Exception as error:
            log.exception("status could not be told", host=host.name, run=status.run)
            unforeseen = HostError(f"{type(error).__name__}: {error}")
            return await self._failed(host, status, unforeseen)
        reach("reporting.taken")
        await self._taken(host, status)
        return True

    async def _taken(self, host: Host, status: StatusRow) -> None:
        def write(conn: Connection) -> bool:
            status_verbs.status_sent(conn, status.id, version=status.version)
            return pause_verbs.resume(conn, host.name, status.repository, [PauseKind.REFUSED])

        # Were it forgotten, the host would be told again and again while the disk is full.
        if await self._database.write_patiently(write):
            log.info("the host takes statuses again", host=host.name, run=status.run)

    async def _failed(self, host: Host, status: StatusRow, error: HostError) -> bool:
        """Write a failure down; False where others must not be tried right now."""
        now = self._clock()
        wait = backoff(status.tries, spread=random.random())  # noqa: S311 - spreads load only
        pause = pause_of(error, status.repository)
        wait = pause.wait if pause is not None else wait

        def write(conn: Connection) -> None:
            status_verbs.status_failed(
                conn,
                status.id,
                version=status.version,
                error=str(error),
                now=now,
                # A pause holds it up, and ends for all its statuses together.
                due_at=None if error.permanent else now if pause else now + wait,
            )
            if pause is not None:
                pause_verbs.pause(
                    conn,
                    host.name,
                    kind=pause.kind,
                    repository=pause.repository,
                    reason=str(error),
                    now=now,
                    until=now + pause.wait,
                )

        await self._database.write_patiently(write)
        log.warning(
            "status not taken",
            host=host.name,
            run=status.run,
            state=str(status.state),
            why=str(error),
            permanent=error.permanent,
            tries=status.tries + 1,
            next_try_in=None if error.permanent else wait.total_seconds(),
        )
        return pause is None
