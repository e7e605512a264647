"""Missed deliveries by the hosts' own lists: what was sent and is not here is sent again.

What is asked for comes through the ordinary door, under the id it had; a row says that it was
asked for, before it is. So whatever is killed in between, nothing is asked for without end, and
what comes is known as found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from server.clock import Clock
from server.hosts.port import Host, HostError, Refusal, ToldDelivery
from server.store import Database
from server.store import pauses as pause_verbs
from server.store import recovery as recovery_verbs
from server.store import repositories as repository_verbs
from server.store.rows import PauseKind, RepositoryRow

log = structlog.get_logger(__name__)

EVERY = 300.0  # seconds between two looks at a repository's list
SOON = 60.0  # seconds, where more is to be asked for than the host allows at once
A_MINUTE = 40  # repositories of one host looked at: GitHub allows 5,000 requests an hour
FIRST_WAIT = timedelta(minutes=5)
"""Before a delivery that was asked for and did not come is asked for again; doubled each time."""
MOST_TIMES = 6
FORBIDDEN_WAIT = timedelta(hours=6)
"""Between two tries at a list that the token may not read: only a person can mend that."""
REFUSED_WAIT = timedelta(hours=1)
ON_ITS_WAY = timedelta(minutes=5)
"""Between a delivery's being sent and read here, at most."""
FORGOTTEN = timedelta(days=14)
"""After which no host has a delivery in its list any more."""


