"""Facts of an attempt on their way into the rows, and the words its commit status says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

import structlog
from sqlalchemy.engine import Connection

from pipelines.crashing import reach
from pipelines.plan import Plan
from pipelines.progress import (
    Fact,
    Kept,
    Outcome,
    Progress,
    State,
    StepEnded,
    StepProgress,
    StepReady,
    StepRunning,
)
from server.clock import Clock
from server.hosts.port import StatusState
from server.store import Database
from server.store import approvals as approval_verbs
from server.store import images as image_verbs
from server.store import kept as kept_verbs
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store import tallies as tally_verbs
from server.store.rows import RunRow, StepRow
from server.store.tallies import Tally

log = structlog.get_logger(__name__)

ENDED = {
    State.SUCCESS: StatusState.SUCCESS,
    State.FAILURE: StatusState.FAILURE,
    State.ERROR: StatusState.ERROR,
    State.CANCELLED: StatusState.CANCELLED,
}


def stored_progress(plan: Plan, rows: Iterable[StepRow]) -> Progress:
    """Where an earlier process left an attempt, from the rows of its steps."""
    steps = {row.key: _step_progress(row) for row in rows}
    return Progress(plan=plan, steps={step.key: steps[step.key] for step in plan.steps})


def _step_progress(row: StepRow) -> StepProgress:
    outcome = row.outcome
    if outcome is None and row.state.ended:
        outcome = Outcome(state=row.state)
    return StepProgress(
        state=row.state,
        ready_at=row.ready_at,
        started_at=row.started_at,
        started_uptime=row.started_uptime,
        running_at=row.running_at,
        ended_at=row.ended_at,
        outcome=outcome,
        carried_from=row.carried_from,
        tries=row.tries,
    )


class _Written(NamedTuple):
    """Something to write down, and who waits for it."""

    write: Callable[[Connection], None]
    future: asyncio.Future[None]


def _each(conn: Connection, writes: Sequence[Callable[[Connection], None]]) -> None:
    for write in writes:
        write(conn)


def _settle(written: Iterable[_Written], error: Exception | None) -> None:
    for one in written:
        if one.future.done():
            continue
        if error is None:
            one.future.set_result(None)
        else:
            one.future.set_exception(error)


class Recorder:
    """Writes the facts of one attempt down, in the order they come.

    Args:
        run: The run as it stood when the attempt was taken.
        plan: The bound plan of the attempt.
        earlier: Where an earlier process left the attempt; None: it begins.
        tell: Called when a status waits to be told.
        over: Called when the last step has ended.
        keep_for: Seconds that artifacts are kept where the pipeline file does not say.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        run: RunRow,
        attempt: int,
        plan: Plan,
        target_url: str,
        tell: Callable[[], None],
        over: Callable[[], None],
        earlier: Progress | None = None,
        keep_for: float = 14 * 86400.0,
    ) -> None:
        self._keep_for = keep_for
        self._database = database
        self._clock = clock
        self._run = run
        self._attempt = attempt
        self.plan = plan
        self._target_url = target_url
        self._tell = tell
        self._over = over
        self._progress = earlier or Progress.of(plan)
        self._running_told = any(step.running_at for step in self._progress.steps.values())
        self._ended = False
        self._unwritten: list[_Written] = []
        self._writing: asyncio.Task[None] | None = None

    def emit(self, fact: Fact) -> asyncio.Future[None]:
        """Take a fact at once; the future is done when it is on disk.

        The last step's end ends the attempt in the same transaction: whoever waits for the result
        need not wait for the clearing up.
        """
        self._progress = self._progress.apply(fact)
        last = not self._ended and self._progress.state.ended
        self._ended |= last
        tell = isinstance(fact, StepRunning) and not self._running_told
        self._running_told |= tell

        def write(conn: Connection) -> None:
            run_verbs.record_facts(conn, self._run.id, self._attempt, [fact])
            if isinstance(fact, StepReady):
                step = self.plan.step(fact.step)
                approval_verbs.ask(conn, self._run, self._attempt, step, fact.at)
            if isinstance(fact, StepEnded) and fact.outcome.pushed is not None:
                image_verbs.add_image_version(
                    conn,
                    run=self._run,
                    attempt=self._attempt,
                    step=fact.step,
                    pushed=fact.outcome.pushed,
                    at=fact.at,
                )
            if isinstance(fact, StepEnded) and fact.kept is not None:
                self._write_kept(conn, fact, fact.kept)
            if tell:
                self._want(conn, StatusState.RUNNING, f"{fact.step} is running")
            if last:
                self._write_end(conn, self._progress.state, self._progress.sentence())

        future = self._write_in_turn(write)
        if last:
            future.add_done_callback(lambda _: reach("runs.ended"))
        if tell or last:
            future.add_done_callback(lambda _: self._tell())
        if last:
            self._over()
            log.info("run ended", run=self._run.id, state=str(self._progress.state))
        return future

    def _write_kept(self, conn: Connection, fact: StepEnded, kept: Kept) -> None:
        seconds = self._keep_for if kept.expire_in is None else kept.expire_in
        kept_verbs.record_kept(
            conn,
            kept_verbs.Place(run=self._run.id, attempt=self._attempt, step=fact.step),
            kept,
            at=fact.at,
            expires_at=fact.at + timedelta(seconds=seconds),
        )

    def _write_in_turn(self, write: Callable[[Connection], None]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unwritten.append(_Written(write, future))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        return future

    async def _write_all(self) -> None:
        """Write down what waits, all of it in one transaction, until nothing does.

        A database that is locked or has no room is waited for: what has happened, has happened.
        """
        while self._unwritten:
            now = self._unwritten[:]
            try:
                await self._database.write_patiently(_each, [one.write for one in now])
            except Exception as error:  # noqa: BLE001 - handed to whoever waits
                _settle(now, error)
            else:
                _settle(now, None)
            del self._unwritten[: len(now)]

    async def flush(self) -> None:
        """Wait until every fact is on disk.

        A database that takes no writes now is waited for.
        """
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def end(self, state: State, sentence: str) -> None:
        """End the attempt in that state, once; a second end changes nothing."""
        await self.flush()
        if await self._database.write_patiently(self._write_end, state, sentence):
            log.info("run ended", run=self._run.id, state=str(state), sentence=sentence)
            self._tell()

    async def park(self) -> bool:
        """Leave the attempt to wait for a person's word; True where it can go on by now."""
        await self.flush()
        state = await self._database.write_patiently(self._write_parked)
        reach("runs.parked")
        log.info("run waits for a person", run=self._run.id, state=str(state))
        self._tell()
        return state is State.WAITING

    def _write_parked(self, conn: Connection) -> State:
        attempt = run_verbs.one_attempt(conn, self._run.id, self._attempt)
        if attempt.cancelled_at is not None:
            self._write_end(conn, State.CANCELLED, "cancelled")
            return State.CANCELLED
        return approval_verbs.park(
            conn, self._run, self._attempt, url=self._target_url, at=self._clock()
        )

    def _write_end(self, conn: Connection, state: State, sentence: str) -> bool:
        if state is State.CANCELLED:
            attempt = run_verbs.one_attempt(conn, self._run.id, self._attempt)
            sentence = attempt.why_cancelled or sentence
        ended = run_verbs.end_attempt(
            conn,
            self._run.id,
            self._attempt,
            state=state,
            sentence=sentence,
            at=self._clock(),
        )
        if ended:
            self._want(conn, ENDED[state], sentence)
            if self._lost_something():
                tally_verbs.count(conn, Tally.LOST, at=self._clock())
        return ended

    def _lost_something(self) -> bool:
        outcomes = (step.outcome for step in self._progress.steps.values())
        return any(outcome is not None and outcome.lost for outcome in outcomes)

    def _want(self, conn: Connection, state: StatusState, description: str) -> None:
        status_verbs.want_status(
            conn,
            run=self._run,
            attempt=self._attempt,
            state=state,
            description=description,
            target_url=self._target_url,
            at=self._clock(),
        )
