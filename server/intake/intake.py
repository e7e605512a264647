"""From a stored delivery to a decision, runs and their first statuses, in one transaction."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from sqlalchemy.engine import Connection

from pipelines.events import Event, EventKind
from pipelines.planning import PlanDefaults
from server.actions import ConflictError, NotFoundError
from server.clock import Clock
from server.deciding import Verdict, any_needs_changes, judge, read_pipelines
from server.hosts.port import Host, Irrelevant, PayloadInvalidError, RepositoryRef, StatusState
from server.intake import verdicts
from server.mirrors import MirrorError, MirrorKey, Mirrors
from server.store import Database, DatabaseBusyError
from server.store import deliveries as delivery_verbs
from server.store import repositories as repository_verbs
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store.rows import (
    DecisionOutcome,
    DecisionRow,
    DeliveryRow,
    NewRun,
    RepositoryRow,
)
from server.webhooks import Pressure

log = structlog.get_logger(__name__)

AT_ONCE = 8  # deliveries read side by side; those of one repository one after the other
TRIES = 3
PAUSE = 1.0  # seconds between two deliveries while many come in
POLL = 1.0  # seconds; the wake-up is only a hint, the rows are the truth
FETCH_WAITS = (1.0, 5.0, 30.0, 90.0)  # seconds before each further try to fetch a commit


class Intake:
    """Reads waiting deliveries, oldest first.

    Args:
        pressure: While deliveries flood in, intake takes one at a time and pauses between them.
        wake: Called when attempts wait for the worker.
        tell: Called when statuses wait to be told.
        run_url: A run's page, by its number.
    """

    def __init__(
        self,
        *,
        hosts: Mapping[str, Host],
        database: Database,
        mirrors: Mirrors,
        clock: Clock,
        pressure: Pressure,
        defaults: PlanDefaults,
        wake: Callable[[], None],
        tell: Callable[[], None],
        run_url: Callable[[int], str],
        fetch_waits: tuple[float, ...] = FETCH_WAITS,
    ) -> None:
        self._hosts = hosts
        self._database = database
        self._mirrors = mirrors
        self._clock = clock
        self._pressure = pressure
        self._defaults = defaults
        self._wake = wake
        self._tell = tell
        self._run_url = run_url
        self._fetch_waits = fetch_waits
        self._arrived = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    def notify(self) -> None:
        """A delivery was stored."""
        self._arrived.set()

    async def run(self) -> None:
        """Read deliveries until cancelled; what was under way is read again after a restart."""
        try:
            while True:
                self._arrived.clear()
                if not await self._take():
                    await self._wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _take(self) -> bool:
        """Start reading as many deliveries as there is room for; False where none waits."""
        if self._pressure.high():
            await asyncio.sleep(PAUSE)
            room = 1 - len(self._tasks)
        else:
            room = AT_ONCE - len(self._tasks)
        if room <= 0:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            return True
        waiting = await self._database.read(
            delivery_verbs.waiting_deliveries, room + len(self._tasks)
        )
        fresh = [delivery for delivery in waiting if delivery.id not in self._tasks][:room]
        for delivery in fresh:
            task = asyncio.create_task(self._process(delivery))
            self._tasks[delivery.id] = task
            task.add_done_callback(functools.partial(self._done, delivery.id))
        return bool(fresh)

    def _done(self, delivery: str, _task: asyncio.Task[None]) -> None:
        self._tasks.pop(delivery, None)

    async def _wait(self) -> None:
        pending = [asyncio.create_task(self._arrived.wait()), *self._tasks.values()]
        await asyncio.wait(pending, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
        pending[0].cancel()

    async def _process(self, delivery: DeliveryRow) -> None:
        with structlog.contextvars.bound_contextvars(delivery=delivery.id, host=delivery.host):
            try:
                await self._decide(delivery)
            except DatabaseBusyError as error:
                log.warning("delivery waits for the database", why=str(error))
                await asyncio.sleep(POLL)
            except Exception as error:
                log.exception("delivery could not be read")
                tries = await self._database.write(
                    delivery_verbs.note_failed_try,
                    delivery.id,
                    error=f"{type(error).__name__}: {error}",
                    quarantine_after=TRIES,
                )
                await asyncio.sleep(tries * POLL)

    async def _decide(self, delivery: DeliveryRow) -> None:
        host = self._hosts.get(delivery.host)
        if host is None:
            await self._nothing(
                delivery, DecisionOutcome.INVALID, f"host {delivery.host} is no longer configured"
            )
            return
        try:
            payload = host.payload(delivery.headers, delivery.body)
            ref = host.repository(payload)
            event = host.read(delivery.headers, payload)
        except PayloadInvalidError as error:
            await self._nothing(delivery, DecisionOutcome.INVALID, str(error))
            return
        if isinstance(event, Irrelevant) or ref is None:
            reason = event.reason if isinstance(event, Irrelevant) else "it names no repository"
            await self._nothing(delivery, DecisionOutcome.NOTHING, reason, ref=ref)
            return
        async with self._locks[host.name, ref.external_id]:
            await self._decide_event(host, delivery, ref, event)

    async def _nothing(
        self,
        delivery: DeliveryRow,
        outcome: DecisionOutcome,
        reason: str,
        *,
        ref: RepositoryRef | None = None,
    ) -> None:
        def write(conn: Connection) -> None:
            row = ref and repository_verbs.remember_repository(
                conn, host=delivery.host, ref=ref, at=self._clock()
            )
            delivery_verbs.add_decision(
                conn,
                delivery=delivery.id,
                repository=row.id if row else None,
                event=None,
                event_key=None,
                outcome=outcome,
                reason=reason,
                at=self._clock(),
            )

        await self._database.write(write)
        log.info("nothing to run", why=reason)

    async def _decide_event(
        self, host: Host, delivery: DeliveryRow, ref: RepositoryRef, event: Event
    ) -> None:
        repository = await self._database.write(
            repository_verbs.remember_repository, host=host.name, ref=ref, at=self._clock()
        )
        earlier = await self._database.read(
            delivery_verbs.decision_of_event, repository.id, event.key
        )
        if earlier is not None:
            await self._database.write(
                delivery_verbs.add_decision,
                delivery=delivery.id,
                repository=repository.id,
                event=event,
                event_key=None,
                outcome=DecisionOutcome.DUPLICATE,
                reason=f"the same happening was told before: {earlier.reason}",
                duplicate_of=earlier.id,
                at=self._clock(),
            )
            return
        key = event.key
        event, verdict = await self._judge(host, ref, event)
        await self._record(
            repository, event, key if verdict.final else None, verdict, delivery=delivery.id
        )

    async def _judge(self, host: Host, ref: RepositoryRef, event: Event) -> tuple[Event, Verdict]:
        """Fetch the commit, as often as it takes, and judge what stands in it."""
        for wait in (*self._fetch_waits, None):
            try:
                return await self._judge_once(host, ref, event)
            except MirrorError as error:
                if error.permanent or wait is None:
                    return event, verdicts.unreadable(event, str(error))
                log.warning("commit not fetched yet", why=str(error), next_try_in=wait)
                await asyncio.sleep(wait)
        raise AssertionError  # the last wait is None

    async def _judge_once(
        self, host: Host, ref: RepositoryRef, event: Event
    ) -> tuple[Event, Verdict]:
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

    async def _record(
        self,
        repository: RepositoryRow,
        event: Event,
        event_key: str | None,
        verdict: Verdict,
        *,
        delivery: str | None,
    ) -> int:
        at = self._clock()

        def write(conn: Connection) -> tuple[int, list[int]]:
            decision = delivery_verbs.add_decision(
                conn,
                delivery=delivery,
                repository=repository.id,
                event=event,
                event_key=event_key,
                outcome=verdict.outcome,
                reason=verdict.reason,
                pipelines=verdict.pipelines,
                at=at,
            )
            runs = [
                self._add_run(
                    conn, new, repository=repository, decision=decision, event=event, at=at
                )
                for new in verdict.runs
            ]
            if runs:
                told = verdicts.with_runs(verdict.pipelines, runs)
                delivery_verbs.set_decision_pipelines(conn, decision, told)
            return decision, runs

        decision, runs = await self._database.write(write)
        log.info("decided", outcome=str(verdict.outcome), runs=runs, why=verdict.reason)
        if runs:
            self._tell()
            self._wake()
        return decision

    def _add_run(
        self,
        conn: Connection,
        new: NewRun,
        *,
        repository: RepositoryRow,
        decision: int,
        event: Event,
        at: datetime,
    ) -> int:
        run = run_verbs.add_run(
            conn, repository=repository.id, decision=decision, event=event, new=new, at=at
        )
        row = run_verbs.run(conn, run)
        if row is None:  # pragma: no cover - it was written a line above
            raise AssertionError
        broken = new.plan is None
        status_verbs.want_status(
            conn,
            run=row,
            attempt=1,
            state=StatusState.ERROR if broken else StatusState.PENDING,
            description=new.sentence if broken else "waiting for a slot",
            target_url=self._run_url(run),
            at=at,
        )
        return run

    async def start(
        self, *, repository: str, ref: str, by: str, host: str | None, pipeline: str | None
    ) -> DecisionRow:
        """Start the pipelines of a repository at a branch, tag or commit, for a person.

        Raises:
            NotFoundError: No such repository, ref or pipeline.
            ConflictError: Several hosts have a repository of that name.
        """
        row = await self._repository(repository, host)
        configured = self._hosts.get(row.host)
        if configured is None:
            message = f"host {row.host} of {repository} is no longer configured"
            raise NotFoundError(message)
        try:
            found = await self._mirrors.resolve(
                MirrorKey(host=row.host, external_id=row.external_id),
                configured.remote(row.ref),
                ref,
                default_branch=row.default_branch,
            )
        except MirrorError as error:
            raise NotFoundError(str(error)) from error
        event = Event(
            kind=EventKind.MANUAL,
            repository=row.full_name,
            sha=found.sha,
            ref=found.ref,
            branch=found.branch,
            tag=found.tag,
            default_branch=row.default_branch,
            actor=by,
        )
        async with self._locks[row.host, row.external_id]:
            key = f"{event.key}:{secrets.token_hex(8)}"  # each request is a happening of its own
            event, verdict = await self._judge(configured, row.ref, event)
            verdict = verdicts.only(verdict, pipeline)
            decision = await self._record(row, event, key, verdict, delivery=None)
        stored = await self._database.read(delivery_verbs.decision, decision)
        if stored is None:  # pragma: no cover - it was written a line above
            raise AssertionError
        return stored

    async def _repository(self, name: str, host: str | None) -> RepositoryRow:
        rows = await self._database.read(repository_verbs.repositories_named, name)
        found = [row for row in rows if host in (None, row.host)]
        if not found:
            message = (
                f"no repository {name} is known"
                f"{f' at host {host}' if host else ''}: it becomes known with its first delivery"
            )
            raise NotFoundError(message)
        if len(found) > 1:
            names = ", ".join(row.host for row in found)
            message = f"several hosts have a repository {name}: name one of {names}"
            raise ConflictError(message)
        return found[0]
