"""What others notice of an engine that takes a minute for each answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx2

from benchmarks.figures import Figure, median, percentile
from benchmarks.ground import Ground, Project
from benchmarks.processes import until
from tests.parts.wire import Wire

SECONDS = 10.0
EVERY = 0.02
P99 = 100.0  # ms
ASKING = 16
"""Others who keep asking what makes the server ask the engine."""


def measure(ground: Ground, rounds: int) -> Figure:
    """The row."""
    project = ground.project(
        f"test:\n  unit:\n    image: {ground.image}\n    commands: [sleep 8]\n"
    )
    held, free = [], []
    for _ in range(rounds):
        held.append(_asked(ground, project, hold=True))
        free.append(_asked(ground, project, hold=False))
    p99 = median([percentile(one, 99) for one in held])
    usual = median([percentile(one, 99) for one in free])
    worst = max(max(one) for one in held)
    return Figure(
        name="slow-engine",
        work=f"`/healthz` while every call of the engine stays open, a step runs, two runs wait "
        f"and {ASKING} others ask `/readyz`",
        to_reach=f"p99 < {P99:.0f} ms",
        ours=f"p99 {p99:.1f} ms",
        reached=p99 < P99,
        rounds=rounds,
        note=(
            f"the worst {worst:.0f} ms; p99 {usual:.1f} ms where the engine answers; webhooks were "
            f"taken meanwhile; a question each {EVERY * 1000:.0f} ms for {SECONDS:.0f} s"
        ),
        measured={
            "held_p99_ms": tuple(percentile(one, 99) for one in held),
            "held_worst_ms": tuple(max(one) for one in held),
            "free_p99_ms": tuple(percentile(one, 99) for one in free),
        },
    )


def _asked(ground: Ground, project: Project, *, hold: bool) -> list[float]:
    """How long `/healthz` took each time, in ms."""
    wire = Wire(ground.folder / "wire.sock", ground.engine_url.removeprefix("unix://"))
    try:
        with ground.server(engine=wire.url) as server, ThreadPoolExecutor(ASKING) as others:
            shas = [project.push() for _ in range(3)]
            server.deliver(project.delivery(shas[0]))
            until(lambda: server.get("/runs/1") is not None, "the first run is there", within=60)
            if hold:
                wire.hold()
            for sha in shas[1:]:
                server.deliver(project.delivery(sha))
            end = time.monotonic() + SECONDS
            for _ in range(ASKING):
                others.submit(_keep_asking, f"{server.url}/readyz", end)
            with httpx2.Client(timeout=60) as client:
                taken = list(_times(client, f"{server.url}/healthz", end))
            wire.go_on()
            for sha in shas:
                project.final(sha)
            ground.cleaned()
        return taken
    finally:
        wire.close()
        (ground.folder / "wire.sock").unlink()


def _times(client: httpx2.Client, url: str, end: float) -> list[float]:
    taken = []
    while time.monotonic() < end:
        begun = time.perf_counter()
        client.get(url).raise_for_status()
        taken.append((time.perf_counter() - begun) * 1000)
        time.sleep(EVERY)
    return taken


def _keep_asking(url: str, end: float) -> None:
    with httpx2.Client(timeout=60) as client:
        while time.monotonic() < end:
            client.get(url)
            time.sleep(EVERY * 10)
