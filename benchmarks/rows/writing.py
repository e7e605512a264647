"""What those who write pipelines wait for: `lading lint`, and `lading run` at home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.figures import Figure, interleaved, median, seconds, spread
from benchmarks.ground import ROOT, Ground
from benchmarks.processes import checked
from benchmarks.rows.latency import chain

LINES = 200
LINT_LIMIT = 0.05  # seconds
RUN_LIMIT = 1.5
_IN_FOLDER = "import os, sys; os.chdir(sys.argv.pop(1)); "
_MAIN = "from server.cli import main; main()"


def lint(ground: Ground, rounds: int) -> Figure:
    """Lint of a file of 200 lines, after the interpreter has loaded the command."""
    folder = ground.folder / "lint"
    folder.mkdir()
    (folder / ".lading.yml").write_text(long_pipeline())

    def ours() -> float:
        started = _python(ground, folder, "import server.cli, server.cli.lint")
        return _python(ground, folder, _MAIN, "lint", ".lading.yml") - started

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

    def ours() -> tuple[float, float]:
        started = _python(ground, folder, "import server.cli, server.cli.run")
        return _python(ground, folder, _MAIN, "run"), started

    ours()
    ground.run("true")
    taken, its = interleaved(rounds, ours, lambda: ground.run("true"))
    own = tuple(whole - start for whole, start in taken)
    ratio = median(own) / median(its)
    whole, start = (median(values) for values in zip(*taken, strict=True))
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
            f"ours {spread(own)}, bare {spread(its)}; with the interpreter's start, in which it "
            f"loads its modules ({seconds(start)}), {seconds(whole)}"
        ),
        measured={"ours_seconds": own, "bare_seconds": its},
    )


def _python(ground: Ground, folder: Path, code: str, *arguments: str) -> float:
    """Seconds that a Python process takes from its start to its end."""
    started = perf_counter()
    checked(
        [sys.executable, "-c", _IN_FOLDER + code, str(folder), *arguments],
        env={**ground.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    return perf_counter() - started


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
