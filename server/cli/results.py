"""How a run at home went: what is waited for, how a step ended, and the closing table. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from pipelines.durations import format_duration
from pipelines.plan import BuildWork, Step
from pipelines.progress import Outcome, Progress, State, StepProgress
from server.cli.terminal import Paint, inert

_WORDS = {
    State.SUCCESS: "passed",
    State.FAILURE: "failed",
    State.ERROR: "error",
    State.CANCELLED: "cancelled",
    State.SKIPPED: "skipped",
}
_NOT_RUN = "not run"
_TOLD = 4


def waited_for(progress: Progress, last_words: Mapping[str, str], now: datetime) -> str:
    """What goes on, in one line: `test.unit: pulling python:3.12 (12 s)`."""
    running = [
        f"{key}: {_doing(progress.plan.step(key), step, last_words.get(key, ''))}"
        f" ({_since(step, now)})"
        for key, step in progress.steps.items()
        if step.state is State.RUNNING
    ]
    waiting = sum(step.state is State.WAITING for step in progress.steps.values())
    told = [*running[:_TOLD], *([f"{len(running) - _TOLD} more"] if len(running) > _TOLD else [])]
    if waiting:
        told.append(f"{waiting} waiting")
    return "; ".join(told)


def _doing(step: Step, progress: StepProgress, words: str) -> str:
    if isinstance(step.work, BuildWork):
        return words or "building"
    if progress.running_at is not None:
        return "running"
    return words or "preparing"


def _since(step: StepProgress, now: datetime) -> str:
    begun = step.running_at or step.started_at or now
    return format_duration((now - begun).total_seconds())


def ended(step: StepProgress, paint: Paint, *, forgiven: bool) -> str:
    """How a step ended, in a few words: `failed after 3 s: exit code 1`."""
    outcome = step.outcome or Outcome(state=step.state)
    word = _coloured(outcome.state, paint, forgiven=forgiven)
    took = _took(step)
    after = f" {'in' if outcome.state is State.SUCCESS else 'after'} {took}" if took else ""
    why = _why(outcome)
    return word + after + (f": {inert(why)}" if why else "")


def table(progress: Progress, not_run: Mapping[str, str], paint: Paint) -> Iterator[str]:
    """Each step with its result and time."""
    keys = [*progress.steps, *not_run]
    room = max([len(key) for key in keys] + [4])
    yield paint.bold(f"{'step':{room}}  {'result':9}  {'time':>9}")
    for key, step in progress.steps.items():
        outcome = step.outcome or Outcome(state=step.state)
        forgiven = _forgiven(progress.plan.step(key), outcome)
        word = _coloured(outcome.state, paint, forgiven=forgiven, room=9)
        why = _why(outcome) + (" (it may)" if forgiven else "")
        yield f"{inert(key):{room}}  {word}  {_took(step):>9}  {inert(why)}".rstrip()
    for key, why in not_run.items():
        word, short = paint.dim(f"{_NOT_RUN:9}"), inert(why.partition(";")[0])
        yield f"{inert(key):{room}}  {word}  {'':>9}  {short}"


def _forgiven(step: Step, outcome: Outcome) -> bool:
    return step.allow_failure and outcome.state in (State.FAILURE, State.ERROR)


def forgiven(progress: Progress, key: str) -> bool:
    """Whether a step did not pass and was allowed not to."""
    outcome = progress.steps[key].outcome
    return outcome is not None and _forgiven(progress.plan.step(key), outcome)


def _coloured(state: State, paint: Paint, *, forgiven: bool, room: int = 0) -> str:
    word = f"{_WORDS.get(state, state.value):{room}}"
    if state is State.SUCCESS:
        return paint.green(word)
    if state in (State.FAILURE, State.ERROR) and not forgiven:
        return paint.red(word)
    return paint.yellow(word)


def _took(step: StepProgress) -> str:
    if step.started_at is None or step.ended_at is None:
        return ""
    return format_duration((step.ended_at - step.started_at).total_seconds())


def _why(outcome: Outcome) -> str:
    why = outcome.message.removeprefix("skipped: ")
    return "" if why == outcome.state.value else why
