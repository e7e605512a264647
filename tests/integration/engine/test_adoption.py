"""A second executor goes on with the attempt that a first one left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.engine.executor import EngineExecutor
from pipelines.plan import Plan
from pipelines.problems import ExecutorUnavailableError
from pipelines.progress import (
    Fact,
    Outcome,
    Progress,
    State,
    StepEnded,
    StepRunning,
    StepStarted,
)
from pipelines.source import GitSource
from pipelines.testing import MemoryOutput, build_step, commands_step, plan_of
from tests.integration.engine.bench import Bench, run, until

AT = datetime(2026, 1, 1, tzinfo=UTC)


def began(plan: Plan, *keys: str, ended: dict[str, Outcome] | None = None) -> Progress:
    """What the first executor's process had stored."""
    ends = ended or {}
    facts: list[Fact] = []
    for key in (*ends, *keys):
        facts += [StepStarted(step=key, at=AT), StepRunning(step=key, at=AT)]
    facts += [StepEnded(step=key, at=AT, outcome=outcome) for key, outcome in ends.items()]
    progress = Progress.of(plan)
    for fact in facts:
        progress = progress.apply(fact)
    return progress


@asynccontextmanager
async def second(
    bench: Bench, plan: Plan, first: EngineExecutor, earlier: Progress
) -> AsyncIterator[EngineExecutor]:
    """An executor of the same attempt, as another process would make it."""
    executor = bench.executor(plan, first.attempt)
    try:
        await executor.open(earlier)
        yield executor
    finally:
        await executor.close()


async def whole(executor: EngineExecutor, plan: Plan, key: str) -> tuple[Outcome, str]:
    """A step from its start to its end."""
    output = MemoryOutput()
    outcome = await executor.run(plan.step(key), output, lambda: None)
    return outcome, output.text


def test_a_running_step_is_followed_from_the_last_byte_in_the_workspace_as_it_is(
    bench: Bench, busybox_image: str
) -> None:
    counting = "for i in 1 2 3; do echo o$i; echo e$i >&2; done; while [ ! -e go ]; do :; done"
    plan = plan_of(
        commands_step("change", "echo changed > a.txt", image=busybox_image),
        commands_step("long", counting, "echo last; exit 5", image=busybox_image),
        commands_step("after", "cat a.txt; touch go", image=busybox_image),
    )

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()
        changed, _ = await whole(first, plan, "test.change")
        output = MemoryOutput()
        begun_first = asyncio.Event()
        going = asyncio.create_task(first.run(plan.step("test.long"), output, begun_first.set))
        await begun_first.wait()  # output may come before the engine says that it has started
        await until(lambda: b"o3\n" in output.of(1) and b"e3\n" in output.of(2))
        going.cancel()
        await asyncio.wait({going})
        await first.release()

        taken = {1: len(output.of(1)) - 4, 2: 1}
        rest, begun = MemoryOutput(), list[str]()
        earlier = began(plan, "test.long", ended={"test.change": changed})
        async with second(bench, plan, first, earlier) as executor:
            adopting = asyncio.create_task(
                executor.adopt(plan.step("test.long"), rest, lambda: begun.append("x"), taken)
            )
            await until(lambda: rest.of(1) == output.of(1)[taken[1] :])
            after, text = await whole(executor, plan, "test.after")
            assert (after.state, text.endswith("changed\n$ touch go\n")) == (State.SUCCESS, False)
            assert "changed\n" in text
            outcome = await adopting
        assert outcome is not None
        assert (outcome.state, outcome.exit_code) == (State.FAILURE, 5)
        assert (output.of(1)[: taken[1]] + rest.of(1)).endswith(
            b"o2\no3\n$ echo last; exit 5\nlast\n"
        )
        assert output.of(2)[:1] + rest.of(2) == b"e1\ne2\ne3\n"
        assert begun == ["x"]

    run(work())


def test_a_container_that_was_made_and_never_started_is_made_anew_with_the_files(
    bench: Bench, busybox_image: str
) -> None:
    plan = plan_of(commands_step("unit", "cat a.txt", image=busybox_image))

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()  # makes the container ahead
        await first.release()
        async with second(bench, plan, first, Progress.of(plan)) as executor:
            assert await executor.adopt(plan.steps[0], MemoryOutput(), lambda: None, {}) is None
            outcome, text = await whole(executor, plan, "test.unit")
        assert (outcome.state, text) == (State.SUCCESS, "$ cat a.txt\na\n")

    run(work())


def test_what_was_built_before_is_there_for_the_steps_after(
    bench: Bench, busybox_image: str, made: Callable[[dict[str, str]], GitSource]
) -> None:
    bench.source = made({"Dockerfile": f"FROM {busybox_image}\nRUN echo built > /made\n"})
    plan = plan_of(build_step(), commands_step("unit", "cat /made", image="build.web"))

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()
        built, _ = await whole(first, plan, "build.web")
        await first.release()
        earlier = began(plan, ended={"build.web": built})
        async with second(bench, plan, first, earlier) as executor:
            outcome, text = await whole(executor, plan, "test.unit")
        assert (outcome.state, text) == (State.SUCCESS, "$ cat /made\nbuilt\n")

    run(work())


