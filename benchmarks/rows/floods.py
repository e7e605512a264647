"""A step that writes 1 GB at full speed: what the server needs for it, and what others notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import datetime

from benchmarks.figures import (
    Figure,
    interleaved,
    median,
    megabytes,
    memory,
    percentile,
    seconds,
    spread,
)
from benchmarks.ground import Ground, Project, delivered_to_final, run_number
from benchmarks.processes import BrokenError, until
from benchmarks.rows.output import QUIET_SECONDS
from benchmarks.server import Server
from pipelines.values import Value

BYTES = 1_000_000_000
FLOOD = f"yes {'x' * 99} | head -c {BYTES}"
LIMIT = "64 MiB"
GROWTH = 50.0  # MB
LATEST = 1.0  # seconds
TICKS = "while [ ! -e over ]; do echo at $(cut -d ' ' -f 1 /proc/uptime); usleep 50000; done"


class Flood(Value):
    """What was seen of one flood."""

    took: float
    growth: int = 0
    """KiB."""
    late: tuple[float, ...]
    """Seconds from another step's line to its reader."""


def measure(ground: Ground, rounds: int) -> Figure:
    """The row."""
    quiet = ground.project(_definition(ground, calm="true"))
    both = ground.project(
        _definition(ground, flood=f"{FLOOD}; touch over", calm=f"rm -f over; {TICKS}")
    )
    ours, bare = interleaved(rounds, lambda: _ours(ground, quiet, both), lambda: _bare(ground))
    growth = median([one.growth for one in ours])
    worst = median([max(one.late) for one in ours])
    late, bare_late = (
        [at for one in ours for at in one.late],
        [at for one in bare for at in one.late],
    )
    return Figure(
        name="flood",
        work=f"a step floods 1 GB past its limit of {LIMIT}: memory the server grows by / the "
        "latest line of another step",
        to_reach=f"{GROWTH:.0f} MB / {seconds(LATEST)}",
        ours=f"{memory(round(growth))} / {seconds(worst)}",
        bare=f"– / {seconds(median([max(one.late) for one in bare]))}",
        reached=megabytes(round(growth)) < GROWTH and worst < LATEST,
        rounds=rounds,
        note=(
            f"lines came after {seconds(median(late))} at the median, p99 "
            f"{seconds(percentile(late, 99))} (bare {seconds(median(bare_late))}, "
            f"{seconds(percentile(bare_late, 99))}), to 10 ms; the flood took ours "
            f"{spread([one.took for one in ours])}, bare {spread([one.took for one in bare])}"
        ),
        measured={
            "ours_seconds": tuple(one.took for one in ours),
            "ours_growth_kib": tuple(float(one.growth) for one in ours),
            "ours_latest_seconds": tuple(max(one.late) for one in ours),
            "bare_seconds": tuple(one.took for one in bare),
            "bare_latest_seconds": tuple(max(one.late) for one in bare),
        },
    )


def _ours(ground: Ground, quiet: Project, both: Project) -> Flood:
    with ground.server(log_limit=LIMIT.replace(" ", "")) as server:
        delivered_to_final(server, quiet, [quiet.push()])
        ground.cleaned()
        time.sleep(QUIET_SECONDS)
        if not server.token:  # made now, so that nobody waits for it
            raise BrokenError("the server gave no token")
        before = server.process.resident()
        server.process.forget_peak()
        sha = both.push()
        late: list[float] = []
        reader = threading.Thread(target=lambda: late.extend(_lateness(_followed(server, 2))))
        reader.start()
        delivered_to_final(server, both, [sha])
        growth = server.process.peak() - before
        reader.join(60)
        run = run_number(both.final(sha))
        _check(server, run)
        steps = {step["key"]: step for step in server.get(f"/runs/{run}")["steps"]}
        took = _took(steps["test.flood"])
    return Flood(took=took, growth=growth, late=tuple(late))


def _followed(server: Server, run: int) -> Iterable[str]:
    until(lambda: server.get(f"/runs/{run}") is not None, "the run is there", within=30)
    return server.lines(run, "test.calm")


def _bare(ground: Ground) -> Flood:
    """Two `docker run`: one floods into the void, the other one's lines are read."""
    late: list[float] = []
    flooding = threading.Thread(target=lambda: took.append(ground.run("sh", "-c", FLOOD)))
    took: list[float] = []
    flooding.start()
    endless = TICKS.replace("[ ! -e over ]", "true")
    lines = ground.follow("timeout", "120", "sh", "-c", endless)
    for at in _lateness(lines):
        late.append(at)
        if not flooding.is_alive():
            break
    flooding.join()
    return Flood(took=took[0], late=tuple(late))


def _lateness(lines: Iterable[str]) -> Iterable[float]:
    """How long ago each line says that it was written; containers share the host's uptime."""
    for line in lines:
        if line.startswith("at "):
            yield max(time.clock_gettime(time.CLOCK_BOOTTIME) - float(line.split()[1]), 0.0)


def _took(step: dict[str, str]) -> float:
    begun, ended = (datetime.fromisoformat(step[name]) for name in ("running_at", "ended_at"))
    return (ended - begun).total_seconds()


def _check(server: Server, run: int) -> None:
    """The log ends with how much was not kept, to the byte."""
    written = server.log_file(run, "test.flood").read_bytes()
    kept = len(written[: 64 * 2**20])
    echo = len(f"$ {FLOOD}; touch over\n")
    wanted = f"[lading] {BYTES + echo - kept:,} bytes of output were not kept\n"
    if not written.endswith(wanted.encode()):
        message = f"the flood's log ends with {written[-200:]!r}, not with {wanted!r}"
        raise BrokenError(message)


def _definition(ground: Ground, **steps: str) -> str:
    lines = ["test:"]
    for name, command in steps.items():
        lines += [f"  {name}:", f"    image: {ground.image}", "    commands:", f"      - {command}"]
    return "\n".join(lines) + "\n"
