"""What those who write pipelines wait for: `lading lint`, and `lading run` at home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks.figures import Figure, interleaved, median, seconds, spread
from benchmarks.ground import ROOT, Ground
from benchmarks.processes import checked
from benchmarks.rows.latency import chain

LINES = 200
LINT_LIMIT = 0.05  # seconds
RUN_LIMIT = 1.5
_COMMAND = """\
import os, sys, time
os.chdir(sys.argv.pop(1))
import server.cli
import server.cli.{module}
loaded = time.perf_counter()
try:
    server.cli.main()
except SystemExit as ended:
    if ended.code:
        raise
print(time.perf_counter() - loaded, file=sys.stderr)
"""
"""Runs a command, and tells how long it took once its modules were loaded."""


class Timed(NamedTuple):
    """One process that runs a command."""

    command: float
    """Seconds for what it was asked, its modules being loaded."""
    process: float
    """Seconds from its start to its end."""


def lint(ground: Ground, rounds: int) -> Figure:
    """Lint of a file of 200 lines, once its modules are loaded."""
    folder = ground.folder / "lint"
    folder.mkdir()
    (folder / ".lading.yml").write_text(long_pipeline())

    def ours() -> float:
        return _timed(ground, folder, "lint", ".lading.yml").command

    ours()
    took, _ = interleaved(rounds, ours, lambda: None)
    return Figure(
        name="lint",
        work=f"`lading lint` of a file of {LINES} lines, the interpreter's start apart",
        to_reach=f"≤ {seconds(LINT_LIMIT)}",
        ours=seconds(median(took)),
        reached=median(took) <= LINT_LIMIT,
        rounds=rounds,
        note=spread(took),
        measured={"ours_seconds": took},
    )


def local_run(ground: Ground, rounds: int) -> Figure:
    """`lading run` of one step against one container."""
    folder = ground.folder / "local-run"
    folder.mkdir()
    (folder / ".lading.yml").write_text(chain(ground.image, steps=1))
    checked(
        ["git", "init", "--quiet", "--initial-branch=main", str(folder)], env=ground.environment
    )

    def ours() -> Timed:
        return _timed(ground, folder, "run")

    ours()
    ground.run("true")
    taken, its = interleaved(rounds, ours, lambda: ground.run("true"))
    own = tuple(timed.command for timed in taken)
    whole = median([timed.process for timed in taken])
    ratio = median(own) / median(its)
    return Figure(
        name="local-run",
        work="`lading run` of a one-step pipeline (`true`), the interpreter's start apart",
        to_reach=f"≤ {RUN_LIMIT:.1f} × `docker run --rm … true`",
        ours=seconds(median(own)),
        bare=seconds(median(its)),
        ratio=ratio,
        reached=ratio <= RUN_LIMIT,
        rounds=rounds,
        note=(
            f"ours {spread(own)}, bare {spread(its)}; the whole process, with the interpreter's "
            f"start and the modules it loads, {seconds(whole)}"
        ),
        measured={"ours_seconds": own, "bare_seconds": its},
    )


def _timed(ground: Ground, folder: Path, command: str, *arguments: str) -> Timed:
    started = perf_counter()
    code = _COMMAND.format(module=command)
    done = checked(
        [sys.executable, "-c", code, str(folder), command, *arguments],
        env={**ground.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    return Timed(command=float(done.stderr), process=perf_counter() - started)


def long_pipeline() -> str:
    """A file of 200 lines, as a large project's may be."""
    lines = ["name: large", "build:", "  web: {}", "test:"]
    number = 0
    while len(lines) + 7 <= LINES:
        number += 1
        lines += [
            f"  step{number}:",
            "    image: python:3.12-slim",
            "    needs: [build.web]",
            f"    env: {{MODE: ci, NUMBER: {number}}}",
            "    commands:",
            "      - pip install --quiet -r requirements.txt",
            f"      - pytest -q tests/part{number}",
        ]
    lines += ["# the end"] * (LINES - len(lines))
    return "\n".join(lines) + "\n"
