"""What stands in a commit, and what the host says of its branch: everything intake asks git."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import timedelta

import structlog

from pipelines.events import Event, EventKind
from pipelines.planning import PlanDefaults
from pipelines.values import Value
from server.clock import Clock
from server.deciding import Verdict, any_needs_changes, judge, read_pipelines
from server.hosts.port import Host, Irrelevant, PayloadInvalidError, RepositoryRef
from server.intake import verdicts
from server.mirrors import MirrorError, MirrorKey, Mirrors
from server.store import Database
from server.store import deliveries as delivery_verbs
from server.store import recovery as recovery_verbs
from server.store.rows import DecisionRow, DeliveryRow, Found, RepositoryRow

log = structlog.get_logger(__name__)

FETCH_WAITS = (2.0, 10.0, 30.0, 80.0, 180.0)
"""Seconds before each further try to fetch a commit: five more within five minutes."""
FRESH = timedelta(minutes=1)
"""A delivery that is younger tells of a branch that was there a moment ago."""
PUSHES = (EventKind.PUSH, EventKind.TAG)

Resting = Callable[[], contextlib.AbstractContextManager[None]]


class Told(Value):
    """What a delivery says."""

    repository: RepositoryRef | None
    event: Event | Irrelevant


class Standing(Value):
    """Where a branch or tag is on its host now."""

    gone: bool = False
    head: str | None = None
    """Its commit; None where it was not asked for, or the host did not say."""


def read(host: Host, delivery: DeliveryRow) -> Told:
    """What a stored delivery says.

    Raises:
        PayloadInvalidError: It cannot be used.
    """
    if delivery.found is Found.HEADS:
        return _found(host, delivery.body)
    payload = host.payload(delivery.headers, delivery.body)
    # In this order: a payload without a usable repository is told by that.
    repository = host.repository(payload)
    return Told(repository=repository, event=host.read(delivery.headers, payload))


def _found(host: Host, body: bytes) -> Told:
    """What `server.recovery` wrote down of a head that no webhook told of."""
    try:
        told = json.loads(body)
        repository = RepositoryRef.model_validate(told["repository"])
        event = host.pushed(repository, ref=told["ref"], before=told["before"], sha=told["commit"])
    except (ValueError, KeyError, TypeError) as error:
        message = f"what was written down of a head cannot be read: {type(error).__name__}"
        raise PayloadInvalidError(message) from error
    return Told(repository=repository, event=event)


def in_doubt(event: Event, newest: DecisionRow | None, *, late: bool) -> bool:
    """Whether the host is to be asked where the branch or tag is by now.

    That costs a call, so it is done only where deliveries may have come late or in another order:
    the last thing that was told of the ref is not what this one goes on from.

    Args:
        event: What is told now.
        newest: The newest decision about the same ref.
        late: Whether it is known to have been on its way for long.
    """
    if event.kind not in PUSHES:
        return False
    out_of_order = newest is not None and (newest.sha is None or newest.sha != event.before)
    return late or out_of_order


class Reader:
    """Asks the rows and git, and judges what they say.

    Args:
        fetch_waits: Seconds before each further try to fetch a commit.
    """

    def __init__(
        self,
        database: Database,
        mirrors: Mirrors,
        clock: Clock,
        defaults: PlanDefaults,
        *,
        fetch_waits: tuple[float, ...],
    ) -> None:
        self._database = database
        self._clock = clock
        self._mirrors = mirrors
        self._defaults = defaults
        self._fetch_waits = fetch_waits

    async def earlier(
        self, repository: RepositoryRow, event: Event, delivery: DeliveryRow
    ) -> DecisionRow | None:
        """The decision about the same happening, if there is one.

        Comparing heads does not see every push, and a webhook may come after it: then the same
        commit on the same ref is the same happening, whatever the ref pointed at before.
        """
        same = await self._database.read(delivery_verbs.decision_of_event, repository.id, event.key)
        if same is not None or event.kind not in PUSHES:
            return same
        by_webhook_or_not = None if delivery.found is Found.HEADS else Found.HEADS
        return await self._database.read(
            delivery_verbs.push_decided,
            repository.id,
            event.ref,
            event.sha,
            found=by_webhook_or_not,
        )

    async def verdict(
        self,
        host: Host,
        repository: RepositoryRow,
        event: Event,
        delivery: DeliveryRow,
        *,
        resting: Resting,
    ) -> tuple[Event, Verdict]:
        """What the commit says, unless its branch or tag is gone by now; in words for people."""
        ref = repository.ref
        asked = await self._database.read(
            recovery_verbs.was_asked_for, delivery.host, delivery.delivery_id
        )
        found = delivery.found or (Found.LISTED if asked else None)
        late = found is Found.LISTED or self._clock() - delivery.received_at > FRESH
        newest = await self._database.read(delivery_verbs.newest_push, repository.id, event.ref)
        standing = Standing()
        if in_doubt(event, newest, late=late):
            standing = await self.standing(host, ref, event)
        told = event
        if not standing.gone:
            event, verdict = await self.judge(host, ref, event, resting=resting)
            if not verdict.final and event.kind in PUSHES:
                # Whether it is the branch that is gone, or something else that is wrong.
                standing = await self.standing(host, ref, event)
        if standing.gone:
            event, verdict = told, verdicts.gone(told)
        return event, verdicts.worded(verdict, event, found=found, head=standing.head)

    async def standing(self, host: Host, ref: RepositoryRef, event: Event) -> Standing:
        """Where the event's branch or tag is now; nothing where the host cannot be asked."""
        key = MirrorKey(host=host.name, external_id=ref.external_id)
        try:
            heads = await self._mirrors.heads(key, host.remote(ref), event.ref)
        except MirrorError as error:
            log.info("the host does not tell where the ref is", ref=event.ref, why=str(error))
            return Standing()
        head = heads.get(event.ref)
        return Standing(gone=True) if head is None else Standing(head=head.commit)

    async def judge(
        self, host: Host, ref: RepositoryRef, event: Event, *, resting: Resting
    ) -> tuple[Event, Verdict]:
        """Fetch the commit, as often as it takes, and judge what stands in it.

        Args:
            host: Where it is.
            ref: Whose commit.
            event: What happened.
            resting: A block in which the next try is waited for.
        """
        for wait in (*self._fetch_waits, None):
            try:
                return await self.judge_once(host, ref, event)
            except MirrorError as error:
                if error.permanent or wait is None:
                    return event, verdicts.unreadable(event, error)
                log.warning("commit not fetched yet", why=str(error), next_try_in=wait)
                with resting():
                    await asyncio.sleep(wait)
        raise AssertionError  # the last wait is None

    async def judge_once(
        self, host: Host, ref: RepositoryRef, event: Event
    ) -> tuple[Event, Verdict]:
        """Fetch the commit and judge what stands in it.

        Raises:
            MirrorError: It cannot be fetched.
        """
        key = MirrorKey(host=host.name, external_id=ref.external_id)
        git_dir = await self._mirrors.fetch(
            key, host.remote(ref), sha=event.sha, ref=event.ref, before=event.before
        )
        snapshot = await self._mirrors.describe(git_dir, event.sha)
        pipelines = read_pipelines(snapshot.definitions, snapshot.unreadable)
        event = verdicts.completed(event, snapshot)
        changed = None
        if event.before and any_needs_changes(pipelines, event):
            changed = await self._mirrors.changed(
                git_dir,
                event.before,
                event.sha,
                from_merge_base=event.kind is EventKind.PULL_REQUEST,
            )
        verdict = judge(
            pipelines,
            event,
            changed=changed,
            committed_at=snapshot.commit.committed_at,
            defaults=self._defaults,
        )
        return event, verdict
