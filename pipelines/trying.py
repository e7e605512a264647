"""Trying a step again after a failure of its own: whether, and in which words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.executor import Output
from pipelines.plan import Step
from pipelines.progress import Outcome, State, StepProgress


def repeated(step: Step, progress: StepProgress, outcome: Outcome) -> bool:
    """Whether a try that ended so is followed by another.

    What could not be tried (an engine or registry that is away) is no try, nor what was cancelled.
    """
    return outcome.state is State.FAILURE and len(progress.tries) < step.retries


def announced(step: Step, progress: StepProgress) -> bytes:
    """The line of output between two tries."""
    before, number = progress.tries[-1].outcome, len(progress.tries) + 1
    why = before.message or "it failed"
    return f"\n[lading] try {number} of {step.retries + 1}: {why}\n".encode()


def told(step: Step, progress: StepProgress, outcome: Outcome) -> Outcome:
    """The outcome of a step with how many tries it took, where that was more than one."""
    tries = len(progress.tries) + 1
    if tries == 1:
        return outcome
    if outcome.state is State.SUCCESS:
        message = f"passed at try {tries} of {step.retries + 1}"
    else:
        message = f"{outcome.message} (try {tries} of {step.retries + 1})"
    return outcome.model_copy(update={"tries": tries, "message": message})


def of_this_try(progress: StepProgress, taken: Mapping[int, int]) -> dict[int, int]:
    """Of the bytes of a step's output, those of its present try."""
    before = progress.tries[-1].taken if progress.tries else {}
    return {stream: max(0, count - before.get(stream, 0)) for stream, count in taken.items()}


class CountedOutput:
    """An output that counts what it takes.

    Args:
        output: Takes the bytes.
        taken: Bytes of each stream that an earlier process stored.
    """

    def __init__(self, output: Output, taken: Mapping[int, int]) -> None:
        self._output = output
        self.taken = dict(taken)

    def write(self, stream: int, data: bytes) -> None:
        """See `Output.write`."""
        self._output.write(stream, data)
        self.taken[stream] = self.taken.get(stream, 0) + len(data)

    @property
    def full(self) -> bool:
        """See `Output.full`."""
        return self._output.full
