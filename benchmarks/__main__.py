"""`python -m benchmarks`: measure every row, and print one table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.figures import Figure
from benchmarks.ground import Ground, ground
from benchmarks.processes import BrokenError
from benchmarks.rows import (
    builds,
    burst,
    busy,
    floods,
    following,
    images,
    latency,
    output,
    promoting,
    restart,
    slow,
    webhooks,
    writing,
)
from benchmarks.table import as_json, render
from scripts.parts.errors import PartError, say


class Row(NamedTuple):
    """How a row of the table is measured."""

    measure: Callable[[Ground, int], Figure]
    rounds: int


ROWS = {
    "webhooks": Row(webhooks.measure, 3),
    "burst": Row(burst.measure, 3),
    "one-step": Row(latency.one_step, 15),
    "ten-steps": Row(latency.ten_steps, 5),
    "next-step": Row(following.measure, 5),
    "twenty-runs": Row(latency.twenty_runs, 5),
    "output": Row(output.stored, 5),
    "cached-build": Row(builds.cached, 15),
    "cached-push": Row(images.pushed, 15),
    "normalise": Row(images.normalised, 3),
    "memory": Row(output.resident, 3),
    "busy-webhooks": Row(busy.measure, 3),
    "flood": Row(floods.measure, 3),
    "restart": Row(restart.measure, 5),
    "promote": Row(promoting.measure, 15),
    "slow-engine": Row(slow.measure, 3),
    "lint": Row(writing.lint, 15),
    "plan": Row(writing.planning, 15),
    "help": Row(writing.helping, 15),
    "local-run": Row(writing.local_run, 15),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for.

    Returns:
        0 also where a figure is not reached: only what breaks is a failure. 1: something broke.
    """
    wanted = _parser().parse_args(arguments)
    try:
        with ground() as parts:
            taken_on = _machine(parts)
            figures = _measure(parts, wanted.only or list(ROWS), wanted.rounds)
    except PartError as error:
        say(str(error))
        return 1
    measured = [figure for figure in figures.values() if figure is not None]
    print(machine.headline(taken_on), render(measured), sep="\n\n")
    if wanted.json is not None:
        text = json.dumps(as_json(measured, taken_on), indent=2, ensure_ascii=False)
        wanted.json.write_text(text + "\n")
    broken = [name for name, figure in figures.items() if figure is None]
    if broken:
        say(f"broken, see above: {', '.join(broken)}")
    return 1 if broken else 0


def _measure(parts: Ground, names: Sequence[str], rounds: int | None) -> dict[str, Figure | None]:
    """Each row's figure; None where it broke, so that the others are still told."""
    figures: dict[str, Figure | None] = {}
    for name in names:
        row = ROWS[name]
        say(f"measuring {name}")
        try:
            figures[name] = row.measure(parts, rounds or row.rounds)
        except (BrokenError, PartError) as error:
            say(f"{name} broke: {error}")
            figures[name] = None
    return figures


def _machine(parts: Ground) -> dict[str, Any]:
    taken_on = machine.describe(parts.client)
    if taken_on["load"] > machine.BUSY:
        say(f"this machine is busy (load {taken_on['load']}): figures mean little now")
    return taken_on


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure Lading beside the bare tools."
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=ROWS,
        metavar="NAME",
        help=f"only this row; may be given again. One of {', '.join(ROWS)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    parser.add_argument(
        "--rounds", type=_positive, metavar="N", help="measure each side so often, for a quick look"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        message = "at least 1"
        raise argparse.ArgumentTypeError(message)
    return number


if __name__ == "__main__":
    sys.exit(main())
