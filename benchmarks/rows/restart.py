"""From a start after kill -9 to the running step's new output, and to the next waiting run."""

from __future__ import annotations

import time

from benchmarks.figures import Figure, median, seconds, spread
from benchmarks.ground import Ground, Project
from benchmarks.processes import until
from benchmarks.server import Server, served

WITHIN = 5.0
POLL = 0.005
TICKS = "while true; do echo at $(cut -d ' ' -f 1 /proc/uptime).; usleep 20000; done"
AWAY = 3.0  # seconds; longer than the short step


def measure(ground: Ground, rounds: int) -> Figure:
    """The row."""
    long = ground.project(_definition(ground, TICKS))
    short = ground.project(_definition(ground, "sleep 2"))
    after = ground.project(_definition(ground, "sleep 1"))
    taken = [_one(ground, long, short, after) for _ in range(rounds)]
    adopted, waiting = [one for one, _ in taken], [one for _, one in taken]
    return Figure(
        name="restart",
        work="start after kill -9 to new output of the running step in the API / to the first "
        "waiting run running",
        to_reach=f"{seconds(WITHIN)} / {seconds(WITHIN)}",
        ours=f"{seconds(median(adopted))} / {seconds(median(waiting))}",
        reached=max(median(adopted), median(waiting)) <= WITHIN,
        rounds=rounds,
        note=(
            f"adopted {spread(adopted)}, waiting {spread(waiting)}; two slots: one step that "
            "writes all the time, one that ended while nobody was there, and two runs that wait"
        ),
        measured={"adopted_seconds": tuple(adopted), "waiting_seconds": tuple(waiting)},
    )


def _one(ground: Ground, long: Project, short: Project, after: Project) -> tuple[float, float]:
    with ground.server() as first:
        for number, project in enumerate((long, short, after, after), 1):
            first.deliver(project.delivery(project.push()))
            begun = number < 3
            until(
                lambda: _began(first, number) if begun else first.get(f"/runs/{number}"),  # noqa: B023
                f"run {number} has begun to run, or to wait",
                within=60,
            )
        first.process.kill()
        folder, token = first.folder, first.token
    time.sleep(AWAY)
    started, uptime = time.perf_counter(), time.clock_gettime(time.CLOCK_BOOTTIME)
    with served(folder, ready=False) as second:
        second.use_token(token)
        adopted = waiting = None
        while adopted is None or waiting is None:
            second.process.check()
            if adopted is None and _newest(second) > uptime:
                adopted = time.perf_counter() - started
            if waiting is None and _began(second, 3):
                waiting = time.perf_counter() - started
            if time.perf_counter() - started > 60:
                until(lambda: False, "the restarted server goes on with everything", within=0)
            time.sleep(POLL)
        second.cancel(1)
        until(lambda: _over(second), "all runs have ended", within=60)
        ground.cleaned()
    return adopted, waiting


def _began(server: Server, run: int) -> bool:
    found = server.get(f"/runs/{run}")
    return found is not None and found["steps"][0]["running_at"] is not None


def _over(server: Server) -> bool:
    found = [server.get(f"/runs/{run}") for run in (1, 2, 3, 4)]
    return all(run is not None and run["ended_at"] is not None for run in found)


def _newest(server: Server) -> float:
    """The uptime in the last whole line that the API gives of the long step."""
    text = server.end_of_log(1, "test.unit")
    lines = [line for line in text.split("\n") if line.startswith("at ") and line.endswith(".")]
    return float(lines[-1].removeprefix("at ").rstrip(".")) if lines else 0.0


def _definition(ground: Ground, command: str) -> str:
    return f"test:\n  unit:\n    image: {ground.image}\n    commands:\n      - {command}\n"
