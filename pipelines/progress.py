"""What has happened to a plan's steps so far: facts, and the pure reducer over them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator

from pipelines.durations import format_duration
from pipelines.locks import Exact, Lock
from pipelines.plan import Plan, Step
from pipelines.uptime import Uptime
from pipelines.values import Value

MAX_SENTENCE = 140
"""Characters of a commit status's description; GitHub's limit."""


class State(StrEnum):
    """Where a step, an attempt or a run stands."""

    WAITING = "waiting"
    """Nothing has happened yet: it waits for a slot or for its needs."""
    HELD = "held"
    """It waits for a person's approval; only attempts and runs do."""
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    """The user's own work said no: a test failed, a Dockerfile does not build."""
    ERROR = "error"
    """It could not be tried: bad definition, engine or registry out of reach, wrong login."""
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """Never started, because something it needs did not pass."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (State.WAITING, State.HELD, State.RUNNING)


class Built(Value):
    """An image that a build made, still on the engine."""

    image_id: str
    """`sha256:…` of the image's configuration."""
    cached_steps: int = 0
    """Build steps taken from the cache."""
    total_steps: int = 0
    exact: Exact | None = None
    """What a push will put into a registry; None: the engine pushes as it likes."""


class Pushed(Value):
    """An image that a registry took."""

    repository: str
    digest: str
    """`sha256:…` of the manifest, as the registry told it in the push itself."""
    size: int
    """Bytes of the manifest."""
    tags: tuple[str, ...]
    lock: Lock | None = None
    """What it was made from; None: nobody wrote it down."""


class Tests(Value):
    """What a step's test reports come to."""

    __test__ = False  # no test of ours, whatever pytest thinks of the name

    total: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    seconds: float = 0.0
    """All tests together."""

    @property
    def bad(self) -> int:
        """Tests that did not pass."""
        return self.failed + self.errors


class Kept(Value):
    """What was kept of a step's files."""

    files: int = 0
    size: int = 0
    """Bytes of the files."""
    stored: int = 0
    """Bytes they take where they are kept."""
    expire_in: float | None = None
    """Seconds; None: as long as whoever keeps them thinks fit."""
    tests: Tests | None = None
    notes: tuple[str, ...] = ()
    """What could not be kept, and why: a sentence each, for people."""


class Outcome(Value):
    """How a step ended."""

    state: State
    """One of those that are an end."""
    exit_code: int | None = None
    message: str = ""
    """One sentence for people: what happened, why, and what to do next. Empty on success."""
    built: Built | None = None
    pushed: Pushed | None = None
    lost: bool = False
    """Whether it ended because something of it was gone: its container, the engine, its push."""
    tries: int = 1
    """How often it was tried until it ended so."""

    @field_validator("state")
    @classmethod
    def _is_an_end(cls, state: State) -> State:
        if not state.ended:
            raise ValueError(f"{state} is no end of a step")
        return state


class StepReady(Value):
    """All its needs have ended well; it may start as soon as there is room."""

    kind: Literal["ready"] = "ready"
    step: str
    at: AwareDatetime


class StepStarted(Value):
    """The executor began to prepare it (pull, create)."""

    kind: Literal["started"] = "started"
    step: str
    at: AwareDatetime
    uptime: Uptime | None = None
    """The same moment on a clock that nobody sets; by it time limits are kept."""


class StepRunning(Value):
    """Its own work began: the container runs, the builder or the registry answers."""

    kind: Literal["running"] = "running"
    step: str
    at: AwareDatetime


class StepRetried(Value):
    """One try of it has failed, and it is tried again."""

    kind: Literal["retried"] = "retried"
    step: str
    at: AwareDatetime
    uptime: Uptime | None = None
    """The same moment on a clock that nobody sets; the next try's time limit counts from it."""
    outcome: Outcome
    """How the try ended."""
    taken: dict[int, int] = {}
    """Bytes of each stream of output that all tries so far wrote."""


class StepEnded(Value):
    """It is over; also told, with `skipped` or `cancelled`, of steps that never started."""

    kind: Literal["ended"] = "ended"
    step: str
    at: AwareDatetime
    outcome: Outcome
    kept: Kept | None = None
    """Of its files; None where it asked for nothing, or never ran."""


