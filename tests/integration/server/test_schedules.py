"""The clock, with its real scheduler."""

from __future__ import annotations

import asyncio
from datetime import UTC

from apscheduler.triggers.interval import IntervalTrigger

from server.schedules import ticking


def test_a_job_that_fails_runs_again_at_its_next_time() -> None:
    async def run() -> int:
        calls = 0
        thrice = asyncio.Event()

        async def failing() -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                thrice.set()
            raise OSError("the disk is away")

        trigger = IntervalTrigger(seconds=0.05, timezone=UTC)
        async with ticking({"failing": (trigger, failing)}):
            await asyncio.wait_for(thrice.wait(), 10)
        return calls

    assert asyncio.run(run()) >= 3


def test_nothing_runs_after_the_block() -> None:
    async def run() -> tuple[int, int]:
        calls = 0
        first = asyncio.Event()

        async def counting() -> None:
            nonlocal calls
            calls += 1
            first.set()

        trigger = IntervalTrigger(seconds=0.02, timezone=UTC)
        async with ticking({"counting": (trigger, counting)}):
            await asyncio.wait_for(first.wait(), 10)
        at_the_end = calls
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, done.set)
        await done.wait()
        return at_the_end, calls

    before, after = asyncio.run(run())
    assert before == after
