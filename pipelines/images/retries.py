"""Trying again what a registry refused for the moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from pipelines.registries.refusals import RegistryError
from pipelines.values import Value

T = TypeVar("T")


class Backoff(Value):
    """How often and how patiently to try."""

    attempts: int = 6
    first: float = 1.0
    """Seconds before the second attempt; each later wait is twice the one before."""
    longest: float = 30.0


async def again(
    work: Callable[[], Awaitable[T]],
    *,
    backoff: Backoff,
    say: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """The result of `work`, tried again after each refusal that is worth it.

    Raises:
        RegistryError: The last refusal.
    """

    def announce(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        seconds = state.next_action.sleep if state.next_action else 0.0
        say(f"{error}; trying again in {seconds:.1f} s")

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda e: isinstance(e, RegistryError) and e.worth_retrying),
        stop=stop_after_attempt(backoff.attempts),
        wait=wait_exponential(multiplier=backoff.first, max=backoff.longest)
        + wait_random(0, backoff.first),
        before_sleep=announce,
        sleep=sleep,
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            return await work()
    raise AssertionError("the last refusal is raised again")