class StepRenewed(Value):
    """What was carried over of it is there no more: it waits again."""

    kind: Literal["renewed"] = "renewed"
    step: str
    at: AwareDatetime


Fact = Annotated[
    StepReady | StepStarted | StepRunning | StepRetried | StepEnded | StepRenewed,
    Field(discriminator="kind"),
]


class Try(Value):
    """One try of a step that failed and was followed by another."""

    running_at: AwareDatetime | None = None
    ended_at: AwareDatetime
    ended_uptime: Uptime | None = None
    outcome: Outcome
    taken: dict[int, int] = {}
    """See `StepRetried.taken`."""

    @classmethod
    def told(cls, fact: StepRetried, running_at: datetime | None) -> Try:
        """What is kept of it."""
        return cls(
            running_at=running_at,
            ended_at=fact.at,
            ended_uptime=fact.uptime,
            outcome=fact.outcome,
            taken=fact.taken,
        )


class StepProgress(Value):
    """One step's part of the progress."""

    state: State = State.WAITING
    ready_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    started_uptime: Uptime | None = None
    running_at: AwareDatetime | None = None
    """When the work of the present try began."""
    ended_at: AwareDatetime | None = None
    outcome: Outcome | None = None
    carried_from: int | None = None
    """The attempt whose outcome it is, where that is an earlier one."""
    tries: tuple[Try, ...] = ()
    """Those that failed and were followed by another."""

    def lasted(self, now: datetime, uptime: Uptime | None) -> float:
        """Seconds since its present try began, whatever was done to the wall clock meanwhile."""
        began, steadily = self.started_at, self.started_uptime
        if self.tries:
            began, steadily = self.tries[-1].ended_at, self.tries[-1].ended_uptime
        if began is None:
            return 0.0
        steady = None if uptime is None else uptime.since(steadily)
        # Started in another boot, or by an older Lading: the wall clock is all there is.
        return (now - began).total_seconds() if steady is None else steady


_WORST_FIRST = (State.CANCELLED, State.ERROR, State.FAILURE)
_BAD = (*_WORST_FIRST, State.SKIPPED)
_VERBS = {
    State.FAILURE: "failed",
    State.ERROR: "had an error",
    State.CANCELLED: "was cancelled",
    State.SKIPPED: "was skipped",
}


class _Index:
    """What follows from a plan and where its steps stand, kept up to date step by step.

    `dependents`, `position` and `steps` belong to the plan and are shared; the rest is copied on
    change, so that a fact costs what it touches and not a walk over all needs of all steps.
    """

    def __init__(self, plan: Plan, steps: Mapping[str, StepProgress]) -> None:
        self.steps = {step.key: step for step in plan.steps}
        self.position = {key: number for number, key in enumerate(self.steps)}
        self.dependents: dict[str, list[str]] = {key: [] for key in self.position}
        self.open = {step.key: len(step.needs) for step in plan.steps}
        self.waiting = {key for key, step in steps.items() if step.state is State.WAITING}
        self.free: set[str] = set()
        self.doomed: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        """Steps that run after a failure and have one before them, with the sentence of it."""
        for step in plan.steps:
            for need in step.needs:
                self.dependents[need].append(step.key)
        for key in [key for key in self.waiting if not self.open[key]]:
            self._open(key)
        for key, step_progress in sorted(steps.items(), key=_end):
            if step_progress.outcome is not None:
                self._settle(key, step_progress.outcome)

    def after(self, key: str, outcome: Outcome | None) -> _Index:
        """The index after a step left waiting (no outcome), or ended."""
        index = copy(self)
        index.waiting = self.waiting - {key}
        index.free = self.free - {key}
        if outcome is not None:
            index.open, index.doomed = dict(self.open), dict(self.doomed)
            index.broken = dict(self.broken)
            index.doomed.pop(key, None)
            index._settle(key, outcome)  # noqa: SLF001 (a copy of itself)
        return index

    def _settle(self, key: str, outcome: Outcome) -> None:
        passed = _passed(self.steps[key], outcome)
        if not passed:
            self._doom(key, _skipped_because(key, outcome))
        for dependent in self.dependents[key]:
            if not passed and self.steps[dependent].after_failure:
                self.broken.setdefault(dependent, _skipped_because(key, outcome))
            if passed or self.steps[dependent].after_failure:
                self.open[dependent] -= 1
                if not self.open[dependent] and dependent in self.waiting:
                    self._open(dependent)

    def _open(self, key: str) -> None:
        """All that a step waits for has ended: it may start, or has nothing to start for."""
        step = self.steps[key]
        if key in self.broken or step.after_success:
            if key not in self.doomed:
                self.free.add(key)
            return
        self.doomed[key] = _NOTHING_FAILED

    def _doom(self, key: str, sentence: str) -> None:
        """Everything that waits for the step, and for what waits for it, in turn.

        But for what runs after a failure: that waits for the very end of all its needs.
        """
        behind = [key]
        for passed in behind:
            for dependent in self.dependents[passed]:
                if self.steps[dependent].after_failure:
                    continue
                if dependent in self.waiting and dependent not in self.doomed:
                    self.doomed[dependent] = sentence
                    behind.append(dependent)


