"""Drives a plan on an executor: starts what is ready, keeps time, stops what must stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import Any

from pipelines.answers import Answer, Answers
from pipelines.crashing import reach
from pipelines.durations import format_duration
from pipelines.endings import timed_out
from pipelines.executor import OWN, Executor, Output
from pipelines.keeping import Shelves, keep
from pipelines.plan import CommandsWork, Plan, PushWork, Step
from pipelines.problems import ExecutorUnavailableError
from pipelines.progress import (
    Fact,
    Kept,
    Outcome,
    Progress,
    State,
    StepEnded,
    StepReady,
    StepRenewed,
    StepRetried,
    StepRunning,
    StepStarted,
)
from pipelines.repeating import lost, renewed
from pipelines.trying import CountedOutput, announced, of_this_try, repeated, told
from pipelines.uptime import Uptime, uptime

Emit = Callable[[Fact], Awaitable[None]]
"""Takes a fact at once and in order; what it gives is done once the fact is durable."""
Outputs = Callable[[str], AbstractContextManager[Output]]
"""Opens the place for one step's output, by the step's key."""

STOP_MARGIN = 30.0
"""Seconds after SIGKILL in which an executor must have told how a step ended."""

LEAST = 10.0
"""Seconds that a step has at least after it was taken up: it may have ended in time, unseen."""
PUSH_GRACE = 15.0
"""Seconds that a push gets to end by itself when the process ends: it cannot be taken up."""

Turn = Callable[[Step, asyncio.Event], contextlib.AbstractAsyncContextManager[bool]]
"""Waits for a step's turn among what other attempts do; False where the event came before it."""

Taken = Callable[[str], Mapping[int, int]]
"""Bytes stored of each stream of a step, by the step's key."""

_STORING = 5.0
"""Seconds that the last facts get to become durable when the process ends."""

_STOPPED = Outcome(state=State.CANCELLED, message="cancelled")
_CANCELLED = Outcome(state=State.CANCELLED, message="cancelled before it started")
_UNASKED = Answer()


def _at_once(_step: Step, _given_up: asyncio.Event) -> contextlib.AbstractAsyncContextManager[bool]:
    return contextlib.nullcontext(enter_result=True)


async def execute(
    plan: Plan,
    executor: Executor,
    *,
    emit: Emit,
    outputs: Outputs,
    clock: Callable[[], datetime],
    cancelled: asyncio.Event,
    grace: float,
    parallel_steps: int,
    earlier: Progress | None = None,
    taken: Taken = lambda _: {},
    steady: Callable[[], Uptime | None] = uptime,
    shelves: Shelves | None = None,
    answers: Answers | None = None,
    turn: Turn = _at_once,
) -> Progress:
    """Run a plan to its end, whatever that is, and leave nothing behind.

    Where nothing is left to do but steps that wait for a person, the walk breaks off: what the
    steps have made is kept, as when the process ends, and whoever comes next goes on.

    Where our own task is cancelled, the process ends and not the attempt: what runs is left to run,
    and no step ends for that. Whoever comes next goes on with the progress told so far.

    Facts are emitted the moment they happen; the last `StepEnded` comes before what steps left is
    removed, so whoever waits for the result should look at the facts, not at our return.

    Args:
        plan: What to run.
        executor: For this attempt alone; opened and closed here.
        emit: Takes the facts.
        outputs: Takes the output.
        clock: The time for the facts.
        cancelled: Set by whoever wants the attempt to end.
        grace: Seconds between SIGTERM and SIGKILL.
        parallel_steps: Most steps at the same time.
        earlier: Where an earlier process left this attempt, or what is carried over into it from
            an earlier one; None: it begins with nothing. The plan's own time limit begins anew, a
            running step's goes on.
        taken: How much of a step's output an earlier process stored.
        steady: The clock that time limits go by, also from one process to the next.
        shelves: Where the files go that steps want kept; None: nowhere.
        answers: What people have said to the steps that ask for approval; None: nothing.
        turn: Waited for before a step starts, and left when it has ended.

    Returns:
        The progress in which all steps have ended, or the rest waits for a person.
    """
    drive = _Drive(
        earlier or Progress.of(plan),
        executor,
        emit,
        outputs,
        clock,
        cancelled=cancelled,
        grace=grace,
        room=parallel_steps,
        taken=None if earlier is None else taken,
        steady=steady,
        shelves=shelves,
        answers=answers or Answers(),
        turn=turn,
    )
    try:
        await drive.through()
        await drive.settle()
        drive.hands_over = not drive.progress.state.ended
    except asyncio.CancelledError:
        drive.hands_over = not drive.progress.state.ended
        raise
    finally:
        await drive.close()
    return drive.progress


