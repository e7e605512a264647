"""What a person says who starts a pipeline by hand, held against what the pipeline asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipelines.definition.models import Definition
from pipelines.events import Event, EventKind
from pipelines.problems import LadingError


class InputsInvalidError(LadingError):
    """What was given is not what the pipeline takes; `faults` tells all of it."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def values(definition: Definition, event: Event) -> dict[str, str | None]:
    """Each input with its value for an event; None where it has none.

    Raises:
        InputsInvalidError: A person gave a value that the input does not take, or none where one
            must be given.
    """
    by_hand = event.kind is EventKind.MANUAL
    given = event.inputs if by_hand else {}
    found = {name: given.get(name, each.default) for name, each in definition.inputs.items()}
    faults = [
        f"input `{name}` of {definition.name}: {refused}"
        for name, each in definition.inputs.items()
        if name in given and (refused := each.refusal(given[name]))
    ]
    if by_hand:
        faults += [
            f"input `{name}` of {definition.name} has no default: give it a value"
            for name, value in found.items()
            if value is None
        ]
    if faults:
        raise InputsInvalidError(faults)
    return found


def refuse_unknown(definitions: Iterable[Definition], given: Mapping[str, str]) -> None:
    """See that each value that was given is an input of some pipeline.

    Raises:
        InputsInvalidError: One is not.
    """
    known = sorted({name for definition in definitions for name in definition.inputs})
    told = f"there are {', '.join(known)}" if known else "no pipeline here takes any"
    faults = [f"there is no input `{name[:40]}`: {told}" for name in given if name not in known]
    if faults:
        raise InputsInvalidError(faults)
