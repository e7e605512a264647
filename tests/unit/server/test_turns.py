from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from server.turns import Place, Turns

LIVE: Place = (1, "deploy.live")


async def _waits(task: asyncio.Task[bool]) -> bool:
    for _ in range(10):
        await asyncio.sleep(0)
    return not task.done()


def test_one_run_waits_until_the_other_has_left() -> None:
    async def work() -> None:
        turns, never = Turns(), asyncio.Event()
        async with AsyncExitStack() as second:
            async with turns.at(LIVE, 1, never):
                waiting = asyncio.create_task(second.enter_async_context(turns.at(LIVE, 2, never)))
                assert await _waits(waiting)
            assert await asyncio.wait_for(waiting, 5)

    asyncio.run(work())


def test_places_of_other_names_and_repositories_are_apart() -> None:
    async def work() -> None:
        turns, never = Turns(), asyncio.Event()
        async with (
            turns.at(LIVE, 1, never),
            turns.at((1, "deploy.dev"), 2, never) as name,
            turns.at((2, "deploy.live"), 3, never) as repository,
        ):
            assert name
            assert repository

    asyncio.run(work())


def test_who_gives_up_waiting_does_not_get_the_turn() -> None:
    async def work() -> None:
        turns, never, given_up = Turns(), asyncio.Event(), asyncio.Event()
        async with turns.at(LIVE, 1, never), AsyncExitStack() as second:
            waiting = asyncio.create_task(second.enter_async_context(turns.at(LIVE, 2, given_up)))
            assert await _waits(waiting)
            given_up.set()
            assert not await asyncio.wait_for(waiting, 5)
        async with turns.at(LIVE, 3, never) as came:
            assert came

    asyncio.run(work())


def test_a_place_kept_for_a_run_is_that_runs_alone() -> None:
    async def work() -> None:
        turns, never, given_up = Turns(), asyncio.Event(), asyncio.Event()
        turns.hold(LIVE, 7)
        given_up.set()
        async with turns.at(LIVE, 8, given_up) as other:
            assert not other
        async with turns.at(LIVE, 7, never) as own:
            assert own
        async with turns.at(LIVE, 8, never) as after:
            assert after

    asyncio.run(work())


def test_a_run_that_is_over_gives_back_what_was_kept_for_it() -> None:
    async def work() -> None:
        turns, never = Turns(), asyncio.Event()
        turns.hold(LIVE, 7)
        async with AsyncExitStack() as other:
            waiting = asyncio.create_task(other.enter_async_context(turns.at(LIVE, 8, never)))
            assert await _waits(waiting)
            turns.leave_all(7)
            assert await asyncio.wait_for(waiting, 5)

    asyncio.run(work())
