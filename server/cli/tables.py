"""Rows for people: columns as wide as what stands in them, and strangers' text made harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from pipelines.durations import format_duration
from server.cli.terminal import Paint, inert, width

LONGEST = 60
"""Characters of a cell that is not the last one."""
_COLOURS = {"success": "green", "failure": "red", "error": "red", "running": "cyan"}


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    paint: Paint,
    *,
    state: int | None = None,
) -> Iterator[str]:
    """A line of headings and one for each row.

    Args:
        head: The headings.
        rows: The cells, as many as there are headings.
        paint: The colours.
        state: The column that holds a state, which has its colour.
    """
    cells = [[cut(cell) for cell in row[:-1]] + [one_line(row[-1])] for row in rows]
    room = [
        max(width(line[column]) for line in [list(head), *cells]) for column in range(len(head) - 1)
    ]
    yield paint.bold(_line(head, room))
    for row in cells:
        colours: dict[int, Callable[[str], str]] = {}
        if state is not None:
            colours[state] = coloured(row[state], paint)
        yield _line(row, room, colours)


def _line(
    cells: Sequence[str],
    room: Sequence[int],
    colours: dict[int, Callable[[str], str]] | None = None,
) -> str:
    shown = []
    for column, cell in enumerate(cells):
        padding = " " * (room[column] - width(cell)) if column < len(room) else ""
        colour = (colours or {}).get(column, str)
        shown.append(colour(cell) + padding)
    return "  ".join(shown).rstrip()


def coloured(state: str, paint: Paint) -> Callable[[str], str]:
    """What gives a state its colour."""
    found: Callable[[str], str] = getattr(paint, _COLOURS.get(state, "yellow"))
    return found


def cut(text: str, most: int = LONGEST) -> str:
    """A text of strangers in one line, and not longer than that."""
    line = one_line(text)
    return line if len(line) <= most else line[: most - 1] + "…"


def one_line(text: str) -> str:
    """A text of strangers in one line, without anything that a terminal would obey."""
    return inert(text.replace("\n", " "))


def ago(at: datetime, now: datetime) -> str:
    """`3 min ago`, in whole units."""
    seconds = max((now - at).total_seconds(), 0.0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def span(start: datetime | None, end: datetime | None) -> str:
    """How long it took, or takes by now; empty where it has not begun."""
    if start is None:
        return ""
    return format_duration(max(((end or datetime.now(UTC)) - start).total_seconds(), 0.0))
