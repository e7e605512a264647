"""F39: whatever a step starts and however it hides it, no process is left once the step is over.

Signals are not what ends them: the first process of a container is, and with it the kernel ends
every other of its namespace. We look at the machine's own list of processes.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from pipelines.engine.leftovers import remove_leftovers
from pipelines.plan import Step
from pipelines.progress import State
from pipelines.testing import commands_step, plan_of
from tests.integration.engine.bench import Bench, run, until
from tests.integration.engine.conftest import bench, folder, source

__all__ = ["bench", "folder", "source"]

_SECONDS = itertools.count(86_000_000)
IGNORING = "trap '' TERM HUP INT;"
HIDING = (
    f'(setsid sh -c "{IGNORING} sleep N; :" > /dev/null 2>&1 &)',  # a daemon, its own session
    f'( ( sh -c "{IGNORING} sleep N; :" & ) & )',  # a grandchild whose parents are gone
    "(trap '' HUP; exec sleep N > /dev/null 2>&1) &",  # as nohup does
    f'sh -c "{IGNORING} sleep N; :" &',  # what holds on to the output
    f'setsid sh -c "{IGNORING} (setsid sleep N &) ; sleep N; :" &',  # sessions in sessions
)
PROCESSES = 6  # that sleep: the last one is two


def alive(marker: int) -> list[str]:
    """Command lines of this machine's processes that sleep so long."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(marker).encode() in words:
            found.append(" ".join(word.decode() for word in words))
    return found


def hiding(*after: str, image: str, timeout: float = 60) -> tuple[Step, int]:
    """A step that hides processes in every way, and by what they are known."""
    marker = next(_SECONDS)
    hidden = [command.replace(" N", f" {marker}") for command in HIDING]
    return commands_step("a", *hidden, *after, image=image, timeout=timeout), marker


def test_nothing_is_left_after_a_step_that_ended(bench: Bench, busybox_image: str) -> None:
    async def work() -> None:
        step, marker = hiding("while [ ! -e go ]; do sleep 0.05; done", image=busybox_image)
        going = asyncio.create_task(bench.run(plan_of(step)))
        await until(lambda: len(alive(marker)) >= PROCESSES)
        filters = {"label": f"lading.server={bench.server}"}
        (container,) = bench.engine.client.containers(filters=filters)
        made = bench.engine.client.exec_create(container["Id"], ["touch", "/workspace/go"])
        bench.engine.client.exec_start(made["Id"])
        assert (await going).state is State.SUCCESS
        await until(lambda: not alive(marker))

    run(work())


def test_nothing_is_left_after_a_step_that_was_cancelled(bench: Bench, busybox_image: str) -> None:
    async def work() -> None:
        step, marker = hiding("trap '' TERM", "while :; do sleep 0.1; done", image=busybox_image)
        going = asyncio.create_task(bench.run(plan_of(step)))
        await until(lambda: len(alive(marker)) >= PROCESSES)
        bench.cancelled.set()
        assert (await going).state is State.CANCELLED
        await until(lambda: not alive(marker))

    run(work())


def test_nothing_is_left_after_a_step_whose_time_was_over(bench: Bench, busybox_image: str) -> None:
    async def work() -> None:
        stubborn = ("trap '' TERM", "while :; do sleep 0.1; done")
        step, marker = hiding(*stubborn, image=busybox_image, timeout=4)
        going = asyncio.create_task(bench.run(plan_of(step)))
        await until(lambda: len(alive(marker)) >= PROCESSES)
        assert (await going).state is State.FAILURE
        await until(lambda: not alive(marker))

    run(work())


def test_nothing_is_left_of_a_dead_servers_step_once_it_is_swept_away(
    bench: Bench, busybox_image: str
) -> None:
    async def work() -> None:
        step, marker = hiding("sleep 600", image=busybox_image)
        going = asyncio.create_task(bench.run(plan_of(step)))
        await until(lambda: len(alive(marker)) >= PROCESSES)
        going.cancel()
        await asyncio.wait({going})
        assert alive(marker)
        await bench.engine.call(remove_leftovers, bench.engine.client, bench.server, set())
        await until(lambda: not alive(marker))

    run(work())
