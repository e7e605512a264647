"""Which steps of a plan run at home: those chosen with the builds they need, and never a push.

A deploy runs where it is chosen by its name; choosing it is all the approval that it gets.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from graphlib import TopologicalSorter

from pipelines.definition.fields import near
from pipelines.plan import Channel, NoWork, Plan, PushWork, Stage, Step
from pipelines.problems import LadingError
from pipelines.values import Value


class NoSuchStepError(LadingError):
    """A step was chosen that the plan does not have; the message says which it has."""


class Chosen(Value):
    """A plan for home, and what was taken out of it."""

    plan: Plan
    not_run: dict[str, str]
    """Steps of the whole plan that do not run here, each with the reason."""


def at_home(plan: Plan, only: Sequence[str] = ()) -> Chosen:
    """The plan without what a machine of one's own must not do, or was not asked for.

    Args:
        plan: The whole plan.
        only: Keys of steps, or of all variants of one with a matrix; with them run just these
            and the builds whose images they use. Empty: everything that needs no push, but for
            deploys.

    Raises:
        NoSuchStepError: One of them is not in the plan, or is a push.
    """
    if only:
        return _only(plan, only)
    not_run = {step.key: reason for step in plan.steps if (reason := _not_at_home(step))}
    needs = {step.key: step.needs for step in plan.steps}
    for key in TopologicalSorter(needs).static_order():
        blocked = next((need for need in needs[key] if need in not_run), None)
        if blocked is not None and key not in not_run:
            not_run[key] = f"it waits for {blocked}, which does not run here"
    return Chosen(plan=_without(plan, not_run.keys()), not_run=not_run)


def _only(plan: Plan, only: Sequence[str]) -> Chosen:
    chosen = [step for name in only for step in _named(plan, name)]
    # All that a step can have of a build is its image.
    wanted = {step.key for step in chosen}.union(*map(_image, chosen))
    left = _without(plan, {step.key for step in plan.steps if step.key not in wanted})
    # What runs only after a failure was asked for all the same.
    own = {"after_success": True, "approval": None}
    steps = tuple(step.model_copy(update=own | {"channel": None}) for step in left.steps)
    unmoved = {
        f"the channel of {step.key}": _unmoved(step.channel)
        for step in left.steps
        if step.channel is not None
    }
    return Chosen(plan=left.model_copy(update={"steps": steps}), not_run=unmoved)


def _named(plan: Plan, name: str) -> list[Step]:
    """The steps that a person means: one by its key, or every variant of one with a matrix."""
    found = [step for step in plan.steps if step.key == name or step.key.startswith(f"{name} (")]
    if not found:
        raise NoSuchStepError(_unknown(plan, name))
    if isinstance(found[0].work, PushWork):
        raise NoSuchStepError(f"{name} is not run: {_pushed(found[0].work)}")
    if isinstance(found[0].work, NoWork) and found[0].channel is not None:
        raise NoSuchStepError(f"{name} is not run: {_unmoved(found[0].channel)}")
    return found


def _unknown(plan: Plan, name: str) -> str:
    for key, reason in plan.left_out.items():
        if key == name or key.startswith(f"{name} ("):
            why = reason.removeprefix("left out: ")
            return f"{key} does not run for this event ({why}): choose another with `--event`"
    keys = dict.fromkeys(
        step.key.partition(" (")[0]
        for step in plan.steps
        if not isinstance(step.work, PushWork | NoWork)
    )
    told = near(name, keys) or f"there are {', '.join(keys)}"
    return f"there is no step {name}: {told}"


def _not_at_home(step: Step) -> str | None:
    """Why a step does not run unless it is chosen, or not even then; None: it does."""
    if isinstance(step.work, PushWork):
        return _pushed(step.work)
    if isinstance(step.work, NoWork) and step.channel is not None:
        return _unmoved(step.channel)
    if step.stage is Stage.DEPLOY:
        return f"nothing is deployed from here unless you choose it: `lading run {step.key}`"
    return None


def _pushed(work: PushWork) -> str:
    tags = ", ".join(work.tags)
    return f"nothing is pushed from here; on the server it goes to {work.repository} as {tags}"


def _unmoved(channel: Channel) -> str:
    return f"channels are moved by the server alone; there {channel.name} moves to what was pushed"


def _image(step: Step) -> set[str]:
    image = getattr(step.work, "image", None)
    return {image.build} if image is not None and image.kind == "built" else set()


def _without(plan: Plan, out: Collection[str]) -> Plan:
    """The plan less some steps; nobody waits for those any more."""
    steps = tuple(
        step.model_copy(update={"needs": tuple(n for n in step.needs if n not in out)})
        for step in plan.steps
        if step.key not in out
    )
    return plan.model_copy(update={"steps": steps})
