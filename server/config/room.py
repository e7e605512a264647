"""Room on a disk, as people write it: `1GiB`, `2%`, or `1GiB or 2%`."""

from __future__ import annotations

import re
from typing import NamedTuple

from pipelines.durations import format_size, parse_size

_PERCENT = re.compile(r"(\d{1,2}(?:\.\d)?) ?%", re.ASCII)


class Room(NamedTuple):
    """Some bytes, a part of the whole disk, or the less of the two."""

    size: int | None
    """Bytes."""
    percent: float | None

    def of(self, total: int) -> int:
        """Bytes of a disk with so many in all: a large one need not keep free what 2 % of it is."""
        part = None if self.percent is None else int(total * self.percent / 100)
        return min(bound for bound in (self.size, part) if bound is not None)

    def __str__(self) -> str:
        """`1 GiB or 2 %`."""
        size = "" if self.size is None else format_size(self.size)
        percent = "" if self.percent is None else f"{self.percent:g} %"
        return " or ".join(part for part in (size, percent) if part)


def parse_room(text: str) -> Room:
    """Room of a text.

    Raises:
        ValueError: It is none; the message says how one is written.
    """
    size: int | None = None
    percent: float | None = None
    parts = text.split(" or ")
    for part in parts:
        if (found := _PERCENT.fullmatch(part.strip())) and percent is None:
            percent = float(found[1])
        elif size is None and not found:
            size = _size(part.strip(), text)
        else:
            raise _wrong(text)
    return Room(size, percent)


def _size(part: str, text: str) -> int:
    try:
        return parse_size(part)
    except ValueError:
        raise _wrong(text) from None


def _wrong(text: str) -> ValueError:
    return ValueError(f"'{text[:40]}' is no room on a disk; write it like 1GiB, 2% or 1GiB or 2%")
