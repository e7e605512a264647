"""What a person may ask for: a run by hand, a re-run, a cancel, another look at a delivery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import structlog
from sqlalchemy.engine import Connection

from pipelines.answers import Answer
from pipelines.crashing import reach
from pipelines.plan import Plan
from pipelines.problems import LadingError
from pipelines.repeating import kept
from server.clock import Clock
from server.hosts.port import StatusState
from server.store import Database
from server.store import approvals as approval_verbs
from server.store import deliveries as delivery_verbs
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store.approvals import Answered, NothingToApproveError
from server.store.rows import AttemptRow, DecisionRow, DeliveryRow, RunRow, Verdict

log = structlog.get_logger(__name__)


class ActionError(LadingError):
    """What was asked for cannot be done; the message says why and what can be."""


class NotFoundError(ActionError):
    """There is no such run, repository or delivery."""


class InputsError(ActionError):
    """What was given with the request does not fit what was asked for."""


class ConflictError(ActionError):
    """It cannot be done in the state things are in."""


class AwayError(ActionError):
    """Somebody else who is needed for it does not answer now; later may help."""


class Starter(Protocol):
    """Starts runs at a person's request (`server.intake`)."""

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
        """Read the definitions at `ref` and start what matches.

        Raises:
            ActionError: The repository or the ref is not known, or an input does not fit.
        """

    async def reread(self, run: RunRow, *, by: str) -> int:
        """Try again to read the commit of a run that has no plan because it could not be had.

        Returns the number of the new attempt.

        Raises:
            ActionError: The commit still cannot be read, or starts nothing.
        """


