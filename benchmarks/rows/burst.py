"""10,000 pushes at once: answered, none lost, little memory, and how long until all are decided."""

from __future__ import annotations

import time

from benchmarks.figures import Figure, interleaved, median, megabytes, seconds
from benchmarks.ground import Ground
from benchmarks.machine import two_cores
from benchmarks.processes import BrokenError, until
from benchmarks.rows.webhooks import SIZE, sketch
from benchmarks.server import HOST, Server
from pipelines.values import Value
from tests.doubles import Delivery
from tests.parts.burst import histories, send

PROJECTS, BRANCHES, PUSHES = 4, 5, 500
DELIVERIES = PROJECTS * BRANCHES * PUSHES
CONNECTIONS = 100
ANSWERED = 10.0  # seconds
MEMORY = 2.0  # times idle
DECIDED_WITHIN = 900.0  # seconds; later it is broken
QUIET_SECONDS = 3.0
LED_TO_NOTHING = """deliveries
LEFT JOIN decisions ON decisions.delivery = deliveries.id
LEFT JOIN runs ON runs.decision = decisions.id
WHERE runs.id IS NULL"""
NEWEST = "(SELECT max(id) FROM runs GROUP BY repository, branch)"


class Burst(Value):
    """One burst."""

    answered: float
    """Seconds from the first byte sent to the last answer."""
    decided: float
    """Seconds from the last answer until no delivery waited."""
    idle: int
    """KiB."""
    peak: int
    """KiB, at the most, until everything was decided."""


def measure(ground: Ground, rounds: int) -> Figure:
    """The row."""
    core, _ = two_cores()
    deliveries = _deliveries(ground)
    ours, bare = interleaved(
        rounds, lambda: _ours(ground, deliveries), lambda: _bare(ground, deliveries, core)
    )
    answered = median([one.answered for one in ours])
    decided = median([one.decided for one in ours])
    growth = max(one.peak / one.idle for one in ours)
    return Figure(
        name="burst",
        work=f"{DELIVERIES:,} signed {SIZE // 1024} KB pushes to {PROJECTS * BRANCHES} branches "
        "in one burst: all answered; memory at most, by idle",
        to_reach=f"≤ {ANSWERED:.0f} s; < {MEMORY:.0f} × idle",
        ours=f"{seconds(answered)}; {growth:.2f} ×",
        bare=seconds(median(bare)),
        ratio=answered / median(bare),
        reached=answered <= ANSWERED and growth < MEMORY,
        rounds=rounds,
        note=(
            f"{CONNECTIONS} keep-alive clients; all decided {seconds(decided)} after the last "
            f"answer ({DELIVERIES / decided:,.0f} a second), with a run for each and every run but "
            f"the newest of a branch superseded; memory idle "
            f"{megabytes(round(median([one.idle for one in ours]))):.0f} MB; the bare tool is the "
            "sketch of the row webhooks, which decides nothing"
        ),
        measured={
            "ours_answered_seconds": tuple(one.answered for one in ours),
            "ours_decided_seconds": tuple(one.decided for one in ours),
            "idle_kib": tuple(float(one.idle) for one in ours),
            "peak_kib": tuple(float(one.peak) for one in ours),
            "bare_answered_seconds": bare,
        },
    )


def pipeline(image: str) -> str:
    """A pipeline that builds only the newest push of a branch."""
    return (
        "concurrency: {cancel_in_progress: true}\n"
        f"test:\n  unit:\n    image: {image}\n    commands: ['true']\n"
    )


def _deliveries(ground: Ground) -> list[Delivery]:
    """In the order people would push: one to each branch of each project, then again."""
    definition = pipeline(ground.image)
    waves = []
    for _ in range(PROJECTS):
        project = ground.project(definition)
        pushes = histories(
            project.repository, {".lading.yml": definition}, branches=BRANCHES, pushes=PUSHES
        )
        waves.append(
            [
                project.large_delivery(push.sha, ref=push.ref, before=push.before, size=SIZE)
                for push in pushes
            ]
        )
    return [delivery for wave in zip(*waves, strict=True) for delivery in wave]


def _ours(ground: Ground, deliveries: list[Delivery]) -> Burst:
    with ground.server() as server:
        time.sleep(QUIET_SECONDS)
        idle = server.process.resident()
        server.process.forget_peak()
        answered = _sent(f"{server.url}/webhooks/{HOST}", deliveries)
        begun = time.perf_counter()
        until(
            lambda: server.count("deliveries WHERE state != 'decided'") == 0,
            "every delivery is decided",
            within=DECIDED_WITHIN,
            pause=0.2,
        )
        decided = time.perf_counter() - begun
        peak = server.process.peak()
        _check(server)
    return Burst(answered=answered, decided=decided, idle=idle, peak=peak)


def _sent(address: str, deliveries: list[Delivery]) -> float:
    sent = send(address, deliveries, connections=CONNECTIONS)
    if sent.answers != {202: len(deliveries)}:
        message = f"not every delivery was accepted: {dict(sent.answers)}"
        raise BrokenError(message)
    return sent.seconds


def _check(server: Server) -> None:
    """Raises BrokenError where a delivery led to nothing, or an outdated run was kept."""
    until(
        lambda: server.count("runs WHERE state IN ('waiting', 'running')") == 0,
        "every run has ended",
        within=DECIDED_WITHIN,
        pause=0.2,
    )
    lost, runs = server.count(LED_TO_NOTHING), server.count("runs")
    kept = server.count(f"runs WHERE id NOT IN {NEWEST} AND state != 'cancelled'")
    newest = server.count(f"runs WHERE id IN {NEWEST} AND state = 'success'")
    if lost or runs != DELIVERIES or newest != PROJECTS * BRANCHES:
        message = f"{lost} deliveries led to nothing; {runs} runs; {newest} newest ones succeeded"
        raise BrokenError(message)
    if kept > DELIVERIES // 20:
        message = f"{kept} outdated runs ran to their end"
        raise BrokenError(message)


def _bare(ground: Ground, deliveries: list[Delivery], core: int) -> float:
    folder = ground.folder / f"bare-{time.monotonic_ns()}"
    folder.mkdir()
    with sketch(folder, core) as address:
        return _sent(address, deliveries)
