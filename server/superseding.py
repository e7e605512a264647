"""Which of two runs for one branch, tag or pull request is the newer: git says, not the mail.

Deliveries come late and out of order. A push that comes late must not cancel what came after it,
so the order is read from what git knows: where the branch stood before each push, whose history
holds whose commit, and, where neither tells, what the host has there now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from enum import Enum, auto
from pathlib import Path

import structlog
from sqlalchemy.engine import Connection

from pipelines.events import ZERO_SHA, Event, EventKind
from pipelines.values import Value
from server.hosts.port import Host, StatusState
from server.mirrors import MirrorError, MirrorKey, Mirrors
from server.store import Database, groups
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store.rows import AttemptRow, NewRun, RepositoryRow, Rival, RunRow

log = structlog.get_logger(__name__)

COMPARED = 10
"""Unfinished runs compared one by one. Each newer one ends the older ones, so there are few."""


class Standing(Value):
    """Where a new run stands among the runs of its group for its branch, tag or pull request."""

    late_for: int | None = None
    """The run of a newer push: this one has come too late."""
    newer: frozenset[int] = frozenset()
    """Unfinished runs that this one must let live."""


class _Than(Enum):
    NEWER = auto()
    OLDER = auto()


class Superseding:
    """Finds out who is newer, and writes down what follows.

    Args:
        interrupt: Called with (run, attempt) when a running attempt shall stop.
        run_url: A run's page, by its number.
    """

    def __init__(
        self,
        *,
        database: Database,
        mirrors: Mirrors,
        interrupt: Callable[[int, int], None],
        run_url: Callable[[int], str],
    ) -> None:
        self._database = database
        self._mirrors = mirrors
        self._interrupt = interrupt
        self._run_url = run_url

    async def standings(
        self, host: Host, repository: RepositoryRow, event: Event, new: Collection[NewRun]
    ) -> dict[str, Standing]:
        """The standing of each new run that supersedes, by pipeline."""
        return {
            one.pipeline: await self._standing(host, repository, event, one)
            for one in new
            if one.plan and one.plan.group and one.plan.group.cancel_in_progress
            if event.moved_ref is not None
        }

    async def _standing(
        self, host: Host, repository: RepositoryRow, event: Event, new: NewRun
    ) -> Standing:
        key, ref = run_verbs.group_key(repository.id, new.plan), str(event.moved_ref)
        if key is None:  # pragma: no cover - asked only for runs with a group
            raise AssertionError
        newest = await self._database.read(groups.newest_rival, group_key=key, group_ref=ref)
        if newest is None:
            return Standing()
        order = _Order(self._mirrors, host, repository, event)
        # What a person asks for now is never late.
        by_hand = event.kind is EventKind.MANUAL
        if await order.against(newest) is _Than.OLDER and not by_hand:
            return Standing(late_for=newest.run)
        rivals = await self._database.read(groups.unfinished_rivals, group_key=key, group_ref=ref)
        newer = {
            rival.run for rival in rivals[:COMPARED] if await order.against(rival) is _Than.OLDER
        }
        return Standing(newer=frozenset(newer))

    def write(self, conn: Connection, run: RunRow, standing: Standing, at: datetime) -> Stopped:
        """Part of the transaction that writes a new run down: stop what it supersedes, or itself.

        Returns:
            The attempts that run, and have to be told.
        """
        if standing.late_for is not None:
            self._stop(conn, run.id, by=standing.late_for, at=at)
            return []
        key, ref = run.group_key, run.group_ref
        if key is None or ref is None:  # pragma: no cover - asked only for runs with both
            raise AssertionError
        older = {one.run for one in groups.unfinished_rivals(conn, group_key=key, group_ref=ref)}
        stopped = [
            self._stop(conn, one, by=run.id, at=at)
            for one in sorted(older - standing.newer - {run.id})
        ]
        return [attempt for attempt in stopped if attempt and not attempt.state.ended]

    def _stop(self, conn: Connection, number: int, *, by: int, at: datetime) -> AttemptRow | None:
        attempt = run_verbs.supersede(conn, number, by=by, at=at)
        run = run_verbs.run(conn, number)
        if attempt is not None and attempt.state.ended and run is not None:
            status_verbs.want_status(
                conn,
                run=run,
                attempt=attempt.number,
                state=StatusState.CANCELLED,
                description=attempt.sentence,
                target_url=self._run_url(number),
                at=at,
            )
        return attempt

    def interrupt(self, stopped: Stopped) -> None:
        """Wake the worker for what the transaction has stopped."""
        for attempt in stopped:
            log.info("superseded", run=attempt.run, by=attempt.superseded_by)
            self._interrupt(attempt.run, attempt.number)


Stopped = list[AttemptRow]


class _Order:
    """One event held against runs that are there already."""

    def __init__(
        self, mirrors: Mirrors, host: Host, repository: RepositoryRow, event: Event
    ) -> None:
        self._mirrors = mirrors
        self._host = host
        self._repository = repository
        self._event = event
        self._key = MirrorKey(host=repository.host, external_id=repository.external_id)
        self._git_dir: Path = mirrors.path(self._key)

    async def against(self, rival: Rival) -> _Than:
        """Whether the event is newer or older than a run of the same ref."""
        mine, its = self._event, rival.event
        if its.sha in (mine.sha, _before(mine)):
            return _Than.NEWER
        # The branch held the other's commit when this push moved it: also where it moved it back.
        if await self._holds(_before(mine) or mine.sha, its.sha):
            return _Than.NEWER
        if _before(its) == mine.sha or await self._led_to(its.sha):
            return _Than.OLDER
        return _Than.OLDER if await self._head() == its.sha else _Than.NEWER

    async def _led_to(self, sha: str) -> bool:
        """Whether this push lies on the way to a commit. A tag has no way: it is set anew."""
        if self._event.kind is EventKind.TAG or not await self._holds(sha, self._event.sha):
            return False
        before = _before(self._event)
        return before is None or await self._holds(sha, before)

    async def _holds(self, history: str, sha: str) -> bool:
        return await self._mirrors.is_ancestor(self._git_dir, sha, history)

    async def _head(self) -> str | None:
        """What the host has there now: asked only where histories parted (a forced push)."""
        remote = self._host.remote(self._repository.ref)
        try:
            return await self._mirrors.head(self._key, remote, self._event.ref)
        except MirrorError as error:
            log.warning("host not asked for its newest commit", why=str(error))
            return None


def _before(event: Event) -> str | None:
    """Where the ref stood before; a pull request's `before` is its base, which tells nothing."""
    if event.kind is EventKind.PULL_REQUEST or event.before in (None, ZERO_SHA):
        return None
    return event.before