class Progress(Value):
    """Where every step of a plan stands; a new value for each fact."""

    plan: Plan
    steps: dict[str, StepProgress]

    @cached_property
    def _index(self) -> _Index:
        return _Index(self.plan, self.steps)

    @classmethod
    def of(cls, plan: Plan) -> Progress:
        """The progress of a plan of which nothing has happened."""
        return cls(plan=plan, steps={step.key: StepProgress() for step in plan.steps})

    def apply(self, fact: Fact) -> Progress:
        """This progress after one more fact.

        A fact about an ended step changes nothing, but that what was carried over is renewed.

        Raises:
            KeyError: The plan has no such step.
        """
        before = self.steps[fact.step]
        if isinstance(fact, StepRenewed):
            fresh = before if before.carried_from is None else StepProgress()
            return Progress(plan=self.plan, steps={**self.steps, fact.step: fresh})
        if before.state.ended:
            return self
        after = before.model_copy(update=_changes(before, fact))
        progress = Progress.model_construct(plan=self.plan, steps={**self.steps, fact.step: after})
        if after.state is before.state:
            progress.__dict__["_index"] = self._index
        elif fact.step not in self._index.doomed or after.state in _BAD:
            progress.__dict__["_index"] = self._index.after(fact.step, after.outcome)
        # Else a doomed step started all the same, and what it doomed is found out anew.
        return progress

    def ready(self) -> tuple[str, ...]:
        """Keys of waiting steps all of whose needs have ended well, in the plan's order."""
        return tuple(sorted(self._index.free, key=self._index.position.__getitem__))

    def doomed(self) -> dict[str, str]:
        """Waiting steps that can never start, each with the sentence that says why.

        "skipped: test.unit failed" names the first need that did not pass; of a need that was
        skipped itself, the step that was the cause.
        """
        doomed, position = self._index.doomed, self._index.position
        return {key: doomed[key] for key in sorted(doomed, key=position.__getitem__)}

    @property
    def state(self) -> State:
        """The whole plan's state: running until all have ended, then the worst of the ends.

        Worst first: cancelled, error, failure, success. Skipped steps weigh nothing, nor do those
        that are allowed to fail.
        """
        if not all(step.state.ended for step in self.steps.values()):
            return State.RUNNING
        states = {step.state for key, step in self.steps.items() if not self._forgiven(key)}
        return next((state for state in _WORST_FIRST if state in states), State.SUCCESS)

    def _forgiven(self, key: str) -> bool:
        outcome = self.steps[key].outcome
        return outcome is not None and _forgiven(self._index.steps[key], outcome)

    @property
    def latest(self) -> datetime:
        """The time of the last fact; the earliest there is where there was none."""
        times = (
            at
            for step in self.steps.values()
            for at in (
                step.ready_at,
                step.started_at,
                *(each.ended_at for each in step.tries),
                step.running_at,
                step.ended_at,
            )
            if at is not None
        )
        return max(times, default=datetime.min.replace(tzinfo=UTC))

    def sentence(self) -> str:
        """One sentence for a commit status, at most 140 characters.

        "test.unit failed: exit code 1", "3 steps passed in 12 s".
        """
        state = self.state
        if state is State.RUNNING:
            return _cut(self._under_way())
        if state is State.SUCCESS:
            return self._passed()
        ends = sorted(
            (
                (key, step)
                for key, step in self.steps.items()
                if step.state is state and not self._forgiven(key)
            ),
            key=_end,
        )
        key, step = ends[0]
        rest = f" (and {len(ends) - 1} more)" if len(ends) > 1 else ""
        return _cut(_ended(key, step), rest)

    def _under_way(self) -> str:
        running = [key for key, step in self.steps.items() if step.state is State.RUNNING]
        ended = sum(step.state.ended for step in self.steps.values())
        if not running:
            return f"waiting: {ended} of {_count(len(self.steps))} done"
        rest = f" and {len(running) - 1} more" if len(running) > 1 else ""
        return f"{ended} of {_count(len(self.steps))} done, running {running[0]}{rest}"

    def _passed(self) -> str:
        own = [step for step in self.steps.values() if step.state is State.SUCCESS]
        carried = sum(step.carried_from is not None for step in own)
        passed = len(own) - carried
        forgiven = sum(map(self._forgiven, self.steps))
        if not own and not forgiven:
            return "nothing to run for this event"
        starts = [step.started_at for step in self.steps.values() if step.started_at]
        ends = [step.ended_at for step in self.steps.values() if step.ended_at]
        took = (max(ends) - min(starts)).total_seconds() if starts and ends else 0.0
        but = f", {forgiven} failed and may," if forgiven else ""
        before = f", {carried} before" if carried else ""
        return f"{_count(passed)} passed{but} in {format_duration(took)}{before}"


