"""Webhooks at a steady pace while a step writes a hundred megabytes and others read them."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.figures import Figure, interleaved, median
from benchmarks.ground import Ground, Project, run_number
from benchmarks.processes import BrokenError, checked, until
from benchmarks.rows.webhooks import SIZE, push_deliveries, sketch
from benchmarks.server import Server
from pipelines.values import Value

RATE = 200
SECONDS = 10
READERS = 2
P99 = 200.0  # ms
BYTES = 100_000_000
PIECE = 1_000_000
WRITE = (
    f"i=0; while [ $i -lt {BYTES // PIECE} ]; do i=$((i+1)); "
    f"yes {'x' * 99} | head -c {PIECE}; usleep 80000; done"
)
STEP = "test.chatty"


class Pace(Value):
    """What the sender saw; latencies in ms."""

    sent: int
    refused: int
    p50: float
    p99: float
    worst: float


def measure(ground: Ground, rounds: int) -> Figure:
    """The row."""
    pushes = ground.folder / "pushes.json"
    pushes.write_text(
        json.dumps([(one.headers, one.body.decode()) for one in push_deliveries(ground)])
    )
    project = ground.project(
        f"test:\n  chatty:\n    image: {ground.image}\n    commands:\n      - {WRITE}\n"
    )
    ours, bare = interleaved(
        rounds, lambda: _ours(ground, project, pushes), lambda: _bare(ground, pushes)
    )
    p99, bare_p99 = median([one.p99 for one in ours]), median([one.p99 for one in bare])
    return Figure(
        name="busy-webhooks",
        work=f"{RATE} signed {SIZE // 1024} KB deliveries a second, evenly, while a step writes "
        f"100 MB that {READERS} readers follow through the API",
        to_reach=f"p99 ≤ {P99:.0f} ms",
        ours=f"p99 {p99:.1f} ms",
        bare=f"p99 {bare_p99:.1f} ms",
        ratio=p99 / bare_p99,
        reached=p99 <= P99,
        rounds=rounds,
        note=(
            f"{sum(one.sent for one in ours):,} sent, all accepted and stored; median "
            f"{median([one.p50 for one in ours]):.1f} ms (bare "
            f"{median([one.p50 for one in bare]):.1f} ms), the worst "
            f"{max(one.worst for one in ours):.0f} ms (bare "
            f"{max(one.worst for one in bare):.0f} ms); counted from when each was due; every "
            "reader got every byte; the bare tool is the sketch of the row webhooks beside a "
            "`docker run` of the same command into a file"
        ),
        measured={
            "ours_p50_ms": tuple(one.p50 for one in ours),
            "ours_p99_ms": tuple(one.p99 for one in ours),
            "ours_worst_ms": tuple(one.worst for one in ours),
            "bare_p50_ms": tuple(one.p50 for one in bare),
            "bare_p99_ms": tuple(one.p99 for one in bare),
            "bare_worst_ms": tuple(one.worst for one in bare),
        },
    )


def _ours(ground: Ground, project: Project, pushes: Path) -> Pace:
    with ground.server() as server, ThreadPoolExecutor(READERS) as readers:
        sha = project.push()
        server.deliver(project.delivery(sha))
        until(lambda: _running(server), "the step writes", within=60)
        reading = [readers.submit(server.read, 1, STEP) for _ in range(READERS)]
        pace = _paced(f"{server.url}/webhooks/github", pushes, "busy")
        got = {one.result() for one in reading}
        whole = len(f"$ {WRITE}\n") + BYTES
        if got != {whole}:
            message = f"readers got {got} bytes, not {whole}"
            raise BrokenError(message)
        if run_number(project.final(sha)) != 1 or server.stored() != pace.sent + 1:
            message = f"{pace.sent + 1} deliveries were accepted and {server.stored()} are stored"
            raise BrokenError(message)
    return pace


def _running(server: Server) -> bool:
    run = server.get("/runs/1")
    return run is not None and run["steps"][0]["running_at"] is not None


def _bare(ground: Ground, pushes: Path) -> Pace:
    folder = ground.folder / f"bare-{time.monotonic_ns()}"
    folder.mkdir()
    with sketch(folder, None) as address, (folder / "output").open("wb") as file:
        writing = threading.Thread(target=lambda: ground.run("sh", "-c", WRITE, into=file))
        writing.start()
        pace = _paced(address, pushes, "bare")
        writing.join()
    (folder / "output").unlink()
    return pace


def _paced(url: str, pushes: Path, prefix: str) -> Pace:
    command = [sys.executable, "-m", "benchmarks.paced", "--url", url, "--pushes", str(pushes)]
    command += ["--prefix", prefix, "--rate", str(RATE), "--seconds", str(SECONDS)]
    pace = Pace.model_validate_json(checked(command, env=dict(os.environ)).stdout)
    if pace.refused or pace.sent != RATE * SECONDS:
        message = f"not every delivery was accepted: {pace}"
        raise BrokenError(message)
    return pace