def test_a_workspace_that_somebody_removed_is_told_of(bench: Bench, busybox_image: str) -> None:
    plan = plan_of(commands_step("unit", "true", image=busybox_image))

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()
        await first.close()
        with pytest.raises(ExecutorUnavailableError, match="workspace of this attempt was removed"):
            async with second(bench, plan, first, began(plan, "test.unit")):
                pass

    run(work())


@pytest.mark.parametrize(("younger", "state"), [(True, State.ERROR), (False, State.FAILURE)])
def test_a_step_killed_unseen_is_an_error_where_the_engine_was_started_since(
    bench: Bench,
    busybox_image: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    younger: bool,
    state: State,
) -> None:
    plan = plan_of(commands_step("unit", "sleep 600", image=busybox_image))

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()
        begun = asyncio.Event()
        going = asyncio.create_task(first.run(plan.steps[0], MemoryOutput(), begun.set))
        await begun.wait()
        going.cancel()
        await asyncio.wait({going})
        await first.release()
        client = bench.engine.client
        client.kill(first.attempt.name("test.unit"))
        network = client.create_network(f"{bench.server}-younger")["Id"]
        if younger:  # as the engine's own is after its start
            monkeypatch.setattr("pipelines.engine.steps._AS_OLD_AS_THE_ENGINE", network)
        try:
            async with second(bench, plan, first, began(plan, "test.unit")) as executor:
                outcome = await executor.adopt(plan.steps[0], MemoryOutput(), lambda: None, {})
        finally:
            client.remove_network(network)
        assert outcome is not None
        assert (outcome.state, outcome.exit_code) == (state, 137)
        assert ("stopped or restarted" in outcome.message) == younger

    run(work())


def test_a_step_that_the_engines_list_still_calls_created_is_gone_on_with(
    bench: Bench, busybox_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(commands_step("unit", "echo once; sleep 1; echo end", image=busybox_image))

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()
        begun = asyncio.Event()
        going = asyncio.create_task(first.run(plan.steps[0], MemoryOutput(), begun.set))
        await begun.wait()
        going.cancel()
        await asyncio.wait({going})
        await first.release()
        listed = bench.engine.client.containers

        def lagging(**arguments: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - the SDK's own
            return [one | {"State": "created"} for one in listed(**arguments)]

        monkeypatch.setattr(bench.engine.client, "containers", lagging)
        output = MemoryOutput()
        async with second(bench, plan, first, began(plan, "test.unit")) as executor:
            outcome = await executor.adopt(plan.steps[0], output, lambda: None, {})
        assert outcome == Outcome(state=State.SUCCESS, exit_code=0)
        assert output.text.endswith("once\nend\n")

    run(work())


def test_bytes_that_are_no_text_are_counted_as_they_came(bench: Bench, busybox_image: str) -> None:
    odd = "for i in 1 2 3; do printf '\\377\\000%s\\n' $i; done; while [ ! -e go ]; do :; done"
    plan = plan_of(
        commands_step("odd", odd, "printf '\\376end\\n'", image=busybox_image),
        commands_step("go", "touch go", image=busybox_image),
    )

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()
        output, rest = MemoryOutput(), MemoryOutput()
        begun = asyncio.Event()
        going = asyncio.create_task(first.run(plan.steps[0], output, begun.set))
        await begun.wait()  # output may come before the engine says that it has started
        await until(lambda: b"3\n" in output.of(1)[-2:])
        going.cancel()
        await asyncio.wait({going})
        await first.release()
        async with second(bench, plan, first, began(plan, "test.odd")) as executor:
            taken = {1: len(output.of(1))}
            adopting = asyncio.create_task(executor.adopt(plan.steps[0], rest, lambda: None, taken))
            await whole(executor, plan, "test.go")
            await adopting
        assert rest.of(1).endswith(b"\n\xfeend\n")
        assert (output.of(1) + rest.of(1)).count(b"\xff\x00") == 3
        assert b"\xff" not in rest.of(1)
        assert rest.of(1).startswith(b"$ printf")

    run(work())


def test_output_that_the_engine_has_turned_over_is_whole_all_the_same(
    bench: Bench, busybox_image: str
) -> None:
    bench.limits = bench.limits.model_copy(update={"log": 2**20})
    counting = "seq 10000 60000 | sed 's/^/line number /'"
    plan = plan_of(commands_step("unit", counting, image=busybox_image))

    async def work() -> None:
        first = bench.executor(plan)
        await first.open()
        begun = asyncio.Event()
        going = asyncio.create_task(first.run(plan.steps[0], MemoryOutput(), begun.set))
        await begun.wait()
        going.cancel()
        await asyncio.wait({going})
        await first.release()
        output = MemoryOutput()
        async with second(bench, plan, first, began(plan, "test.unit")) as executor:
            outcome = await executor.adopt(plan.steps[0], output, lambda: None, {})
        assert outcome == Outcome(state=State.SUCCESS, exit_code=0)
        lines = output.text.splitlines()[1:]
        assert lines == [f"line number {number}" for number in range(10000, 60001)]

    run(work())