def _passed(step: Step, outcome: Outcome) -> bool:
    """Whether what waits for a step may go on after it ended so."""
    if outcome.state is State.SKIPPED:
        # What is there for a failure alone is skipped only because there was none.
        return step.after_failure and not step.after_success
    return outcome.state is State.SUCCESS or _forgiven(step, outcome)


def _forgiven(step: Step, outcome: Outcome) -> bool:
    """Whether a step did not pass and was allowed not to."""
    return step.allow_failure and outcome.state in (State.FAILURE, State.ERROR)


def _changes(
    before: StepProgress, fact: StepReady | StepStarted | StepRunning | StepRetried | StepEnded
) -> dict[str, object]:
    """What a fact changes of a step that has not ended; the first of two equal facts counts."""
    if isinstance(fact, StepReady):
        return {"ready_at": before.ready_at or fact.at}
    if isinstance(fact, StepStarted):
        return {
            "state": State.RUNNING,
            "started_at": before.started_at or fact.at,
            "started_uptime": before.started_uptime or fact.uptime,
        }
    if isinstance(fact, StepRunning):
        return {"state": State.RUNNING, "running_at": before.running_at or fact.at}
    if isinstance(fact, StepRetried):
        tries = (*before.tries, Try.told(fact, before.running_at))
        return {"state": State.RUNNING, "running_at": None, "tries": tries}
    return {"state": fact.outcome.state, "ended_at": fact.at, "outcome": fact.outcome}


def _end(item: tuple[str, StepProgress]) -> datetime:
    """For sorting: when a step ended; those that have not come last."""
    return item[1].ended_at or datetime.max.replace(tzinfo=UTC)


def _skipped_because(key: str, outcome: Outcome) -> str:
    if outcome.state is State.SKIPPED and outcome.message.startswith(_SKIPPED):
        return outcome.message
    return f"{_SKIPPED}{key} {_VERBS[outcome.state]}"


_SKIPPED = "skipped: "
_NOTHING_FAILED = "skipped: nothing it waits for failed"


def _ended(key: str, step: StepProgress) -> str:
    outcome = step.outcome or Outcome(state=step.state)
    text = outcome.message
    if not text and outcome.exit_code is not None:
        text = f"exit code {outcome.exit_code}"
    if text.startswith(key):
        return text
    return f"{key} {_VERBS[outcome.state]}" + (f": {text}" if text else "")


def _count(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"


def _cut(text: str, rest: str = "") -> str:
    line = " ".join(text.split())
    room = MAX_SENTENCE - len(rest)
    return (line if len(line) <= room else line[: room - 1] + "…") + rest