class Actions:
    """Requests of people, checked against the rows.

    Args:
        wake: Called when an attempt waits for the worker.
        interrupt: Called with (run, attempt) when a running attempt shall stop.
        tell: Called when a status waits to be told.
        run_url: A run's page, by its number.
        answered: Called with (run, attempt, answers) when somebody has said a word that steps of
            an attempt wait for.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        starter: Starter,
        wake: Callable[[], None],
        interrupt: Callable[[int, int], None],
        tell: Callable[[], None],
        run_url: Callable[[int], str],
        answered: Callable[[int, int, Mapping[str, Answer]], None] = lambda *_: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._answered = answered
        self._starter = starter
        self._wake = wake
        self._interrupt = interrupt
        self._tell = tell
        self._run_url = run_url

    async def start(
        self,
        *,
        repository: str,
        ref: str,
        by: str,
        host: str | None = None,
        pipeline: str | None = None,
        inputs: Mapping[str, str] = MappingProxyType({}),
    ) -> DecisionRow:
        """Start the pipelines of a repository at a branch, tag or commit.

        Raises:
            NotFoundError: No such repository or ref.
            ConflictError: Several hosts have a repository of that name.
            InputsError: An input does not fit.
        """
        return await self._starter.start(
            repository=repository, ref=ref, by=by, host=host, pipeline=pipeline, inputs=inputs
        )

    async def rerun(
        self, run: int, *, by: str, only_failed: bool = False, start: str | None = None
    ) -> AttemptRow:
        """Start a new attempt of a run that has ended; the old ones are kept.

        Args:
            run: Its number.
            by: Who asks.
            only_failed: Whether steps that passed are carried over.
            start: The key of a step: it runs again, all that needs it, and what did not pass.

        Raises:
            NotFoundError: No such run or step.
            ConflictError: It has not ended, its definition cannot be used, its commit still cannot
                be read, or nothing failed.
        """
        row = await self._run(run)
        if row.plan is None and not row.definition_file:
            await self._starter.reread(row, by=by)
            self._tell()
            self._wake()
            return (await self._database.read(run_verbs.attempts_of, run))[-1]
        if row.plan is None:
            message = (
                f"run {run} has no plan: its definition has problems. Mend {row.definition_file} "
                "and push; a re-run would read the same file again"
            )
            raise ConflictError(message)
        keep: frozenset[str] = frozenset()
        what = "re-run"
        if only_failed or start is not None:
            keep = await self._kept(row, row.plan, start)
            what = "re-run of what failed" if start is None else f"re-run from {start}"

        def write(conn: Connection) -> int | None:
            number = run_verbs.add_attempt(
                conn, run, row.attempt, reason=f"{what} by {by}", at=self._clock(), keep=keep
            )
            if number is not None:
                now = run_verbs.one_attempt(conn, run, number)
                described = now.sentence or f"{what} by {by}, waiting for a slot"
                self._want(conn, row, number, StatusState.PENDING, described)
            return number

        if await self._database.write(write) is None:
            message = f"run {run} is {row.state}: wait for its end, or cancel it first"
            raise ConflictError(message)
        self._tell()
        self._wake()
        return (await self._database.read(run_verbs.attempts_of, run))[-1]

    async def _kept(self, row: RunRow, plan: Plan, start: str | None) -> frozenset[str]:
        """The steps that a new attempt carries over from the newest one."""
        rows = await self._database.read(run_verbs.steps_of, row.id, row.attempt)
        states = {step.key: step.state for step in rows}
        if start is not None and start not in states:
            message = f"run {row.id} has no step {start[:150]!r}: it has {', '.join(states)}"
            raise NotFoundError(message)
        keep = kept(plan, states, again=start)
        if len(keep) == len(states):
            message = f"every step of run {row.id} passed: re-run all of it, or from one step on"
            raise ConflictError(message)
        return keep

    async def cancel(self, run: int, *, by: str) -> AttemptRow:
        """Stop a run: SIGTERM, a grace period, SIGKILL; one that waits ends at once.

        Raises:
            NotFoundError: No such run.
            ConflictError: It has ended already.
        """
        row = await self._run(run)

        def write(conn: Connection) -> AttemptRow | None:
            attempt = run_verbs.request_cancel(conn, run, by=by, at=self._clock())
            if attempt is not None and attempt.state.ended:
                self._want(conn, row, attempt.number, StatusState.CANCELLED, attempt.sentence)
            return attempt

        attempt = await self._database.write(write)
        if attempt is None:
            message = f"run {run} has ended already: {row.state}"
            raise ConflictError(message)
        if attempt.state.ended:
            self._tell()
        else:
            self._interrupt(run, attempt.number)
        return attempt

    async def approve(self, run: int, *, by: str, step: str | None = None) -> AttemptRow:
        """Let go on what waits for approval: a run of a stranger's commit, or a step.

        Args:
            run: Its number.
            by: Who says so.
            step: Which step is meant; None: the only one that waits, or the run itself.

        Raises:
            NotFoundError: No such run.
            ConflictError: It waits for no approval, or several of its steps do.
        """
        return await self._answer(run, Verdict.APPROVED, by, step)

    async def decline(self, run: int, *, by: str, step: str | None = None) -> AttemptRow:
        """Refuse what waits for approval: a held run ends, and so does the step that waits.

        Raises:
            NotFoundError: No such run.
            ConflictError: It waits for no approval, or several of its steps do.
        """
        return await self._answer(run, Verdict.DECLINED, by, step)

    async def _answer(self, run: int, verdict: Verdict, by: str, step: str | None) -> AttemptRow:
        await self._run(run)

        def write(conn: Connection) -> list[Answered]:
            return approval_verbs.answer(
                conn, run, verdict=verdict, by=by, at=self._clock(), url=self._run_url, step=step
            )

        try:
            answered = await self._database.write(write)
        except NothingToApproveError as error:
            raise ConflictError(str(error)) from error
        reach("actions.answered")
        self._pass_on(answered)
        log.info("approval", run=run, verdict=str(verdict), by=by, step=step)
        return (await self._database.read(run_verbs.attempts_of, run))[-1]

    async def expire_approvals(self) -> None:
        """End the waits whose time is over."""
        at = self._clock()
        if await self._database.read(approval_verbs.any_expires, at=at):
            self._pass_on(
                await self._database.write(approval_verbs.expire, at=at, url=self._run_url)
            )

    def _pass_on(self, answered: list[Answered]) -> None:
        for one in answered:
            self._answered(one.run, one.attempt, one.answers)
        self._tell()
        self._wake()

    async def redeliver(self, delivery: str, *, by: str) -> DeliveryRow:
        """Have a stored delivery read and decided once more; intake finds it within a second.

        Raises:
            NotFoundError: No such delivery.
            ConflictError: It waits to be read already.
        """
        row = await self._delivery(delivery)
        if row.emptied_at is not None:
            message = (
                f"what was received as delivery {delivery} was removed for its age on "
                f"{row.emptied_at:%Y-%m-%d}, so it cannot be read again: start a run by hand"
            )
            raise ConflictError(message)
        if not await self._database.write(delivery_verbs.requeue_delivery, delivery):
            message = (
                f"delivery {delivery} waits to be read already: look again in a moment for what "
                "is decided"
            )
            raise ConflictError(message)
        log.info("delivery is read again", delivery=delivery, host=row.host, by=by)
        return await self._delivery(delivery)

    def _want(
        self, conn: Connection, run: RunRow, attempt: int, state: StatusState, description: str
    ) -> None:
        """What the host shall show; in the transaction that makes it so, lest a crash part them."""
        status_verbs.want_status(
            conn,
            run=run,
            attempt=attempt,
            state=state,
            description=description,
            target_url=self._run_url(run.id),
            at=self._clock(),
        )

    async def _delivery(self, delivery: str) -> DeliveryRow:
        row = await self._database.read(delivery_verbs.delivery, delivery)
        if row is None:
            message = f"there is no delivery {delivery[:40]!r}"
            raise NotFoundError(message)
        return row

    async def _run(self, run: int) -> RunRow:
        row = await self._database.read(run_verbs.run, run)
        if row is None:
            message = f"there is no run {run}"
            raise NotFoundError(message)
        return row
