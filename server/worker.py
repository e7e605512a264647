"""Takes attempts that wait, and walks each one's plan on the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any, Protocol

import structlog

from pipelines.answers import Answer, Answers
from pipelines.crashing import reach
from pipelines.execution import execute
from pipelines.executor import Executor, Output
from pipelines.keeping import Shelf
from pipelines.plan import Plan, Stage, Step
from pipelines.planning import bind
from pipelines.problems import LadingError
from pipelines.progress import Progress, State
from pipelines.redaction import StepSecrets
from pipelines.source import GitSource, Source
from server.artifacts import ArtifactStore
from server.clock import Clock
from server.hosts.port import Host
from server.logs import LogStore, trouble
from server.mirrors import MirrorError, MirrorKey, Mirrors
from server.runs import Recorder, stored_progress
from server.store import Database, DatabaseBusyError
from server.store import approvals as approval_verbs
from server.store import kept as kept_verbs
from server.store import repositories as repository_verbs
from server.store import runs as run_verbs
from server.store import tallies as tally_verbs
from server.store.rows import AttemptRow, RunRow
from server.store.tallies import Tally
from server.turns import Turns

log = structlog.get_logger(__name__)

POLL = 5.0  # seconds; the wake-up is only a hint
CLEARING = 3  # attempts for each slot, with those that are being cleared up


async def _always() -> bool:
    return True


class MakeExecutor(Protocol):
    """Makes the executor of one attempt."""

    def __call__(
        self, *, run: RunRow, attempt: int, plan: Plan, source: Source, secrets: StepSecrets
    ) -> Executor:
        """An executor that is not open yet."""


class Worker:
    """Runs attempts, so many at once as there are slots.

    Args:
        artifacts: Takes the files that steps want kept.
        keep_for: Seconds that artifacts are kept where the pipeline file does not say.
        slots: Attempts at the same time.
        parallel_steps: Steps of one attempt at the same time.
        grace: Seconds between SIGTERM and SIGKILL.
        secrets: Gives what the steps of a run's plan may have.
        remove_leftovers: Removes what earlier processes left on the engine.
        tell: Called when a status waits to be told.
        run_url: A run's page, by its number.
        ready: Whether there is an engine to begin an attempt on; it notifies when there is again.
        held: Whether no new attempt may be taken now; those that run go on.
    """

    def __init__(
        self,
        *,
        database: Database,
        logs: LogStore,
        artifacts: ArtifactStore,
        keep_for: float,
        mirrors: Mirrors,
        hosts: Mapping[str, Host],
        clock: Clock,
        slots: int,
        parallel_steps: int,
        grace: float,
        make_executor: MakeExecutor,
        secrets: Callable[[RunRow, Plan], Awaitable[StepSecrets]],
        remove_leftovers: Callable[[], Awaitable[None]],
        tell: Callable[[], None],
        run_url: Callable[[int], str],
        ready: Callable[[], Awaitable[bool]] = _always,
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._logs = logs
        self._artifacts = artifacts
        self._keep_for = keep_for
        self._mirrors = mirrors
        self._hosts = hosts
        self._clock = clock
        self._slots = slots
        self._parallel_steps = parallel_steps
        self._grace = grace
        self._make_executor = make_executor
        self._secrets = secrets
        self._remove_leftovers = remove_leftovers
        self._tell = tell
        self._run_url = run_url
        self._ready = ready
        self._held = held
        self._waiting = asyncio.Event()
        self._cancels: dict[tuple[int, int], asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._occupied: set[tuple[int, int]] = set()
        self._answers: dict[tuple[int, int], Answers] = {}
        self._turns = Turns()

    def notify(self) -> None:
        """An attempt waits."""
        self._waiting.set()

    @property
    def active(self) -> set[tuple[int, int]]:
        """The attempts, as (run, number), that run here now or are being cleared up."""
        return set(self._cancels)

    def interrupt(self, run: int, attempt: int) -> None:
        """Stop a running attempt, if it runs here."""
        event = self._cancels.get((run, attempt))
        if event is not None:
            event.set()

    def answered(self, run: int, attempt: int, answers: Mapping[str, Answer]) -> None:
        """Somebody has said a word that steps of an attempt wait for, if it runs here."""
        if (waiting := self._answers.get((run, attempt))) is not None:
            waiting.give(answers)

    async def run(self) -> None:
        """Take attempts until cancelled; steps that run then are left running.

        They are taken up by the next call, in this process or in another one.
        """
        try:
            await self._recover()
            while True:
                self._waiting.clear()
                if self._held() or self._full() or not await self._take():
                    await self._wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _full(self) -> bool:
        """Whether no slot is free; one whose steps have ended is, while it is cleared up."""
        return len(self._occupied) >= self._slots or len(self._tasks) >= CLEARING * self._slots

    def _free(self, key: tuple[int, int]) -> None:
        self._occupied.discard(key)
        self._waiting.set()

    async def _take(self) -> bool:
        if not await self._ready():
            return False
        try:
            attempt = await self._database.write(run_verbs.claim_attempt, at=self._clock())
        except DatabaseBusyError as error:
            log.warning("no attempt is taken now", why=str(error))
            return False
        if attempt is None:
            return False
        reach("worker.claimed")
        self._begin(attempt, resumed=False)
        return True

    def _begin(self, attempt: AttemptRow, *, resumed: bool) -> None:
        key = (attempt.run, attempt.number)
        self._cancels[key] = asyncio.Event()
        self._occupied.add(key)
        task = asyncio.create_task(self._serve(attempt, resumed=resumed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self) -> None:
        waiting = asyncio.create_task(self._waiting.wait())
        await asyncio.wait(
            {waiting, *self._tasks}, timeout=POLL, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()

    async def _serve(self, attempt: AttemptRow, *, resumed: bool) -> None:
        key = (attempt.run, attempt.number)
        with structlog.contextvars.bound_contextvars(run=attempt.run, attempt=attempt.number):
            try:
                run, recorder, earlier = await self._open(attempt, resumed=resumed)
                # Read after `interrupt` can find us: who asked before that has written only this.
                now = await self._database.read(run_verbs.one_attempt, *key)
                if now.cancelled_at is not None:
                    self._cancels[key].set()
                parked = await self._to_an_end(run, attempt, recorder, earlier)
            finally:
                self._turns.leave_all(attempt.run)
                self._cancels.pop(key, None)
                self._free(key)
            # Only now, when nothing of it is left here: the next moment it may be taken again.
            if parked and await recorder.park():
                self._waiting.set()

    async def _to_an_end(
        self, run: RunRow, attempt: AttemptRow, recorder: Recorder, earlier: Progress | None
    ) -> bool:
        """Walk the plan; True where all that is left of it waits for a person."""
        try:
            return await self._execute(run, attempt, recorder, earlier)
        except LadingError as error:
            log.warning("attempt could not be run", why=str(error))
            # Who cancelled it does not ask what else would have gone wrong.
            cancelled = self._cancels[attempt.run, attempt.number].is_set()
            await recorder.end(State.CANCELLED if cancelled else State.ERROR, str(error))
        except OSError as error:
            log.warning("attempt could not use a disk", why=str(error))
            await recorder.end(State.ERROR, f"{trouble(error)}: mend that, then re-run")
        except Exception as error:
            log.exception("attempt broke off")
            await recorder.end(
                State.ERROR, f"Lading itself failed ({type(error).__name__}): see its own log"
            )
        return False

    async def _open(
        self, attempt: AttemptRow, *, resumed: bool
    ) -> tuple[RunRow, Recorder, Progress | None]:
        """The run, its recorder, and where an earlier process or attempt left it."""
        run = await self._database.read(run_verbs.run, attempt.run)
        if run is None or run.plan is None:  # pragma: no cover - only runs with a plan wait
            raise AssertionError
        # What was planned before there was trust, or for a fork, says itself whom not to trust.
        trusted = run.plan.model_copy(update={"trusted": run.trusted})
        plan = bind(trusted, run=run.id, attempt=attempt.number)
        rows = await self._database.read(run_verbs.steps_of, run.id, attempt.number)
        carried = any(row.carried_from is not None for row in rows)
        # One that has waited for a person goes on where it was left.
        begun = any(row.ready_at is not None for row in rows)
        earlier = stored_progress(plan, rows) if resumed or carried or begun else None
        recorder = Recorder(
            database=self._database,
            clock=self._clock,
            run=run,
            attempt=attempt.number,
            plan=plan,
            earlier=earlier,
            target_url=self._run_url(run.id),
            tell=self._tell,
            over=lambda: self._free((attempt.run, attempt.number)),
            keep_for=self._keep_for,
        )
        return run, recorder, earlier

    async def _execute(
        self, run: RunRow, attempt: AttemptRow, recorder: Recorder, earlier: Progress | None
    ) -> bool:
        begun = earlier is not None and any(step.started_at for step in earlier.steps.values())
        told = "run taken up" if begun else "run started"
        log.info(told, pipeline=run.pipeline, sha=run.sha)
        cancelled = self._cancels[run.id, attempt.number]
        # What an earlier process left is found first, to be stopped with its grace.
        source = await self._source_unless(cancelled if earlier is None else asyncio.Event(), run)
        if source is None:
            await recorder.end(State.CANCELLED, "cancelled")
            return False
        plan = recorder.plan
        secrets = await self._secrets(run, plan)
        for step in plan.steps:
            if earlier is None or not earlier.steps[step.key].state.ended:
                self._logs.expect(run.id, attempt.number, step.key)
        key = (run.id, attempt.number)
        answers = self._answers[key] = Answers()
        answers.give(await self._database.read(approval_verbs.answers_of, *key))
        try:
            progress = await execute(
                plan,
                self._make_executor(
                    run=run, attempt=attempt.number, plan=plan, source=source, secrets=secrets
                ),
                emit=recorder.emit,
                outputs=lambda key: self._output(run.id, attempt.number, key),
                clock=self._clock,
                cancelled=cancelled,
                grace=self._grace,
                parallel_steps=self._parallel_steps,
                earlier=earlier,
                taken=lambda key: self._logs.taken(run.id, attempt.number, key),
                shelves=lambda key: self._shelf(run.id, attempt.number, key),
                answers=answers,
                turn=lambda step, given_up: self._turn(run, step, given_up),
            )
        finally:
            del self._answers[key]
            for step in plan.steps:
                self._logs.end(run.id, attempt.number, step.key)
        await recorder.flush()
        return not progress.state.ended

    def _turn(
        self, run: RunRow, step: Step, given_up: asyncio.Event
    ) -> AbstractAsyncContextManager[bool]:
        """Two runs must not deploy to one place at once."""
        if step.stage is not Stage.DEPLOY:
            return nullcontext(enter_result=True)
        return self._turns.at((run.repository, step.key), run.id, given_up)

    async def _source_unless(self, cancelled: asyncio.Event, run: RunRow) -> Source | None:
        """The commit's tree; None where somebody cancelled while its host was waited for."""
        source = asyncio.ensure_future(self._source(run))
        asked = asyncio.ensure_future(cancelled.wait())
        either: set[asyncio.Future[Any]] = {source, asked}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return source.result() if source.done() else None
        finally:
            for one in either:
                one.cancel()
            await asyncio.wait(either)

    async def _source(self, run: RunRow) -> Source:
        """The commit's tree; intake has fetched it, unless the mirror was lost meanwhile."""
        repository = await self._database.read(repository_verbs.repository, run.repository)
        host = self._hosts.get(run.host)
        if repository is None or host is None:
            message = f"host {run.host} of this run is no longer configured"
            raise MirrorError(message, permanent=True)
        git_dir = await self._mirrors.fetch(
            MirrorKey(host=host.name, external_id=repository.external_id),
            host.remote(repository.ref),
            sha=run.sha,
            ref=run.event.ref,
        )
        return GitSource(git_dir, run.sha)

    @contextmanager
    def _output(self, run: int, attempt: int, key: str) -> Iterator[Output]:
        writer = self._logs.open(run, attempt, key)
        close = writer.close
        try:
            yield writer
        except asyncio.CancelledError:
            close = writer.pause
            raise
        finally:
            close()
            self._logs.end(run, attempt, key)

    @asynccontextmanager
    async def _shelf(self, run: int, attempt: int, key: str) -> AsyncIterator[Shelf]:
        used = await self._database.read(kept_verbs.stored_bytes)
        with self._artifacts.shelf(run, attempt, key, used=used) as shelf:
            yield shelf

    async def _recover(self) -> None:
        """Take up what an earlier process left running, before anything new is taken."""
        unfinished = await self._database.read(run_verbs.unfinished_attempts)
        for attempt in unfinished:
            await self._keep_turns(attempt)
        for attempt in unfinished:
            self._begin(attempt, resumed=True)
        adopted = sum(attempt.cancelled_at is None for attempt in unfinished)
        if adopted:
            await self._database.write_patiently(
                tally_verbs.count, Tally.ADOPTED, at=self._clock(), by=adopted
            )
        # Also where none is unfinished: the last one may have ended while it was cleared up.
        await self._sweep()

    async def _keep_turns(self, attempt: AttemptRow) -> None:
        """Leave each deploy that runs its turn, before another run can ask for it."""
        run = await self._database.read(run_verbs.run, attempt.run)
        rows = await self._database.read(run_verbs.steps_of, attempt.run, attempt.number)
        for row in rows:
            if run is not None and row.stage == Stage.DEPLOY and row.state is State.RUNNING:
                self._turns.hold((run.repository, row.key), run.id)

    async def _sweep(self) -> None:
        try:
            await self._remove_leftovers()
        except Exception:
            log.exception("leftovers stay until they are looked for again")
