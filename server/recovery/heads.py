"""Missed pushes by comparing heads: where each branch and tag is, against what was decided.

Some pushes send no webhook at all: more than three branches or tags at once, a plain repository
without a hook. A head that has moved counts as missed when a minute later still no decision covers
its commit. It is then handed over as a delivery that we write ourselves, in the same commit that
remembers the head: what follows is intake's usual way, and whichever of it and a late webhook is
read first, the other one is its repeat.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from pipelines.problems import LadingError
from pipelines.values import Value
from server.clock import Clock
from server.hosts.port import Host, HostError, Irrelevant
from server.mirrors import Head, MirrorError, MirrorKey, Mirrors
from server.store import Database
from server.store import deliveries as delivery_verbs
from server.store import pauses as pause_verbs
from server.store import recovery as recovery_verbs
from server.store import repositories as repository_verbs
from server.store.rows import Found, NewDelivery, PauseKind, RepositoryRow

log = structlog.get_logger(__name__)

GRACE = 60.0  # seconds in which a webhook may still be on its way
AT_ONCE = 4  # repositories of one host looked at side by side
MOST = 50  # heads of one repository handed over in one look; the rest waits for the next
TROUBLE = 4  # failures after which a host's other repositories are left for the next look
REFUSED_WAIT = timedelta(hours=1)


class Moved(Value):
    """Heads of one repository that nothing was decided about."""

    repository: RepositoryRow
    looked_at: datetime
    known: dict[str, str]
    """What the repository's heads were before."""
    heads: dict[str, Head]


