"""What is done again and what is kept: after a restart of ours, and in a new attempt. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pipelines.plan import BuiltImageRef, CommandsWork, Plan, PushWork, Step
from pipelines.progress import Outcome, Progress, State, StepProgress


def kept(plan: Plan, states: Mapping[str, State], *, again: str | None = None) -> frozenset[str]:
    """Keys of the steps that a new attempt carries over from one that has ended.

    Steps that passed are kept; all others run again.

    Args:
        plan: The run's.
        states: How each step ended.
        again: A step that runs again whatever became of it, and with it all that needs it.
    """
    repeated = frozenset() if again is None else _with_dependents(plan, {again})
    passed = {key for key, state in states.items() if state is State.SUCCESS}
    return frozenset(passed - repeated)


def renewed(progress: Progress, gone: Collection[str]) -> tuple[str, ...]:
    """Keys of carried-over steps that must run after all, in the plan's order.

    A build whose image is gone is made again where a step that will run wants the image; and as it
    may come out different, all that needs it runs again too.

    Args:
        progress: With the steps that were carried over.
        gone: Builds whose image is there no more.
    """
    plan = progress.plan
    again: set[str] = set()
    while True:
        wanted = {
            image
            for step in plan.steps
            if (step.key in again or not progress.steps[step.key].state.ended)
            and (image := _build_of(step)) is not None
        }
        missing = (wanted & set(gone)) - again
        if not missing:
            return tuple(
                step.key
                for step in plan.steps
                if step.key in again and progress.steps[step.key].carried_from is not None
            )
        again |= _with_dependents(plan, missing)


def lost(step: Step, before: StepProgress) -> Outcome | None:
    """How a step ends of which the executor has nothing left; None: it can begin anew."""
    if (
        before.state is State.RUNNING
        and isinstance(step.work, PushWork)
        and not step.work.retry_safe
    ):
        message = (
            f"Lading was restarted in the middle of {step.key}: see whether the registry has the "
            "image, then re-run"
        )
        return Outcome(state=State.ERROR, message=message, lost=True)
    if before.running_at is not None and isinstance(step.work, CommandsWork):
        message = (
            f"the container of {step.key} was removed while Lading was restarted, not by Lading: "
            "re-run"
        )
        return Outcome(state=State.ERROR, message=message, lost=True)
    return None


def _with_dependents(plan: Plan, keys: Iterable[str]) -> frozenset[str]:
    """The steps, and all that wait for them, in turn."""
    found = set(keys)
    before = -1
    while len(found) != before:
        before = len(found)
        found |= {step.key for step in plan.steps if found.intersection(step.needs)}
    return frozenset(found)


def _build_of(step: Step) -> str | None:
    """The build whose image a step works with."""
    if isinstance(step.work, PushWork):
        return step.work.image.build
    if isinstance(step.work, CommandsWork) and isinstance(step.work.image, BuiltImageRef):
        return step.work.image.build
    return None
