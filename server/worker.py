"""Takes attempts that wait, and walks each one's plan on the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import structlog

from pipelines.execution import execute
from pipelines.executor import Executor, Output
from pipelines.plan import Plan
from pipelines.planning import bind
from pipelines.problems import LadingError
from pipelines.progress import Progress, State
from pipelines.source import GitSource, Source
from server.clock import Clock
from server.hosts.port import Host
from server.logs import LogStore
from server.mirrors import MirrorError, MirrorKey, Mirrors
from server.runs import Recorder, stored_progress
from server.store import Database
from server.store import repositories as repository_verbs
from server.store import runs as run_verbs
from server.store.rows import AttemptRow, RunRow

log = structlog.get_logger(__name__)

POLL = 5.0  # seconds; the wake-up is only a hint
CLEARING = 3  # attempts for each slot, with those that are being cleared up


class MakeExecutor(Protocol):
    """Makes the executor of one attempt."""

    def __call__(self, *, run: RunRow, attempt: int, plan: Plan, source: Source) -> Executor:
        """An executor that is not open yet."""


class Worker:
    """Runs attempts, so many at once as there are slots.

    Args:
        slots: Attempts at the same time.
        parallel_steps: Steps of one attempt at the same time.
        grace: Seconds between SIGTERM and SIGKILL.
        remove_leftovers: Removes what earlier processes left on the engine.
        tell: Called when a status waits to be told.
        run_url: A run's page, by its number.
    """

    def __init__(
        self,
        *,
        database: Database,
        logs: LogStore,
        mirrors: Mirrors,
        hosts: Mapping[str, Host],
        clock: Clock,
        slots: int,
        parallel_steps: int,
        grace: float,
        make_executor: MakeExecutor,
        remove_leftovers: Callable[[], Awaitable[None]],
        tell: Callable[[], None],
        run_url: Callable[[int], str],
    ) -> None:
        self._database = database
        self._logs = logs
        self._mirrors = mirrors
        self._hosts = hosts
        self._clock = clock
        self._slots = slots
        self._parallel_steps = parallel_steps
        self._grace = grace
        self._make_executor = make_executor
        self._remove_leftovers = remove_leftovers
        self._tell = tell
        self._run_url = run_url
        self._waiting = asyncio.Event()
        self._cancels: dict[tuple[int, int], asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._occupied: set[tuple[int, int]] = set()

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

    async def run(self) -> None:
        """Take attempts until cancelled; steps that run then are left running.

        They are taken up by the next call, in this process or in another one.
        """
        try:
            await self._recover()
            while True:
                self._waiting.clear()
                if self._full() or not await self._take():
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
        attempt = await self._database.write(run_verbs.claim_attempt, at=self._clock())
        if attempt is None:
            return False
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
        with structlog.contextvars.bound_contextvars(run=attempt.run, attempt=attempt.number):
            try:
                run, recorder, earlier = await self._open(attempt, resumed=resumed)
                await self._to_an_end(run, attempt, recorder, earlier)
            finally:
                self._cancels.pop((attempt.run, attempt.number), None)
                self._free((attempt.run, attempt.number))

    async def _to_an_end(
        self, run: RunRow, attempt: AttemptRow, recorder: Recorder, earlier: Progress | None
    ) -> None:
        try:
            await self._execute(run, attempt, recorder, earlier)
        except LadingError as error:
            log.warning("attempt could not be run", why=str(error))
            await recorder.end(State.ERROR, str(error))
        except Exception as error:
            log.exception("attempt broke off")
            await recorder.end(
                State.ERROR, f"Lading itself failed ({type(error).__name__}): see its own log"
            )

    async def _open(
        self, attempt: AttemptRow, *, resumed: bool
    ) -> tuple[RunRow, Recorder, Progress | None]:
        """The run, its recorder, and where an earlier process left it."""
        run = await self._database.read(run_verbs.run, attempt.run)
        if run is None or run.plan is None:  # pragma: no cover - only runs with a plan wait
            raise AssertionError
        plan = bind(run.plan, run=run.id, attempt=attempt.number)
        earlier = None
        if resumed:
            rows = await self._database.read(run_verbs.steps_of, run.id, attempt.number)
            earlier = stored_progress(plan, rows)
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
        )
        return run, recorder, earlier

    async def _execute(
        self, run: RunRow, attempt: AttemptRow, recorder: Recorder, earlier: Progress | None
    ) -> None:
        told = "run started" if earlier is None else "run taken up"
        log.info(told, pipeline=run.pipeline, sha=run.sha)
        source = await self._source(run)
        plan = recorder.plan
        for step in plan.steps:
            if earlier is None or not earlier.steps[step.key].state.ended:
                self._logs.expect(run.id, attempt.number, step.key)
        try:
            await execute(
                plan,
                self._make_executor(run=run, attempt=attempt.number, plan=plan, source=source),
                emit=recorder.emit,
                outputs=lambda key: self._output(run.id, attempt.number, key),
                clock=self._clock,
                cancelled=self._cancels[run.id, attempt.number],
                grace=self._grace,
                parallel_steps=self._parallel_steps,
                earlier=earlier,
                taken=lambda key: self._logs.taken(run.id, attempt.number, key),
            )
        finally:
            for step in plan.steps:
                self._logs.end(run.id, attempt.number, step.key)
        await recorder.flush()

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

    async def _recover(self) -> None:
        """Take up what an earlier process left running, before anything new is taken."""
        unfinished = await self._database.read(run_verbs.unfinished_attempts)
        for attempt in unfinished:
            if attempt.cancelled_at is None:
                self._begin(attempt, resumed=True)
        for attempt in unfinished:
            if attempt.cancelled_at is not None:
                _, recorder, _ = await self._open(attempt, resumed=True)
                await recorder.end(State.CANCELLED, attempt.why_cancelled or "")
        if unfinished:
            await self._remove_leftovers()
