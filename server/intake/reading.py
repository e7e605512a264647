"""What stands in a commit, and what the host says of its branch: everything intake asks git."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from pipelines.events import Event, EventKind
from pipelines.planning import PlanDefaults
from pipelines.recipes import Catalogue, Files, built_in, sought
from pipelines.values import Value
from server.deciding import ReadPipeline, Verdict, any_needs_changes, judge, read_pipelines
from server.hosts.port import Host, Irrelevant, PayloadInvalidError, RepositoryRef
from server.intake import verdicts
from server.mirrors import MirrorError, MirrorKey, Mirrors, RefGoneError
from server.store import Database
from server.store import deliveries as delivery_verbs
from server.store import recovery as recovery_verbs
from server.store.rows import DecisionRow, DeliveryRow, Found, RepositoryRow

log = structlog.get_logger(__name__)

FETCH_WAITS = (2.0, 10.0, 30.0, 80.0, 180.0)
"""Seconds before each further try to fetch a commit: five more within five minutes."""
PUSHES = (EventKind.PUSH, EventKind.TAG)

Resting = Callable[[], contextlib.AbstractContextManager[None]]


class Told(Value):
    """What a delivery says."""

    repository: RepositoryRef | None
    event: Event | Irrelevant


class Judged(Value):
    """What a commit says."""

    event: Event
    verdict: Verdict
    head: str | None = None
    """Where its branch is by now, if that is known."""


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


class Reader:
    """Asks the rows and git, and judges what they say.

    Args:
        fetch_waits: Seconds before each further try to fetch a commit.
        templates: What pipelines may name. Default: those that come with Lading.
    """

    def __init__(
        self,
        database: Database,
        mirrors: Mirrors,
        defaults: PlanDefaults,
        *,
        fetch_waits: tuple[float, ...],
        templates: Catalogue | None = None,
    ) -> None:
        self._templates = templates or built_in()
        self._database = database
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
        asked = await self._database.read(
            recovery_verbs.was_asked_for, delivery.host, delivery.delivery_id
        )
        found = delivery.found or (Found.LISTED if asked else None)
        try:
            judged = await self.judge(host, repository.ref, event, resting=resting)
        except RefGoneError:
            judged = Judged(event=event, verdict=verdicts.gone(event))
        return judged.event, verdicts.worded(
            judged.verdict, judged.event, found=found, head=judged.head
        )

    async def judge(
        self, host: Host, ref: RepositoryRef, event: Event, *, resting: Resting
    ) -> Judged:
        """Fetch the commit, as often as it takes, and judge what stands in it.

        Args:
            host: Where it is.
            ref: Whose commit.
            event: What happened.
            resting: A block in which the next try is waited for.

        Raises:
            RefGoneError: The branch or tag that was pushed is there no more.
        """
        for wait in (*self._fetch_waits, None):
            try:
                return await self.judge_once(host, ref, event)
            except RefGoneError:
                raise
            except MirrorError as error:
                if error.permanent or wait is None:
                    return Judged(event=event, verdict=verdicts.unreadable(event, error))
                log.warning("commit not fetched yet", why=str(error), next_try_in=wait)
                with resting():
                    await asyncio.sleep(wait)
        raise AssertionError  # the last wait is None

    async def judge_once(self, host: Host, ref: RepositoryRef, event: Event) -> Judged:
        """Fetch the commit and judge what stands in it.

        Raises:
            MirrorError: It cannot be fetched.
        """
        git_dir, head = await self._fetch(host, ref, event)
        snapshot = await self._mirrors.describe(git_dir, event.sha)
        pipelines = read_pipelines(snapshot.definitions, snapshot.unreadable, self._templates)
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
            templates=self._templates,
            files=await self._files(git_dir, event.sha, pipelines),
        )
        return Judged(event=event, verdict=verdict, head=head)

    async def _files(self, git_dir: Path, sha: str, pipelines: Sequence[ReadPipeline]) -> Files:
        """What the templates that are named want to know of the commit."""
        asked = sought([pipeline.definition for pipeline in pipelines], self._templates)
        return await self._mirrors.look(git_dir, sha, asked) if asked.paths else Files()

    async def _fetch(self, host: Host, ref: RepositoryRef, event: Event) -> tuple[Path, str | None]:
        key = MirrorKey(host=host.name, external_id=ref.external_id)
        remote = host.remote(ref)
        if event.kind in PUSHES:
            pushed = await self._mirrors.fetch_pushed(
                key, remote, sha=event.sha, ref=event.ref, before=event.before
            )
            return pushed.git_dir, pushed.head
        git_dir = await self._mirrors.fetch(
            key, remote, sha=event.sha, ref=event.ref, before=event.before
        )
        return git_dir, None
