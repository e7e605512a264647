"""How soon a step starts once the last step that it needs has ended."""

from __future__ import annotations

from benchmarks.figures import Figure, median, percentile, seconds, spread
from benchmarks.ground import Ground, delivered_to_final, run_number
from benchmarks.rows.latency import chain

STEPS = 10
AT_MOST = 0.02  # seconds


def measure(ground: Ground, rounds: int) -> Figure:
    """From the end of a step to the start of the one that waited for it, in a chain."""
    project = ground.project(chain(ground.image, steps=STEPS))
    gaps: list[float] = []
    with ground.server() as server:
        for number in range(rounds + 1):
            sha = project.push()
            delivered_to_final(server, project, [sha])
            found = server.step_gaps(run_number(project.final(sha)))
            ground.cleaned()
            if number:  # the first run of a server makes its network
                gaps += found
    worst = percentile(gaps, 99)
    return Figure(
        name="next-step",
        work="end of a step's last need to its own start (no container of it yet)",
        to_reach=f"p99 ≤ {seconds(AT_MOST)}",
        ours=f"p50 {seconds(median(gaps))}, p99 {seconds(worst)}",
        reached=worst <= AT_MOST,
        rounds=rounds,
        note=f"{len(gaps)} steps, {spread(gaps)}; as the facts of the runs have it",
        measured={"gap_seconds": tuple(gaps)},
    )
