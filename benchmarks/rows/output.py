"""A step that writes a hundred megabytes of lines, and what the server needs of memory for it."""

from __future__ import annotations

import time

from benchmarks.figures import Figure, interleaved, median, megabytes, memory, seconds, spread
from benchmarks.ground import Ground, Project, delivered_to_final, run_number
from benchmarks.processes import BrokenError
from benchmarks.server import Server

BYTES = 100_000_000
LINE = "x" * 99
COMMAND = f"yes {LINE} | head -c {BYTES}"
STEP = "test.chatty"
LIMIT = 1.1
IDLE, BUSY = 110.0, 160.0  # MB
QUIET_SECONDS = 3.0


def stored(ground: Ground, rounds: int) -> Figure:
    """The output in the log store against `docker run` into a file."""
    project = ground.project(_definition(ground.image, COMMAND))
    with ground.server() as server:
        ours, bare = interleaved(
            rounds, lambda: _ours(ground, server, project), lambda: _bare(ground)
        )
    whole, steps = [one for one, _ in ours], [step for _, step in ours]
    ratio = median(whole) / median(bare)
    return Figure(
        name="output",
        work="100 MB of log lines from a step, stored (push delivery to final status)",
        to_reach=f"≤ {LIMIT:.1f} × `docker run … > file`",
        ours=seconds(median(whole)),
        bare=seconds(median(bare)),
        ratio=ratio,
        reached=ratio <= LIMIT,
        rounds=rounds,
        note=(
            f"ours {spread(whole)}, bare {spread(bare)}; the step alone took "
            f"{seconds(median(steps))}; every byte was found in the log"
        ),
        measured={
            "ours_seconds": tuple(whole),
            "ours_step_seconds": tuple(steps),
            "bare_seconds": bare,
        },
    )


def resident(ground: Ground, rounds: int) -> Figure:
    """The server's memory; each round has a fresh server."""
    quiet = ground.project(_definition(ground.image, "true"))
    chatty = ground.project(_definition(ground.image, COMMAND))
    taken = [_memory(ground, quiet, chatty) for _ in range(rounds)]
    idle, busy = median([one for one, _ in taken]), median([one for _, one in taken])
    return Figure(
        name="memory",
        work="resident memory of the server, idle / during the 100 MB log",
        to_reach=f"{IDLE:.0f} MB / {BUSY:.0f} MB",
        ours=f"{memory(round(idle))} / {memory(round(busy))}",
        reached=megabytes(round(idle)) <= IDLE and megabytes(round(busy)) <= BUSY,
        rounds=rounds,
        note=(
            f"idle is {QUIET_SECONDS:.0f} s after a first run has ended; the second figure is the "
            "highest that the system saw while the log came"
        ),
        measured={
            "idle_kib": tuple(float(one) for one, _ in taken),
            "peak_kib": tuple(float(one) for _, one in taken),
        },
    )


def _ours(ground: Ground, server: Server, project: Project) -> tuple[float, float]:
    """Seconds of the whole way, and of the step alone."""
    sha = project.push()
    whole = delivered_to_final(server, project, [sha])
    run = run_number(project.final(sha))
    _check_bytes(server, run)
    ground.cleaned()
    return whole, server.step_seconds(run)


def _bare(ground: Ground) -> float:
    path = ground.folder / "bare.log"
    with path.open("wb") as file:
        taken = ground.run("sh", "-c", COMMAND, into=file)
    size = path.stat().st_size
    path.unlink()
    if size != BYTES:
        message = f"`docker run` wrote {size} bytes, not {BYTES}"
        raise BrokenError(message)
    return taken


def _check_bytes(server: Server, run: int) -> None:
    """The command's echo, then every byte; the file goes, so that the disk stays free."""
    path = server.log_file(run, STEP)
    size = path.stat().st_size
    expected = len(f"$ {COMMAND}\n") + BYTES
    if size != expected:
        message = f"{size} bytes of the step's output are stored, not {expected}"
        raise BrokenError(message)
    path.unlink()


def _memory(ground: Ground, quiet: Project, chatty: Project) -> tuple[int, int]:
    with ground.server() as server:
        delivered_to_final(server, quiet, [quiet.push()])
        ground.cleaned()
        time.sleep(QUIET_SECONDS)
        idle = server.process.resident()
        server.process.forget_peak()
        delivered_to_final(server, chatty, [chatty.push()])
        busy = server.process.peak()
    return idle, busy


def _definition(image: str, command: str) -> str:
    return f"test:\n  chatty:\n    image: {image}\n    commands:\n      - {command}\n"
