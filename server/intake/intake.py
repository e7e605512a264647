"""From a stored delivery to a decision, runs and their first statuses, in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime

import structlog
from sqlalchemy.engine import Connection

from pipelines.crashing import reach
from pipelines.cron import times_after
from pipelines.events import Event, Slot
from pipelines.inputs import InputsInvalidError
from pipelines.planning import PlanDefaults
from pipelines.recipes import Catalogue
from server.actions import ConflictError, InputsError, NotFoundError
from server.clock import Clock
from server.deciding import Verdict
from server.fetching import fetch_ahead
from server.hosts.port import Host, Irrelevant, PayloadInvalidError, RepositoryRef, StatusState
from server.intake import access, reading, strangers, verdicts
from server.intake.lanes import AT_ONCE, Lanes
from server.mirrors import MirrorError, MirrorKey, Mirrors, Resolved
from server.store import Database, DatabaseBusyError
from server.store import deliveries as delivery_verbs
from server.store import groups as group_verbs
from server.store import repositories as repository_verbs
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store import timetable as timetable_verbs
from server.store.rows import (
    DecisionOutcome,
    DecisionRow,
    DeliveryRow,
    Lane,
    NewRun,
    NewSchedule,
    RepositoryRow,
    RunRow,
)
from server.superseding import Standing, Stopped, Superseding
from server.webhooks import Pressure

log = structlog.get_logger(__name__)

SOME = 64  # deliveries of one repository before it is another one's turn
TRIES = 3
PAUSE = 1.0  # seconds between two deliveries while many come in
POLL = 1.0  # seconds; the wake-up is only a hint, the rows are the truth


class Intake:
    """Reads waiting deliveries, oldest first.

    Args:
        pressure: While deliveries flood in, intake takes one at a time and pauses between them.
        wake: Called when attempts wait for the worker.
        tell: Called when statuses wait to be told.
        interrupt: Called with (run, attempt) when a newer run supersedes one that runs.
        run_url: A run's page, by its number.
        strangers: What becomes of strangers' pull requests.
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
        interrupt: Callable[[int, int], None],
        run_url: Callable[[int], str],
        strangers: strangers.Policy = strangers.hold,
        fetch_waits: tuple[float, ...] = reading.FETCH_WAITS,
        templates: Catalogue | None = None,
    ) -> None:
        self._hosts = hosts
        self._database = database
        self._mirrors = mirrors
        self._clock = clock
        self._pressure = pressure
        self._wake = wake
        self._tell = tell
        self._run_url = run_url
        self._policy = strangers
        self._reader = reading.Reader(
            database, mirrors, defaults, fetch_waits=fetch_waits, templates=templates
        )
        self._superseding = Superseding(
            database=database, mirrors=mirrors, interrupt=interrupt, run_url=run_url
        )
        self._arrived = asyncio.Event()
        self._lanes = Lanes(self._serve, self.notify)
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    def notify(self) -> None:
        """A delivery was stored, or there is room for another one."""
        self._arrived.set()

    async def run(self) -> None:
        """Read deliveries until cancelled; what was under way is read again after a restart."""
        try:
            while True:
                self._arrived.clear()
                if not await self._take():
                    await self._wait()
        finally:
            await self._lanes.stop()

    async def _take(self) -> bool:
        """Begin with as many repositories as there is room for; False where none can be."""
        most = AT_ONCE
        if self._pressure.high():
            await asyncio.sleep(PAUSE)
            most = 1 - self._lanes.at_work
        if most <= 0:
            return False
        waiting = await self._database.read(
            delivery_verbs.waiting_lanes,
            most,
            without=self._lanes.held,
            without_hosts=self._lanes.full(),
        )
        return self._lanes.take(waiting)

    async def _serve(self, lane: Lane) -> None:
        """Read some deliveries of one repository; then others have their turn."""
        some = await self._database.read(
            delivery_verbs.waiting_deliveries, lane, 1 if self._pressure.high() else SOME
        )
        host = self._hosts.get(lane.host)
        if len(some) > 1 and host is not None:
            await fetch_ahead(self._mirrors, host, some)
        for delivery in some:
            await self._process(lane, delivery)
            if self._pressure.high():
                return

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._arrived.wait()

    async def _process(self, lane: Lane, delivery: DeliveryRow) -> None:
        with structlog.contextvars.bound_contextvars(delivery=delivery.id, host=delivery.host):
            try:
                await self._decide(lane, delivery)
            except DatabaseBusyError as error:
                log.warning("delivery waits for the database", why=str(error))
                await asyncio.sleep(POLL)
            except Exception as error:
                log.exception("delivery could not be read")
                tries = await self._database.write_patiently(
                    delivery_verbs.note_failed_try,
                    delivery.id,
                    error=f"{type(error).__name__}: {error}",
                    quarantine_after=TRIES,
                )
                await asyncio.sleep(tries * POLL)

    async def _decide(self, lane: Lane, delivery: DeliveryRow) -> None:
        reach("intake.began")
        host = self._hosts.get(delivery.host)
        if host is None:
            await self._nothing(
                delivery, DecisionOutcome.INVALID, f"host {delivery.host} is no longer configured"
            )
            return
        try:
            told = reading.read(host, delivery)
        except PayloadInvalidError as error:
            await self._nothing(delivery, DecisionOutcome.INVALID, str(error))
            return
        ref, event = told.repository, told.event
        if ref is None:
            reason = event.reason if isinstance(event, Irrelevant) else "it names no repository"
            await self._nothing(delivery, DecisionOutcome.NOTHING, reason)
            return
        # What is not built takes its turn too: that a branch is gone counts for what comes later.
        async with self._turn(lane, host.name, ref.external_id):
            if isinstance(event, Irrelevant):
                await self._nothing(
                    delivery, DecisionOutcome.NOTHING, event.reason, ref=ref, about=event
                )
            else:
                await self._decide_event(lane, host, delivery, ref, event)

    @contextlib.asynccontextmanager
    async def _turn(self, lane: Lane, host: str, external_id: str) -> AsyncIterator[None]:
        """The repository's turn: a person may have asked for a run of it just now."""
        lock = self._locks[host, external_id]
        with self._lanes.resting(lane) if lock.locked() else contextlib.nullcontext():
            await lock.acquire()
        try:
            yield
        finally:
            lock.release()

    async def _nothing(
        self,
        delivery: DeliveryRow,
        outcome: DecisionOutcome,
        reason: str,
        *,
        ref: RepositoryRef | None = None,
        about: Irrelevant | None = None,
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
                ref=about.ref if about else None,
                sha=about.sha if about else None,
                at=self._clock(),
            )

        await self._database.write(write)
        log.info("nothing to run", why=reason)

    async def _decide_event(
        self,
        lane: Lane,
        host: Host,
        delivery: DeliveryRow,
        ref: RepositoryRef,
        event: Event,
    ) -> None:
        repository = await self._remember(host, ref)
        earlier = await self._reader.earlier(repository, event, delivery)
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
        treated = await strangers.treatment(self._policy, host, repository.ref, event)
        if treated.ignored is not None:
            await self._record(
                repository, event, None, verdicts.ignored(treated.ignored), delivery=delivery.id
            )
            return
        event, verdict = await self._reader.verdict(
            host,
            repository,
            event,
            delivery,
            resting=lambda: self._lanes.resting(lane),
        )
        await self._record(
            repository,
            event,
            key if verdict.final else None,
            verdict,
            delivery=delivery.id,
            stranger=treated.stranger,
        )

    async def _remember(self, host: Host, ref: RepositoryRef) -> RepositoryRow:
        known = await self._database.read(
            repository_verbs.repository_of, host=host.name, external_id=ref.external_id
        )
        if known is not None and known.ref == ref:
            return known
        return await self._database.write(
            repository_verbs.remember_repository, host=host.name, ref=ref, at=self._clock()
        )

    async def _record(
        self,
        repository: RepositoryRow,
        event: Event,
        event_key: str | None,
        verdict: Verdict,
        *,
        delivery: str | None,
        stranger: str | None = None,
    ) -> int:
        host = self._hosts[repository.host]
        standings = await self._superseding.standings(host, repository, event, verdict.runs)
        stopped: Stopped = []
        at = self._clock()
        coming = [
            NewSchedule(next_at=next(times_after(one.cron, one.timezone, at)), **one.model_dump())
            for one in verdict.schedules or ()
        ]

        def write(conn: Connection) -> tuple[int, list[int]]:
            stopped.clear()  # a group of verbs that fails is run again one by one
            access.note(conn, repository, verdict, at)
            if verdict.schedules is not None:
                timetable_verbs.set_schedules(conn, repository.id, coming)
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
            runs = []
            for new in verdict.runs:
                run, told_to_stop = self._add_run(
                    conn,
                    new,
                    repository=repository,
                    decision=decision,
                    event=event,
                    standing=standings.get(new.pipeline),
                    at=at,
                    stranger=stranger,
                )
                runs.append(run)
                stopped.extend(told_to_stop)
            if runs:
                told = verdicts.with_runs(verdict.pipelines, runs)
                delivery_verbs.set_decision_pipelines(conn, decision, told)
            return decision, runs

        decision, runs = await self._database.write(write)
        reach("intake.recorded")
        log.info("decided", outcome=str(verdict.outcome), runs=runs, why=verdict.reason)
        if runs:
            self._superseding.interrupt(stopped)
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
        standing: Standing | None,
        at: datetime,
        stranger: str | None,
    ) -> tuple[int, Stopped]:
        run = run_verbs.add_run(
            conn,
            repository=repository.id,
            decision=decision,
            event=event,
            new=new,
            at=at,
            stranger=stranger,
        )
        row = run_verbs.run(conn, run)
        if row is None:  # pragma: no cover - it was written a line above
            raise AssertionError
        stopped = self._superseding.write(conn, row, standing, at) if standing else []
        turn = group_verbs.turn_of(conn, run) if row.group_key else None
        broken = new.plan is None
        status_verbs.want_status(
            conn,
            run=row,
            attempt=1,
            state=StatusState.ERROR if broken else StatusState.PENDING,
            description=row.sentence or (turn.sentence if turn else "waits for a slot"),
            target_url=self._run_url(run),
            at=at,
        )
        return run, stopped

    async def start(
        self,
        *,
        repository: str,
        ref: str,
        by: str,
        host: str | None,
        pipeline: str | None,
        inputs: Mapping[str, str],
    ) -> DecisionRow:
        """Start the pipelines of a repository at a branch, tag or commit, for a person.

        Raises:
            NotFoundError: No such repository, ref or pipeline.
            ConflictError: Several hosts have a repository of that name.
            InputsError: An input does not fit.
        """
        row = await self._repository(repository, host)
        configured, found = await self._resolved(row, ref)
        event = verdicts.asked_for(row, found, by, inputs)
        if event.moved_ref is None and not await self._is_own(configured, row, event.sha):
            event = event.model_copy(update={"from_fork": True})
        treated = await strangers.treatment(self._policy, configured, row.ref, event)
        async with self._locks[row.host, row.external_id]:
            key = f"{event.key}:{secrets.token_hex(8)}"  # each request is a happening of its own
            try:
                judged = await self._reader.judge(
                    configured, row.ref, event, resting=contextlib.nullcontext
                )
            except InputsInvalidError as error:
                raise InputsError(str(error)) from error
            verdict = verdicts.only(judged.verdict, pipeline)
            verdicts.refuse(verdict)
            decision = await self._record(
                row, judged.event, key, verdict, delivery=None, stranger=treated.stranger
            )
        stored = await self._database.read(delivery_verbs.decision, decision)
        if stored is None:  # pragma: no cover - it was written a line above
            raise AssertionError
        return stored

    async def _is_own(self, host: Host, row: RepositoryRow, sha: str) -> bool:
        try:
            return await strangers.is_own(self._mirrors, host, row, sha)
        except MirrorError as error:
            raise NotFoundError(str(error)) from error

    async def start_slot(self, repository: int, slot: Slot) -> None:
        """Start the pipeline whose time has come; one that was decided already does nothing.

        Raises:
            NotFoundError: The repository or its default branch cannot be read now.
        """
        row = await self._database.read(repository_verbs.repository, repository)
        if row is None:  # pragma: no cover - a foreign key stands in the way
            raise AssertionError
        configured, found = await self._resolved(row, row.default_branch or "")
        event = verdicts.of_time(row, found, slot)
        async with self._locks[row.host, row.external_id]:
            if await self._database.read(delivery_verbs.decision_of_event, row.id, event.key):
                return
            judged = await self._reader.judge(
                configured, row.ref, event, resting=contextlib.nullcontext
            )
            verdict = verdicts.of_slot(judged.verdict, slot)
            await self._record(row, judged.event, event.key, verdict, delivery=None)

    async def _resolved(self, row: RepositoryRow, ref: str) -> tuple[Host, Resolved]:
        """The repository's host, and what a name stands for there.

        Raises:
            NotFoundError: There is no such host or name.
        """
        configured = self._hosts.get(row.host)
        if configured is None:
            message = f"host {row.host} of {row.full_name} is no longer configured"
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
        return configured, found

    async def reread(self, run: RunRow, *, by: str) -> int:
        """Try again to read the commit of a run that has no plan because it could not be had.

        Returns the number of the new attempt.

        Raises:
            NotFoundError: Its host is no longer configured.
            ConflictError: The commit still cannot be read, or starts nothing.
        """
        repository = await self._database.read(repository_verbs.repository, run.repository)
        host = self._hosts.get(run.host)
        if repository is None or host is None:
            raise NotFoundError(f"host {run.host} of run {run.id} is no longer configured")
        async with self._locks[run.host, repository.external_id]:
            try:
                judged = await self._reader.judge_once(host, repository.ref, run.event)
            except MirrorError as error:
                raise ConflictError(f"the commit still cannot be read: {error}") from error
            event, verdict, at = judged.event, judged.verdict, self._clock()

            def write(conn: Connection) -> int:
                access.note(conn, repository, verdict, at)
                return access.write_again(
                    conn,
                    run,
                    event,
                    verdict,
                    reason=f"re-run by {by}",
                    add_run=lambda new: self._add_run(
                        conn,
                        new,
                        repository=repository,
                        decision=run.decision,
                        event=event,
                        standing=None,  # asked for by a person: no push is newer or older than it
                        at=at,
                        stranger=run.stranger,
                    )[0],
                    target_url=self._run_url(run.id),
                    at=at,
                )

            return await self._database.write(write)

    async def _repository(self, name: str, host: str | None) -> RepositoryRow:
        rows = await self._database.read(repository_verbs.repositories_named, name)
        return verdicts.one_of(rows, name, host)
