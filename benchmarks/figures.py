"""What is measured, and what follows from it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import Field

from pipelines.values import Value

Ours = TypeVar("Ours")
Bare = TypeVar("Bare")


class Figure(Value):
    """One row of the table."""

    name: str
    """The word for `--only`."""
    work: str
    to_reach: str
    ours: str
    """As people read it, with its unit."""
    bare: str | None = None
    """The same of the bare tool; None where there is none to compare with."""
    ratio: float | None = None
    """Ours divided by the bare tool's: of seconds, so 1.2 is a fifth slower; or of rates."""
    reached: bool
    rounds: int
    """How often each side was measured, in turn; the figures are medians."""
    note: str = ""
    measured: dict[str, tuple[float, ...]] = Field(default={})
    """Every single measurement, in the order taken; names end in their unit."""


def interleaved(
    rounds: int, ours: Callable[[], Ours], bare: Callable[[], Bare]
) -> tuple[tuple[Ours, ...], tuple[Bare, ...]]:
    """Measure in turn (ours, bare, ours, bare, …), so that a machine's mood strikes both."""
    pairs = [(ours(), bare()) for _ in range(rounds)]
    return tuple(mine for mine, _ in pairs), tuple(its for _, its in pairs)


def median(values: Sequence[float]) -> float:
    """The middle one; of an even number, the mean of the two in the middle."""
    return statistics.median(values)


def percentile(values: Sequence[float], per_cent: int) -> float:
    """The least of the values that so many per cent are not above."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * per_cent // 100) - 1, 0)]


def spread(values: Sequence[float]) -> str:
    """The least and the most, to judge a median by."""
    return f"{seconds(min(values))} to {seconds(max(values))}"


def seconds(value: float) -> str:
    """A duration as people read it, in three digits: `412 ms`, `3.42 s`."""
    if round(value, 3) < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def memory(kibibytes: int) -> str:
    """A size from /proc as people read it; 1 MB is 1,000,000 bytes."""
    return f"{megabytes(kibibytes):.0f} MB"


def megabytes(kibibytes: int) -> float:
    """From the kibibytes of /proc to 1,000,000 bytes."""
    return kibibytes * 1024 / 1_000_000