class Heads:
    """Compares the heads of every known repository with what was decided.

    Args:
        wake: Called when a delivery waits for intake.
        new_id: Makes the id of a delivery.
        grace: Seconds before a head counts as missed.
        pause: Waits for so many seconds.
    """

    def __init__(
        self,
        *,
        hosts: Mapping[str, Host],
        database: Database,
        mirrors: Mirrors,
        clock: Clock,
        wake: Callable[[], None],
        new_id: Callable[[], str],
        grace: float = GRACE,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hosts = hosts
        self._database = database
        self._mirrors = mirrors
        self._clock = clock
        self._wake = wake
        self._new_id = new_id
        self._grace = grace
        self._pause = pause

    async def meet(self) -> None:
        """Remember the heads of repositories that are new, so that no push after that is missed."""
        await self._look_at_all(lambda row: row.heads_at is None)

    async def look(self) -> None:
        """Look at every repository; hand over what was missed."""
        await self._look_at_all(lambda _row: True)

    async def _look_at_all(self, wanted: Callable[[RepositoryRow], bool]) -> None:
        rows = await self._database.read(repository_verbs.all_repositories)
        of_hosts = {
            name: [row for row in rows if row.host == name and wanted(row)] for name in self._hosts
        }
        await asyncio.gather(
            *(self._look_at(self._hosts[name], of) for name, of in of_hosts.items() if of)
        )

    async def _look_at(self, host: Host, rows: Sequence[RepositoryRow]) -> None:
        paused = await self._database.read(
            pause_verbs.paused, host.name, [PauseKind.QUIET, PauseKind.FETCH], now=self._clock()
        )
        if pause_verbs.WHOLE_HOST in paused:
            return
        waiting = [row for row in rows if row.id not in paused][::-1]
        moved: list[Moved] = []
        troubles: list[str] = []

        async def compare() -> None:
            while waiting and len(troubles) < TROUBLE:
                row = waiting.pop()
                try:
                    moved.extend(await self._compare(host, row))
                except LadingError as error:
                    troubles.extend(await self._failed(host, row, error))

        await asyncio.gather(*(compare() for _ in range(AT_ONCE)))
        if waiting:
            log.warning("heads not compared: the host is in trouble", host=host.name, why=troubles)
        if moved:
            await self._pause(self._grace)
        for one in moved:
            try:
                await self._hand_over(host, one)
            except LadingError as error:
                await self._failed(host, one.repository, error)

    async def _failed(self, host: Host, row: RepositoryRow, error: LadingError) -> list[str]:
        """Note why a repository could not be looked at; the trouble, where it is the host's."""
        if isinstance(error, MirrorError | HostError) and not error.permanent:
            log.info("heads not compared", host=host.name, repository=row.full_name, why=str(error))
            return [str(error)]
        now = self._clock()
        if await self._database.write(
            pause_verbs.pause,
            host.name,
            kind=PauseKind.FETCH,
            repository=row.id,
            reason=str(error),
            now=now,
            until=now + REFUSED_WAIT,
        ):
            log.warning(
                "heads cannot be compared",
                host=host.name,
                repository=row.full_name,
                why=str(error),
            )
        return []

    async def _compare(self, host: Host, row: RepositoryRow) -> list[Moved]:
        """Remember what is in order; what is not, is given back. The first look only remembers."""
        looked_at = self._clock()
        heads = await self._heads(host, row)
        await self._database.write(pause_verbs.resume, host.name, row.id, [PauseKind.FETCH])
        if row.heads_at is None:
            await self._remember(row, {ref: head.object for ref, head in heads.items()})
            return []
        known = await self._database.read(recovery_verbs.known_heads, row.id)
        new = {ref: head for ref, head in heads.items() if known.get(ref) != head.object}
        open_ = await self._undecided(host, row, new)
        settled = {ref: head.object for ref, head in new.items() if ref not in open_}
        await self._remember(row, settled, gone=[ref for ref in known if ref not in heads])
        if not open_:
            return []
        return [Moved(repository=row, looked_at=looked_at, known=known, heads=open_)]

    async def _heads(self, host: Host, row: RepositoryRow, *refs: str) -> dict[str, Head]:
        key = MirrorKey(host=host.name, external_id=row.external_id)
        return await self._mirrors.heads(key, host.remote(row.ref), *refs)

    async def _undecided(
        self, host: Host, row: RepositoryRow, heads: Mapping[str, Head]
    ) -> dict[str, Head]:
        """The heads that would be built if a webhook told of them, and that none was decided on."""
        found = {}
        for ref, head in heads.items():
            told = host.pushed(row.ref, ref=ref, before=None, sha=head.commit)
            decided = await self._database.read(
                delivery_verbs.push_decided, row.id, ref, head.commit
            )
            if decided is None and not isinstance(told, Irrelevant):
                found[ref] = head
        return found

    async def _hand_over(self, host: Host, moved: Moved) -> None:
        """Hand over what is still as it was, and still not decided."""
        row = moved.repository
        if await self._database.read(recovery_verbs.any_waits, host.name, since=moved.looked_at):
            return  # it may be among what waits: the next look will know
        first = dict(sorted(moved.heads.items())[:MOST])
        now = await self._heads(host, row, *first)
        same = {ref: head for ref, head in first.items() if now.get(ref) == head}
        missed = await self._undecided(host, row, same)
        found = [self._delivery(host, moved, ref, head) for ref, head in missed.items()]
        await self._remember(row, {ref: head.object for ref, head in same.items()}, found=found)
        if found:
            log.warning(
                "pushes found that no webhook told of",
                host=host.name,
                repository=row.full_name,
                refs=list(missed),
            )
            self._wake()

    async def _remember(
        self,
        row: RepositoryRow,
        now_at: Mapping[str, str],
        *,
        gone: Sequence[str] = (),
        found: Sequence[NewDelivery] = (),
    ) -> None:
        await self._database.write(
            recovery_verbs.remember_heads,
            row.id,
            now_at=now_at,
            gone=gone,
            found=found,
            at=self._clock(),
        )

    def _delivery(self, host: Host, moved: Moved, ref: str, head: Head) -> NewDelivery:
        before = moved.known.get(ref)
        row = moved.repository
        happening = "\0".join((row.external_id, ref, before or "", head.object))
        body = {
            "repository": row.ref.model_dump(mode="json"),
            "ref": ref,
            "before": before,
            "object": head.object,
            "commit": head.commit,
        }
        return NewDelivery(
            id=self._new_id(),
            host=host.name,
            repository=row.external_id,
            delivery_id=f"heads:{hashlib.sha256(happening.encode()).hexdigest()[:40]}",
            event_type="heads",
            headers={},
            body=json.dumps(body).encode(),
            received_at=self._clock(),
            found=Found.HEADS,
        )
