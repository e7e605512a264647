from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from pipelines.engine.leftovers import remove_leftovers
from pipelines.progress import State
from pipelines.source import GitSource
from pipelines.testing import build_step, commands_step, plan_of
from tests.integration.engine.bench import Bench, run, until

Made = Callable[[dict[str, str]], GitSource]


def test_a_step_is_let_end_in_its_own_way(bench: Bench, busybox_image: str) -> None:
    trap = 'trap "sleep 0.3; echo cleaned; exit 0" TERM'
    command = f"sh -c '{trap}; echo up; while :; do sleep 0.05; done'"

    async def work() -> State:
        plan = plan_of(commands_step("a", command, "echo never", image=busybox_image))
        going = asyncio.create_task(bench.run(plan))
        await bench.until("test.a", "\nup\n")
        bench.cancelled.set()
        return (await going).state

    assert run(work()) is State.CANCELLED
    assert bench.outputs.steps["test.a"].of(1).endswith(b"\nup\ncleaned\n")


def test_what_ignores_sigterm_and_hides_is_killed(bench: Bench, busybox_image: str) -> None:
    commands = (
        "trap '' TERM",
        "(setsid sh -c 'trap \"\" TERM; sleep 612' > /dev/null 2>&1 &)",
        "while :; do sleep 0.1; done",
    )
    outcome = run(bench.outcome(commands_step("a", *commands, image=busybox_image, timeout=1.5)))
    assert (outcome.state, outcome.exit_code) == (State.FAILURE, 137)
    assert outcome.message.startswith("timed out after 2 s: ")


def test_children_left_behind_do_not_hold_up_the_end(bench: Bench, busybox_image: str) -> None:
    step = commands_step("a", "(setsid sleep 600 &)", image=busybox_image)
    assert run(bench.outcome(step), seconds=20).state is State.SUCCESS


def building(bench: Bench) -> bool:
    found = bench.engine.is_connected and bench.engine.client.containers()
    return any("sleep 613" in container["Command"] for container in found or [])


@pytest.mark.parametrize("whole_task", [False, True])
def test_a_cancelled_build_leaves_no_container(
    bench: Bench, busybox_image: str, made: Made, *, whole_task: bool
) -> None:
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo up; sleep 613\n"})

    async def work() -> None:
        going = asyncio.create_task(bench.run(plan_of(build_step())))
        await until(lambda: building(bench))
        if whole_task:
            going.cancel()
            with suppress(asyncio.CancelledError):
                await going
        else:
            bench.cancelled.set()
            assert (await going).state is State.CANCELLED
        await until(lambda: not building(bench))

    run(work(), seconds=30)


def test_a_cancelled_task_leaves_its_steps_running_for_whoever_comes_next(
    bench: Bench, busybox_image: str
) -> None:
    async def work() -> None:
        steps = [commands_step(f"s{n}", "echo up; sleep 600", image=busybox_image) for n in (1, 2)]
        going = asyncio.create_task(bench.run(plan_of(*steps)))
        for step in steps:
            await bench.until(step.key, "\nup\n")
        going.cancel()
        with suppress(asyncio.CancelledError):
            await going
        filters = {"label": f"lading.server={bench.server}", "status": "running"}
        # The engine may hear of a start later than we of its output.
        await until(lambda: len(bench.engine.client.containers(filters=filters)) == len(steps))

    run(work(), seconds=20)
    remove_leftovers(bench.engine.client, bench.server, set())


def test_a_cancel_while_steps_are_prepared_leaves_nothing(bench: Bench, busybox_image: str) -> None:
    async def work() -> State:
        steps = [commands_step(f"s{n}", "sleep 600", image=busybox_image) for n in range(3)]
        going = asyncio.create_task(bench.run(plan_of(*steps)))
        await until(lambda: bool(bench.facts))
        bench.cancelled.set()
        return (await going).state

    assert run(work(), seconds=20) is State.CANCELLED
