from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from docker.errors import NotFound

from pipelines.engine.containers import Attempt, attempt_tag
from pipelines.engine.leftovers import find_leftovers, remove_leftovers
from pipelines.testing import MemoryOutput, commands_step, plan_of
from tests.integration.engine.bench import Bench, run


async def abandoned(bench: Bench, image: str) -> str:
    """A run whose process died: its step still runs. Gives the run's id."""
    plan = plan_of(commands_step("a", "echo up; sleep 600", image=image))
    executor = bench.executor(plan)
    output = MemoryOutput()
    await executor.open()
    going = asyncio.create_task(executor.run(plan.steps[0], output, lambda: None))
    while b"up" not in output.of(1):  # noqa: ASYNC110 (nothing outside can set an event)
        await asyncio.sleep(0.01)
    going.cancel()
    with suppress(asyncio.CancelledError):
        await going
    return executor.attempt.run


@pytest.mark.parametrize("other", [False, True])
def test_only_what_nobody_needs_any_more_is_removed(
    bench: Bench, busybox_image: str, *, other: bool
) -> None:
    async def work() -> None:
        dead = await abandoned(bench, busybox_image)
        alive = await abandoned(bench, busybox_image)
        client = bench.engine.client
        if other:
            assert remove_leftovers(client, f"{bench.server}-2", set()) == 0
        assert remove_leftovers(client, bench.server, {(alive, 1)}) == 2
        assert all(f"-{alive}-1-" in name for name in bench.left())
        assert not any(f"-{dead}-1-" in name for name in bench.left())
        assert remove_leftovers(client, bench.server, set()) == 2

    run(work())


def test_what_begins_behind_the_look_is_not_taken_for_a_leftover(
    bench: Bench, busybox_image: str
) -> None:
    async def work() -> None:
        dead = await abandoned(bench, busybox_image)
        client = bench.engine.client
        found = find_leftovers(client, bench.server)
        fresh = await abandoned(bench, busybox_image)

        assert remove_leftovers(client, bench.server, set(), found=found) == 2

        assert not any(f"-{dead}-1-" in name for name in bench.left())
        assert any(f"-{fresh}-1-" in name for name in bench.left())
        remove_leftovers(client, bench.server, set())

    run(work())


def test_the_names_of_dead_attempts_images_go_too(bench: Bench, busybox_image: str) -> None:
    async def work() -> None:
        await bench.engine.connected()
        client = bench.engine.client
        executor = bench.executor(plan_of())
        name = f"lading/test-{bench.server}/web"
        tag = attempt_tag(executor.attempt)
        client.tag(busybox_image, name, tag, force=True)
        attempts = {(executor.attempt.run, 1)}
        assert remove_leftovers(client, bench.server, attempts) == 0
        assert remove_leftovers(client, bench.server, set(), keep_images=attempts) == 0
        assert remove_leftovers(client, bench.server, set()) == 1
        assert client.images(name) == []

    run(work())


def test_a_container_forgotten_while_labelling_is_removed_once_it_is_old(
    bench: Bench, busybox_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(bench.engine.connected())
    client = bench.engine.client
    attempt = Attempt(server=bench.server, run="1", attempt=1, repository="acme/web")
    forgotten = client.create_container(busybox_image, "true", name=attempt.label_name())["Id"]

    assert remove_leftovers(client, bench.server, set()) == 0  # it may be at work
    monkeypatch.setattr("pipelines.engine.leftovers._LABELLING", -60.0)
    assert remove_leftovers(client, bench.server, set()) == 1

    with pytest.raises(NotFound):
        client.inspect_container(forgotten)
