"""`scripts/chaos`: kill the server again and again, and look whether anything was lost."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.havoc import chaos
from scripts.havoc.stage import stage
from scripts.parts import base_image
from scripts.parts.engine import engine
from scripts.parts.errors import PartError, say

STATE = Path(__file__).parents[2] / ".lading"


def main() -> int:
    """Exit code: 0 when nothing was lost, 1 with the details when anything is off."""
    arguments = _arguments()
    started = time.monotonic()
    STATE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=STATE))
    try:
        result = _run(arguments, folder)
    except PartError as error:
        print(f"\nThe chaos failed to begin. {error}", file=sys.stderr)
        return 1
    for fault in result.faults[:50]:
        print(f"  {fault}")
    print(closing(result, time.monotonic() - started), flush=True)
    if result.faults:
        print(f"everything is kept in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Push all the time, kill the server again and again, see if anything is lost.",
    )
    parser.add_argument("--kills", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument(
        "--minutes", type=float, default=12.0, help="stop killing after these (default: 12)"
    )
    parser.add_argument(
        "--deliveries-only",
        action="store_true",
        help="deliveries that start nothing, no engine: many more kills in the same time",
    )
    return parser.parse_args()


def _run(arguments: argparse.Namespace, folder: Path) -> chaos.Result:
    bounds = {"kills": arguments.kills, "seed": arguments.seed, "minutes": arguments.minutes}
    if arguments.deliveries_only:
        with stage(folder, engine=None) as nothing_runs:
            return chaos.with_deliveries(nothing_runs, say=say, **bounds)
    with engine(STATE / "engine") as url, stage(folder, engine=url) as everything:
        image = base_image.busybox(url)
        return chaos.with_everything(everything, image, say=say, **bounds)


def closing(result: chaos.Result, seconds: float) -> str:
    """The one line with the figures."""
    ends = result.ends
    return (
        f"{ends.kills} kills ({sum(ends.at_points.values())} at named points) and {ends.polite} "
        f"times SIGTERM in {seconds:.0f} s; {result.sent} sent, {result.runs} runs; "
        f"wrong or lost: {len(result.faults)}; seconds from start, median/max: "
        f"answering {_spread(ends.answering)}, waiting work going on {_spread(ends.waiting)}, "
        f"running steps adopted {_spread(ends.adopted)}"
    )


def _spread(times: Sequence[float]) -> str:
    if not times:
        return "-"
    return f"{statistics.median(times):.2f}/{max(times):.2f} ({len(times)})"


if __name__ == "__main__":
    sys.exit(main())
