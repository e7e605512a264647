"""How many signed push deliveries a second are accepted and durable."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.figures import Figure, interleaved, median
from benchmarks.ground import Ground
from benchmarks.machine import two_cores
from benchmarks.processes import BrokenError, checked, started, until
from benchmarks.server import SECRET, free_port
from pipelines.values import Value
from scripts.parts.errors import program
from tests.doubles import Delivery

SCRIPT = Path(__file__).with_name("push.lua")
CONNECTIONS = 16
SECONDS = 6
WARM_UP = 1
SIZE = 8 * 1024
PUSHES = 64
"""Different pushes, sent in turn: the first of each is a happening, the others tell it again."""
RATE = 3000.0
P99 = 25.0  # ms


class Load(Value):
    """What wrk saw; latencies in ms."""

    accepted: int
    refused: int
    broken: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Accepted deliveries a second."""
        return self.accepted / self.seconds


def measure(ground: Ground, rounds: int) -> Figure:
    """The row."""
    core, other_core = two_cores()
    pushes = ground.folder / "pushes.lua"
    pushes.write_bytes(as_lua(push_deliveries(ground)))

    ours, bare = interleaved(
        rounds,
        lambda: _ours(ground, pushes, core, other_core),
        lambda: _bare(ground, pushes, core, other_core),
    )

    rate, p99 = median([load.rate for load in ours]), median([load.p99 for load in ours])
    bare_rate, bare_p99 = (
        median([load.rate for load in bare]),
        median([load.p99 for load in bare]),
    )
    return Figure(
        name="webhooks",
        work=f"signed {SIZE // 1024} KB push deliveries accepted and durable, {CONNECTIONS} "
        "keep-alive clients, one process on one core",
        to_reach=f"{RATE:,.0f}/s, p99 ≤ {P99:.0f} ms",
        ours=f"{rate:,.0f}/s, p99 {p99:.1f} ms",
        bare=f"{bare_rate:,.0f}/s, p99 {bare_p99:.1f} ms",
        ratio=rate / bare_rate,
        reached=rate >= RATE and p99 <= P99,
        rounds=rounds,
        note=(
            f"the bare tool is a Starlette and uvicorn sketch that checks the signature and "
            f"groups commits; the ratio is of rates; each round {SECONDS} s; rows stored were "
            f"counted after each: {sum(load.accepted for load in ours):,} accepted, none lost"
        ),
        measured={
            "ours_per_second": tuple(load.rate for load in ours),
            "ours_p50_ms": tuple(load.p50 for load in ours),
            "ours_p99_ms": tuple(load.p99 for load in ours),
            "bare_per_second": tuple(load.rate for load in bare),
            "bare_p50_ms": tuple(load.p50 for load in bare),
            "bare_p99_ms": tuple(load.p99 for load in bare),
        },
    )


def push_deliveries(ground: Ground) -> list[Delivery]:
    """Pushes of a commit without a pipeline, so that intake works beside and no container runs."""
    project = ground.project("")
    (project.repository.work / ".lading.yml").unlink()
    sha = project.push()
    return [
        project.large_delivery(sha, ref=f"refs/heads/branch-{number}", size=SIZE)
        for number in range(PUSHES)
    ]


def as_lua(deliveries: list[Delivery]) -> bytes:
    """The deliveries as a Lua file that returns them; bodies are ASCII JSON."""
    entries = []
    for delivery in deliveries:
        headers = ", ".join(
            f"[{json.dumps(name)}] = {json.dumps(value)}"
            for name, value in delivery.headers.items()
        )
        body = delivery.body.decode()
        entries.append(f"{{headers = {{{headers}}}, body = [==[{body}]==]}},\n")
    return ("return {\n" + "".join(entries) + "}\n").encode()


def _ours(ground: Ground, pushes: Path, core: int, other_core: int) -> Load:
    with ground.server(core=core) as server:
        address = f"{server.url}/webhooks/github"
        warm = _wrk(address, pushes, "warm", seconds=WARM_UP, core=other_core)
        load = _wrk(address, pushes, "ours", seconds=SECONDS, core=other_core)
        stored = _settled(server.stored)
        check_stored(stored, accepted=warm.accepted + load.accepted)
        if server.accepted() != stored:
            message = f"the server counts {server.accepted()} answers of 202, and {stored} rows"
            raise BrokenError(message)
    return load


def _bare(ground: Ground, pushes: Path, core: int, other_core: int) -> Load:
    folder = ground.folder / f"bare-{time.monotonic_ns()}"
    folder.mkdir()
    with sketch(folder, core) as address:
        warm = _wrk(address, pushes, "warm", seconds=WARM_UP, core=other_core)
        load = _wrk(address, pushes, "bare", seconds=SECONDS, core=other_core)
        stored = _settled(lambda: _count(folder / "bare.db"))
        check_stored(stored, accepted=warm.accepted + load.accepted)
    return load


@contextlib.contextmanager
def sketch(folder: Path, core: int | None) -> Iterator[str]:
    """The bare tool with an empty database in the folder; where deliveries go."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare_webhooks", "--port", str(port)]
    command += ["--database", str(folder / "bare.db"), "--secret", SECRET]
    with started(command, log=folder / "bare.log", env=dict(os.environ), core=core) as process:

        def answers() -> bool:
            process.check()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
                return True
            return False

        until(answers, "the bare sketch answers", within=20)
        yield f"http://127.0.0.1:{port}/webhooks/github"


def _wrk(address: str, pushes: Path, prefix: str, *, seconds: int, core: int) -> Load:
    command = ["taskset", "--cpu-list", str(core), program("wrk"), "--threads", "1"]
    command += ["--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--latency"]
    command += ["--script", str(SCRIPT), address, "--", str(pushes), prefix]
    said = checked(command, env=dict(os.environ)).stdout.decode()
    found = [line for line in said.splitlines() if line.startswith("result ")]
    if len(found) != 1:
        message = f"wrk gave no result:\n{said}"
        raise BrokenError(message)
    load = Load.model_validate_json(found[0].removeprefix("result "))
    if load.refused or load.broken or not load.accepted:
        message = f"not every delivery was accepted: {load}"
        raise BrokenError(message)
    return load


def _count(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM deliveries").fetchone()[0])


def _settled(count: Callable[[], int]) -> int:
    """A count that no longer grows: what wrk left half-way has ended."""
    before, now = -1, count()
    while now != before:
        time.sleep(0.2)
        before, now = now, count()
    return now


def check_stored(stored: int, *, accepted: int) -> None:
    """Raises BrokenError where a 202 was given for what is not stored, or too much is.

    When wrk stops, one request of each connection may be stored whose answer it no longer reads;
    it stops twice.
    """
    if not accepted <= stored <= accepted + 2 * CONNECTIONS:
        message = f"{accepted} deliveries were accepted and {stored} are stored"
        raise BrokenError(message)
