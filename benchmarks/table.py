"""The table, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.figures import Figure

HEAD = ("work", "to reach", "ours", "bare tool", "ratio", "reached?")
NOTHING = "–"


def render(figures: Sequence[Figure]) -> str:
    """A Markdown table with aligned columns, and the notes below it."""
    rows = [HEAD, *(_cells(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, _line(tuple("-" * width for width in widths), widths))
    notes = [f"- {figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*lines, "", *notes] if notes else lines)


def as_json(figures: Sequence[Figure], machine: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, for programs."""
    return {"machine": machine, "figures": [figure.model_dump(mode="json") for figure in figures]}


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.work,
        figure.to_reach,
        f"{figure.ours} (n = {figure.rounds})",
        figure.bare or NOTHING,
        NOTHING if figure.ratio is None else f"{figure.ratio:.2f}",
        "yes" if figure.reached else "NO",
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join(padded)} |"
