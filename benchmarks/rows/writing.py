"""What those who write pipelines wait for: lint, plan, help, and `lading run` at home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks.figures import Figure, interleaved, median, seconds, spread
from benchmarks.ground import ROOT, Ground
from benchmarks.processes import BrokenError, checked
from benchmarks.rows.latency import chain

LINES = 200
LINT_LIMIT = 0.05  # seconds
STEPS = 1000
PLAN_LIMIT = 0.1  # seconds
HELP_LIMIT = 0.15  # seconds
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


_PLANNING = """\
import sys, time
from datetime import UTC, datetime
from pipelines.events import Event, EventKind
from pipelines.parsing import parse
from pipelines.planning import PlanDefaults, plan
definition = parse(sys.stdin.buffer.read(), ".lading.yml").definition
event = Event(
    kind=EventKind.PUSH, repository="a/b", sha="0" * 40, ref="refs/heads/main", branch="main"
)
begun = time.perf_counter()
made = plan(definition, event, committed_at=datetime.now(UTC), defaults=PlanDefaults(timeout=60.0))
print(len(made.steps), time.perf_counter() - begun)
"""


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


def planning(ground: Ground, rounds: int) -> Figure:
    """A graph of a thousand steps, each of which needs the one before, from definition to plan."""
    steps = "".join(
        f"  s{n}: {{image: a, commands: b, needs: [{f'test.s{n - 1}' if n else ''}]}}\n"
        for n in range(STEPS)
    )
    command = [sys.executable, "-c", _PLANNING]
    env = {**ground.environment, "PYTHONPATH": str(ROOT)}

    def ours() -> float:
        done = subprocess.run(
            command, env=env, input=f"test:\n{steps}", capture_output=True, text=True, check=True
        )
        count, took = done.stdout.split()
        if int(count) != STEPS:
            message = f"{count} steps were planned, not {STEPS}"
            raise BrokenError(message)
        return float(took)

    ours()
    took, _ = interleaved(rounds, ours, lambda: None)
    return Figure(
        name="plan",
        work=f"planning a graph of {STEPS:,} steps, the first plan of a process",
        to_reach=f"≤ {seconds(PLAN_LIMIT)}",
        ours=seconds(median(took)),
        reached=median(took) <= PLAN_LIMIT,
        rounds=rounds,
        note=spread(took),
        measured={"ours_seconds": took},
    )


def helping(ground: Ground, rounds: int) -> Figure:
    """`lading --help`, the whole process, beside an interpreter that does nothing."""
    env = {**ground.environment, "PYTHONPATH": str(ROOT)}

    def timed(*arguments: str) -> float:
        started = perf_counter()
        checked([sys.executable, *arguments], env=env, stdout=subprocess.DEVNULL)
        return perf_counter() - started

    def ours() -> float:
        return timed("-m", "server.cli", "--help")

    ours()
    took, bare = interleaved(rounds, ours, lambda: timed("-c", "pass"))
    ratio = median(took) / median(bare)
    return Figure(
        name="help",
        work="`lading --help`, from the process's start to its end",
        to_reach=f"≤ {seconds(HELP_LIMIT)}",
        ours=seconds(median(took)),
        bare=seconds(median(bare)),
        ratio=ratio,
        reached=median(took) <= HELP_LIMIT,
        rounds=rounds,
        note=f"ours {spread(took)}, bare {spread(bare)}",
        measured={"ours_seconds": took, "bare_seconds": bare},
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
