"""From a push's delivery to the final status beside its commit, with steps that do nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from benchmarks.figures import Figure, interleaved, median, seconds, spread
from benchmarks.ground import Ground, Project, delivered_to_final
from benchmarks.server import Server

SLOTS = 2
RUNS = 20
STEPS = 10


def one_step(ground: Ground, rounds: int) -> Figure:
    """A pipeline of one step against one container."""
    return _compared(
        ground,
        rounds,
        name="one-step",
        work="push delivery to final status of a one-step pipeline (`true`)",
        limit=1.5,
        than="`docker run --rm … true`",
        pushes=1,
        definition=chain(ground.image, steps=1),
        bare=lambda: ground.run("true"),
    )


def ten_steps(ground: Ground, rounds: int) -> Figure:
    """Ten steps, one after the other, against ten containers."""
    return _compared(
        ground,
        rounds,
        name="ten-steps",
        work=f"push delivery to final status of {STEPS} one-command steps in a row",
        limit=1.0,
        than=f"{STEPS} `docker run --rm`",
        pushes=1,
        definition=chain(ground.image, steps=STEPS),
        bare=lambda: sum(ground.run("true") for _ in range(STEPS)),
    )


def twenty_runs(ground: Ground, rounds: int) -> Figure:
    """Twenty one-step runs that arrive at once, against their containers."""
    return _compared(
        ground,
        rounds,
        name="twenty-runs",
        work=f"{RUNS} one-step runs on {SLOTS} slots, first delivery to last final status",
        limit=1.2,
        than=f"{RUNS} `docker run --rm` on {SLOTS} slots",
        pushes=RUNS,
        definition=chain(ground.image, steps=1),
        bare=lambda: _side_by_side(ground),
    )


def _compared(
    ground: Ground,
    rounds: int,
    *,
    name: str,
    work: str,
    limit: float,
    than: str,
    pushes: int,
    definition: str,
    bare: Callable[[], float],
) -> Figure:
    project = ground.project(definition)
    with ground.server() as server:
        _ours(ground, server, project, 1)  # the first run of a server makes its network
        bare()
        ours, its = interleaved(rounds, lambda: _ours(ground, server, project, pushes), bare)
    ratio = median(ours) / median(its)
    return Figure(
        name=name,
        work=work,
        to_reach=f"≤ {limit:.1f} × {than}",
        ours=seconds(median(ours)),
        bare=seconds(median(its)),
        ratio=ratio,
        reached=ratio <= limit,
        rounds=rounds,
        note=f"ours {spread(ours)}, bare {spread(its)}",
        measured={"ours_seconds": ours, "bare_seconds": its},
    )


def _ours(ground: Ground, server: Server, project: Project, pushes: int) -> float:
    shas = [project.push() for _ in range(pushes)]
    taken = delivered_to_final(server, project, shas)
    ground.cleaned()
    return taken


def _side_by_side(ground: Ground) -> float:
    begun = perf_counter()
    with ThreadPoolExecutor(SLOTS) as slots:
        for done in [slots.submit(ground.run, "true") for _ in range(RUNS)]:
            done.result()
    return perf_counter() - begun


def chain(image: str, *, steps: int) -> str:
    """A pipeline of steps that do nothing, each waiting for the one before."""
    lines = ["test:"]
    for number in range(1, steps + 1):
        before = f"test.step{number - 1}" if number > 1 else ""
        lines += [
            f"  step{number}:",
            f"    image: {image}",
            f"    needs: [{before}]",
            '    commands: ["true"]',
        ]
    return "\n".join(lines) + "\n"