class _Drive:
    """One walk through a plan."""

    def __init__(
        self,
        progress: Progress,
        executor: Executor,
        emit: Emit,
        outputs: Outputs,
        clock: Callable[[], datetime],
        *,
        cancelled: asyncio.Event,
        grace: float,
        room: int,
        taken: Taken | None,
        steady: Callable[[], Uptime | None],
        shelves: Shelves | None,
        answers: Answers,
        turn: Turn,
    ) -> None:
        self.progress = progress
        self.hands_over = False
        self._earlier = None if taken is None else progress
        self._taken = taken
        self._plan = progress.plan
        self._executor = executor
        self._emit = emit
        self._outputs = outputs
        self._clock = clock
        self._steady = steady
        self._shelves = shelves
        self._answers = answers
        self._turn = turn
        self._latest = progress.latest
        self._cancelled = cancelled
        self._grace = grace
        self._room = room
        self._ready: dict[str, None] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._afterwards: set[asyncio.Future[None]] = set()
        self._again: set[str] = set()
        self._halted: Outcome | None = None
        self._not_started = _CANCELLED
        self._halting = asyncio.Event()

    async def through(self) -> None:
        """Walk until every step has ended, or a person must say what comes next."""
        deadline = asyncio.get_running_loop().time() + self._plan.timeout
        cancel = asyncio.ensure_future(self._cancelled.wait())
        try:
            if not await self._open(cancel):
                return
            self._take_up()
            if self._cancelled.is_set():
                self._halt(_STOPPED, _CANCELLED)
            self._start_ready()
            while not self.progress.state.ended and not self._only_asks():
                await self._wait(cancel, deadline)
                self._start_ready()
        finally:
            cancel.cancel()

    async def settle(self) -> None:
        """Wait until all facts are durable and the steps' leftovers are gone."""
        while self._afterwards:
            await asyncio.gather(*self._afterwards)

    async def close(self) -> None:
        """Close the executor, or let go of it, even while we are being cancelled."""
        closing = asyncio.ensure_future(self._hand_over() if self.hands_over else self._close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    async def _close(self) -> None:
        await self._give_up(self._running)
        await self._executor.close(keep_images=self.progress.state is not State.SUCCESS)

    async def _hand_over(self) -> None:
        """Leave what runs to whoever comes next; only a push may end, for a while."""
        pushes = {
            key: task
            for key, task in self._running.items()
            if isinstance(self._plan.step(key).work, PushWork)
        }
        await self._give_up({k: task for k, task in self._running.items() if k not in pushes})
        if pushes:
            await asyncio.wait(pushes.values(), timeout=PUSH_GRACE)
            await self._give_up(pushes)
        if self._afterwards:
            await asyncio.wait(self._afterwards, timeout=_STORING)
        await self._executor.release()

    @staticmethod
    async def _give_up(tasks: Mapping[str, asyncio.Task[None]]) -> None:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _open(self, cancel: asyncio.Future[Any]) -> bool:
        """Open the executor; where that fails, or somebody cancels, every step has ended."""
        opening = asyncio.ensure_future(self._executor.open(self._earlier))
        # What an earlier process left must be found, to be stopped with its grace.
        waited: set[asyncio.Future[Any]] = {opening, *([] if self._earlier else [cancel])}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                self._end_waiting(_CANCELLED)
                return False
            self._renew(opening.result())
        except ExecutorUnavailableError as error:
            state = State.CANCELLED if self._cancelled.is_set() else State.ERROR
            self._end_waiting(Outcome(state=state, message=str(error)))
            return False
        finally:
            # Also where we are cancelled ourselves: `close` may come only after `open` has ended.
            opening.cancel()
            await asyncio.wait({opening})
        return True

    def _renew(self, gone: frozenset[str]) -> None:
        """Do again what was carried over where something it must give is there no more."""
        for key in renewed(self.progress, gone):
            self._tell(StepRenewed(step=key, at=self._clock()))

    def _take_up(self) -> None:
        """Go on with the steps that ran when an earlier process left, whatever room there is."""
        for key, step in self.progress.steps.items():
            if step.state is State.RUNNING:
                self._running[key] = asyncio.create_task(self._run(self._plan.step(key)))

    def _start_ready(self) -> None:
        """Start what may start; a step that is skipped may free one that runs after a failure."""
        while True:
            refused = self._start_free()
            doomed = self.progress.doomed()
            if not doomed and not refused:
                return
            for key, why in doomed.items():
                self._end(key, Outcome(state=State.SKIPPED, message=why))

    def _start_free(self) -> bool:
        """Start what has room and was not refused; True where something was."""
        for key in self.progress.ready():
            if key not in self._ready:
                self._ready[key] = None
                if self.progress.steps[key].ready_at is None:
                    self._tell(StepReady(step=key, at=self._now()))
        refused = False
        # One that waits for its turn has been begun, and is still ready.
        begun = self._running.keys()
        for key in [key for key in self._ready if key not in begun and not self._ended(key)]:
            answer = self._answer(key)
            if answer is None:
                continue
            if answer.refused is not None:
                del self._ready[key]
                self._end(key, Outcome(state=State.CANCELLED, message=answer.refused))
                refused = True
            elif len(self._running) < self._room:
                del self._ready[key]
                self._running[key] = asyncio.create_task(self._run(self._plan.step(key)))
        return refused

    def _answer(self, key: str) -> Answer | None:
        asks = self._plan.step(key).approval is not None
        return self._answers.to(key) if asks else _UNASKED

    def _only_asks(self) -> bool:
        """Whether all that could go on waits for a person."""
        if self._running or self._halted is not None or self._cancelled.is_set():
            return False
        asking = [key for key in self._ready if not self._ended(key)]
        return bool(asking) and all(self._answer(key) is None for key in asking)

    def _ended(self, key: str) -> bool:
        return self.progress.steps[key].state.ended

    async def _wait(self, cancel: asyncio.Future[Any], deadline: float) -> None:
        """Until a step has ended, somebody cancels, or the time of the whole plan is over."""
        waited: set[asyncio.Future[Any]] = {*self._running.values()}
        timeout = None
        answered = asyncio.ensure_future(self._answers.wait())
        if self._halted is None:
            waited |= {cancel, answered}
            timeout = max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            if not waited:
                raise AssertionError(f"no step of {self._plan.pipeline} can go on")
            done, _ = await asyncio.wait(
                waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            answered.cancel()
        for key in [key for key, task in self._running.items() if task.done()]:
            self._running.pop(key).result()
        if self._halted is None and cancel.done():
            self._halt(_STOPPED, _CANCELLED)
        elif self._halted is None and not done:
            self._halt_at_limit()

    def _halt_at_limit(self) -> None:
        limit = format_duration(self._plan.timeout)
        self._halt(
            Outcome(state=State.FAILURE, message=timed_out(limit, whole_run=True)),
            Outcome(state=State.CANCELLED, message=f"not started within the run's {limit}"),
        )

    def _halt(self, running: Outcome, waiting: Outcome) -> None:
        """Stop all that runs, with the outcome it gets, and end all that waits."""
        self._halted, self._not_started = running, waiting
        self._halting.set()
        self._end_waiting(waiting)

    def _end_waiting(self, outcome: Outcome) -> None:
        for step in self._plan.steps:
            if step.key not in self._running and not self._ended(step.key):
                self._end(step.key, outcome)

    async def _run(self, step: Step) -> None:
        """One step from its turn to its end."""
        async with self._turn(step, self._halting) as came:
            if came:
                await self._do(step)
            else:
                self._end(step.key, self._not_started)

    async def _do(self, step: Step) -> None:
        """One step from its start to its end."""
        if self.progress.steps[step.key].started_at is None:
            start = StepStarted(step=step.key, at=self._now(), uptime=self._steady())
            told_start = self._tell(start)
            if isinstance(step.work, PushWork) or step.channel is not None:
                # Were that not stored, a push might run twice without anybody knowing; and what a
                # channel shall lead to is on disk before it does.
                await asyncio.shield(told_start)
        with self._outputs(step.key) as output:
            taken = {} if self._taken is None else self._taken(step.key)
            counted = CountedOutput(output, taken)
            outcome = await self._tried(step, counted)
            kept = await self._keep(step, outcome, counted)
        told = self._end(step.key, outcome, kept)
        self._later(self._discard(step.key, told))

    async def _keep(self, step: Step, outcome: Outcome, output: Output) -> Kept | None:
        if self._shelves is None:
            return None
        return await keep(
            step, outcome, self._executor, self._shelves, output=output, halting=self._halting
        )

    async def _tried(self, step: Step, output: CountedOutput) -> Outcome:
        """The step as often as it may be tried."""
        while True:
            outcome = await self._timed(step, output)
            progress = self.progress.steps[step.key]
            if self._halted is not None or not repeated(step, progress, outcome):
                return told(step, progress, outcome)
            failed = StepRetried(
                step=step.key,
                at=self._now(),
                uptime=self._steady(),
                outcome=outcome,
                taken=output.taken,
            )
            # Were that not stored, what a later process finds might be taken for the next try.
            await asyncio.shield(self._tell(failed))
            reach("steps.retried")
            await self._executor.discard(step.key)
            self._again.add(step.key)
            if self._halted is not None:
                return self._halted
            with contextlib.suppress(OSError):  # a full disk is told of by the work itself
                output.write(OWN, announced(step, self.progress.steps[step.key]))

    async def _work(self, step: Step, output: Output) -> Outcome:
        """The step's own work, gone on with where an earlier process had begun it."""
        running = partial(self._tell_running, step.key)
        if self._earlier is not None and self._taken is not None and step.key not in self._again:
            taken = of_this_try(self._earlier.steps[step.key], self._taken(step.key))
            outcome = await self._executor.adopt(step, output, running, taken)
            outcome = outcome or lost(step, self._earlier.steps[step.key]) or self._halted
            if outcome is not None:
                return outcome
            if self._earlier.steps[step.key].running_at is not None:
                with contextlib.suppress(OSError):  # a full disk is told of by the work itself
                    output.write(OWN, b"[lading] Lading was restarted: this begins anew\n")
        return await self._executor.run(step, output, running)

    def _time_left(self, step: Step) -> float:
        """Seconds the step has; commands that went on without us have used up theirs."""
        resumed = self._earlier is not None and step.key not in self._again
        if self._earlier is None or not resumed or not isinstance(step.work, CommandsWork):
            return step.timeout
        used = self._earlier.steps[step.key].lasted(self._clock(), self._steady())
        return min(max(step.timeout - used, LEAST), step.timeout)

    async def _timed(self, step: Step, output: Output) -> Outcome:
        limit = self._time_left(step)
        work = asyncio.ensure_future(self._work(step, output))
        halting = asyncio.ensure_future(self._halting.wait())
        either: set[asyncio.Future[Any]] = {work, halting}
        try:
            await asyncio.wait(either, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            why = self._halted or Outcome(
                state=State.FAILURE, message=timed_out(format_duration(step.timeout))
            )
            return await self._stopped(step, work, why)
        finally:
            halting.cancel()
            work.cancel()
            await asyncio.wait({work})

    async def _stopped(self, step: Step, work: asyncio.Future[Outcome], why: Outcome) -> Outcome:
        """Stop the step; its outcome is the reason it was stopped for."""
        await self._executor.stop(step.key, grace=self._grace)
        await asyncio.wait({work}, timeout=self._grace + STOP_MARGIN)
        if not work.done():
            message = f"{why.message}; and it could not be stopped: the engine does not answer"
            return why.model_copy(update={"message": message})
        own = work.result()
        if own.state is State.ERROR and why.state is State.FAILURE:
            # At a time limit, why it could not be done says more than that it was not done in time.
            limit = format_duration(self._plan.timeout if self._halted else step.timeout)
            return own.model_copy(update={"message": f"{own.message}; given up after {limit}"})
        # Commands that are stopped may well exit 0; an image that is built or pushed is there, and
        # so is a channel that was moved after the commands.
        lasting = step.channel is not None or not isinstance(step.work, CommandsWork)
        if own.state is State.SUCCESS and lasting:
            return own
        return why.model_copy(update={"exit_code": own.exit_code})

    async def _discard(self, key: str, told: Awaitable[None]) -> None:
        await told
        await self._executor.discard(key)

    def _tell_running(self, key: str) -> None:
        if self.progress.steps[key].running_at is None:
            self._tell(StepRunning(step=key, at=self._now()))

    def _end(self, key: str, outcome: Outcome, kept: Kept | None = None) -> asyncio.Future[None]:
        return self._tell(StepEnded(step=key, at=self._now(), outcome=outcome, kept=kept))

    def _now(self) -> datetime:
        """The time for a fact: never before that of an earlier one, though the clock went back."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    def _tell(self, fact: Fact) -> asyncio.Future[None]:
        self.progress = self.progress.apply(fact)
        return self._later(self._emit(fact))

    def _later(self, work: Awaitable[None]) -> asyncio.Future[None]:
        future = asyncio.ensure_future(work)
        self._afterwards.add(future)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: asyncio.Future[None]) -> None:
        # What failed stays, so that `settle` raises it.
        if not future.cancelled() and future.exception() is None:
            self._afterwards.discard(future)