class Lists:
    """Looks into the hosts' lists, a repository every five minutes.

    Args:
        url: Lading's own address, by which our webhooks are found.
        monotonic: For turns, so that a clock that jumps delays none.
    """

    def __init__(
        self,
        *,
        hosts: Mapping[str, Host],
        database: Database,
        clock: Clock,
        url: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hosts = hosts
        self._database = database
        self._clock = clock
        self._url = url
        self._monotonic = monotonic
        self._next: dict[int, float] = {}
        self._until: dict[int, str] = {}
        """The newest sending of each repository up to which all is well."""

    async def look(self) -> None:
        """Look at the repositories whose turn it is, each host's by itself; every minute."""
        before = self._clock() - FORGOTTEN
        await self._database.write(recovery_verbs.forget_asked, before=before)
        hosts = [host for host in self._hosts.values() if host.delivery_window is not None]
        await asyncio.gather(*(self._look_at(host) for host in hosts))

    async def _look_at(self, host: Host) -> None:
        for repository in await self._turns(host):
            self._next[repository.id] = self._monotonic() + EVERY
            try:
                if await self._ask_for_missed(host, repository):
                    self._next[repository.id] = self._monotonic() + SOON
            except HostError as error:
                if not await self._leave_alone(host, repository, error):
                    return

    async def _turns(self, host: Host) -> Sequence[RepositoryRow]:
        """The repositories whose turn it is, longest waiting first."""
        paused = await self._database.read(
            pause_verbs.paused,
            host.name,
            [PauseKind.QUIET, PauseKind.REFUSED, PauseKind.HOOKS],
            now=self._clock(),
        )
        if pause_verbs.WHOLE_HOST in paused:
            return ()
        now = self._monotonic()
        rows = await self._database.read(repository_verbs.all_repositories)
        due = [
            row
            for row in rows
            if row.host == host.name and row.id not in paused and self._next.get(row.id, now) <= now
        ]
        return sorted(due, key=lambda row: self._next.get(row.id, 0.0))[:A_MINUTE]

    async def _ask_for_missed(self, host: Host, repository: RepositoryRow) -> bool:
        """Ask for what is not here; True where something is left to be asked for soon."""
        window = host.delivery_window
        if window is None:
            return False
        until = self._until.get(repository.id)
        since = self._clock() - window
        # Its first delivery was sent a moment before that made it known here.
        known = repository.created_at - ON_ITS_WAY
        is_new, since = known > since, max(known, since)
        told = await host.told_deliveries(
            repository.ref, url=f"{self._url}/webhooks/{host.name}", since=since, until=until
        )
        await self._database.write(pause_verbs.resume, host.name, repository.id, [PauseKind.HOOKS])
        held = await self._database.read(
            recovery_verbs.held_deliveries, host.name, [one.delivery_id for one in told]
        )
        if until is None and is_new:
            told = _since_known(told, held)
        left = await self._ask(host, repository, missed(told, held))
        if told and not left:
            self._until[repository.id] = told[0].handle
        return left

    async def _ask(
        self, host: Host, repository: RepositoryRow, wanted: Sequence[ToldDelivery]
    ) -> bool:
        left = False
        asked = 0
        for one in wanted:
            if asked == host.resends:
                return True
            may = await self._database.write(
                recovery_verbs.ask_for,
                host.name,
                one.delivery_id,
                now=self._clock(),
                wait=FIRST_WAIT,
                most=MOST_TIMES,
            )
            if may is None:
                log.warning("missed delivery is given up", delivery=one.delivery_id, host=host.name)
            elif may:
                asked += 1
                log.info(
                    "missed delivery is asked for",
                    host=host.name,
                    repository=repository.full_name,
                    delivery=one.delivery_id,
                    failed=one.failed,
                )
                left |= not await self._redeliver(host, repository, one)
            else:
                left = True
        return left

    async def _redeliver(self, host: Host, repository: RepositoryRow, wanted: ToldDelivery) -> bool:
        """Ask for one; False where that is to be tried again."""
        try:
            await host.redeliver(repository.ref, wanted)
        except HostError as error:
            if error.retry_after is not None or error.refused is not None:
                raise
            log.warning("the host does not send it again", host=host.name, why=str(error))
            return error.permanent
        return True

    async def _leave_alone(self, host: Host, repository: RepositoryRow, error: HostError) -> bool:
        """Note why a list could not be read; False where the host's others must not be tried."""
        kind, whole, wait = _pause(error)
        if kind is None:
            log.info("missed deliveries not looked for", host=host.name, why=str(error))
            return False
        now = self._clock()
        news = await self._database.write(
            pause_verbs.pause,
            host.name,
            kind=kind,
            repository=pause_verbs.WHOLE_HOST if whole else repository.id,
            reason=str(error),
            now=now,
            until=now + wait,
        )
        if news:
            log.warning(
                "missed deliveries cannot be looked for",
                host=host.name,
                repository=repository.full_name,
                why=str(error),
            )
        return not whole


def _pause(error: HostError) -> tuple[PauseKind | None, bool, timedelta]:
    """What a failure means: why to pause, whether the whole host, and for how long."""
    if error.retry_after is not None:
        return PauseKind.QUIET, True, timedelta(seconds=max(error.retry_after, 1.0))
    if error.refused is Refusal.CREDENTIAL:
        return PauseKind.REFUSED, True, REFUSED_WAIT
    if error.refused is Refusal.REPOSITORY or error.permanent:
        return PauseKind.HOOKS, False, FORBIDDEN_WAIT
    return None, True, timedelta()


def missed(told: Sequence[ToldDelivery], held: frozenset[str]) -> list[ToldDelivery]:
    """The newest sending of each delivery that is not here, oldest delivery first.

    Also those that the host believes arrived: a proxy may have answered, or a backup that is older
    was restored.
    """
    newest: dict[str, ToldDelivery] = {}
    for one in told:
        if one.delivery_id not in held:
            newest.setdefault(one.delivery_id, one)
    return list(newest.values())[::-1]


def _since_known(told: Sequence[ToldDelivery], held: frozenset[str]) -> Sequence[ToldDelivery]:
    """Without what was sent before the repository became known here.

    Whoever sets up Lading anew under an old address does not want the pushes of three days again.
    """
    here = [place for place, one in enumerate(told) if one.delivery_id in held]
    return told[: here[-1]] if here else ()
