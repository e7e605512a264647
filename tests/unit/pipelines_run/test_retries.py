"""Trying again what a registry refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pipelines.engine.interruption import StoppedError
from pipelines.images.retries import MOST_ASKED_FOR, Backoff, again
from pipelines.registries.refusals import Refusal, RegistryError

BACKOFF = Backoff(first=1.0, longest=8.0, within=60.0)


class Tries:
    """A registry that refuses, a clock that is moved by sleeping."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *refusals: RegistryError) -> None:
        self.refusals = list(refusals)
        self.slept: list[float] = []
        self.told: list[str] = []
        self.stop_after: int | None = None
        monkeypatch.setattr("tenacity.time.monotonic", lambda: sum(self.slept))

    async def work(self) -> str:
        if self.refusals:
            raise self.refusals.pop(0)
        return "there"

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self.stop_after:
            raise StoppedError("the step was stopped")

    def go(self, *, endless: bool = False) -> Coroutine[Any, Any, str]:
        say: Callable[[str], None] = self.told.append
        return again(self.work, backoff=BACKOFF, say=say, sleep=self.sleep, endless=endless)


def down(refusal: Refusal = Refusal.UNAVAILABLE, retry_after: float | None = None) -> RegistryError:
    return RegistryError(refusal, "registry r.io unavailable", retry_after=retry_after)


def test_each_wait_is_longer_than_the_one_before_and_none_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = Tries(monkeypatch, *[down() for _ in range(6)])

    assert asyncio.run(tries.go()) == "there"

    least = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert all(low <= slept <= low * 1.5 for low, slept in zip(least, tries.slept, strict=True))
    assert tries.told[0] == f"registry r.io unavailable; trying again in {tries.slept[0]:.1f} s"


def test_runs_that_were_refused_together_do_not_come_back_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    several = [Tries(monkeypatch, *[down() for _ in range(4)]) for _ in range(5)]
    for tries in several:
        asyncio.run(tries.go())
    assert len({tries.slept[-1] for tries in several}) == 5


def test_a_pull_is_given_up_in_time_and_a_push_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pull = Tries(monkeypatch, *[down() for _ in range(500)])
    with pytest.raises(RegistryError):
        asyncio.run(pull.go())
    assert 30.0 < sum(pull.slept) < BACKOFF.within

    push = Tries(monkeypatch, *[down() for _ in range(500)])
    assert asyncio.run(push.go(endless=True)) == "there"


def test_a_name_that_nobody_knows_is_given_up_in_time_even_by_a_push(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = Tries(monkeypatch, *[down(Refusal.NOWHERE) for _ in range(500)])
    with pytest.raises(RegistryError):
        asyncio.run(tries.go(endless=True))
    assert sum(tries.slept) < BACKOFF.within


@pytest.mark.parametrize(("asked", "waited"), [(20.0, 20.0), (1e9, MOST_ASKED_FOR)])
def test_a_registry_is_left_alone_for_as_long_as_it_asks(
    monkeypatch: pytest.MonkeyPatch, asked: float, waited: float
) -> None:
    tries = Tries(monkeypatch, down(retry_after=asked))
    asyncio.run(tries.go(endless=True))
    assert tries.slept == [waited]


def test_a_login_that_is_refused_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = Tries(monkeypatch, down(Refusal.DENIED))
    with pytest.raises(RegistryError):
        asyncio.run(tries.go(endless=True))
    assert tries.slept == []


def test_whoever_is_stopped_while_waiting_tells_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = Tries(monkeypatch, *[down() for _ in range(9)])
    tries.stop_after = 3
    with pytest.raises(RegistryError, match=r"registry r\.io unavailable"):
        asyncio.run(tries.go(endless=True))
