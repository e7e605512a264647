from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.engine.client import Engine
from pipelines.engine.containers import Attempt
from pipelines.engine.lane import Lane
from pipelines.plan import Plan
from pipelines.testing import build_step, commands_step, plan_of

ATTEMPT = Attempt(server="s", run="1", attempt=1, repository="a/b")

CHAIN = plan_of(
    build_step(),
    commands_step("a", needs=("build.web",)),
    commands_step("b", needs=("test.a",)),
    commands_step("beside", needs=("test.a",)),
    commands_step("c", needs=("test.b",)),
)


class Made(Lane):
    """A lane whose holder is made without an engine."""

    def __init__(self, plan: Plan, *, runtime: str | None = None) -> None:
        self.asked = 0
        with ThreadPoolExecutor(1) as threads:
            super().__init__(Engine(None, threads, runtime=runtime), ATTEMPT, plan)

    async def _make(self, image: str) -> str:
        self.asked += 1
        if image == "broken":
            raise OSError("no engine")
        return "id"


async def opened(plan: Plan, image: str = "image", *, runtime: str | None = None) -> Made:
    lane = Made(plan, runtime=runtime)
    lane.open(image)
    lane.open(image)
    await lane.settle()
    return lane


def joined(lane: Lane, *names: str) -> list[str]:
    return [name for name in names if lane.join(CHAIN.step(f"test.{name}"))]


def test_only_steps_that_can_never_run_together_share_it() -> None:
    lane = asyncio.run(opened(CHAIN))
    assert lane.join(CHAIN.step("test.a")) == "container:id"
    assert joined(lane, "b", "beside", "c") == ["b", "c"]


def test_it_is_made_once() -> None:
    assert asyncio.run(opened(CHAIN)).asked == 1


@pytest.mark.parametrize(
    "plan",
    [
        plan_of(*(commands_step(name) for name in "abcd")),
        plan_of(commands_step("a"), commands_step("b", needs=("test.a",))),
        plan_of(),
    ],
)
def test_a_short_or_wide_plan_has_none(plan: Plan) -> None:
    assert asyncio.run(opened(plan)).asked == 0


def test_other_runtimes_have_none() -> None:
    assert asyncio.run(opened(CHAIN, runtime="runsc")).asked == 0


def test_nobody_joins_what_could_not_be_made_or_was_dropped() -> None:
    assert joined(asyncio.run(opened(CHAIN, "broken")), "a", "b") == []
    lane = asyncio.run(opened(CHAIN))
    lane.drop()
    assert joined(lane, "a", "b") == []
