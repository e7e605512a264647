"""Trying again what a registry refused for the moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_exponential,
    wait_random_exponential,
)

from pipelines.engine.interruption import StoppedError
from pipelines.registries.refusals import Refusal, RegistryError
from pipelines.values import Value

T = TypeVar("T")

MOST_ASKED_FOR = 900.0
"""Seconds that a registry is left alone at most when it asks for it (`Retry-After`)."""


class Backoff(Value):
    """How patiently to try again."""

    first: float = 1.0
    """Seconds before the second try; each later wait is twice the one before, and up to a half
    more, so that runs that were refused together do not come back together."""
    longest: float = 30.0
    within: float = 120.0
    """Seconds after the first try in which a pull is tried again. A push, which others have worked
    for already, is tried again until the time of its step is over."""


async def again(
    work: Callable[[], Awaitable[T]],
    *,
    backoff: Backoff,
    say: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]],
    endless: bool = False,
) -> T:
    """The result of `work`, tried again after each refusal that is worth it.

    Args:
        work: One try.
        backoff: When to try again.
        say: Is told of each refusal.
        sleep: Raises StoppedError when the step shall stop.
        endless: Until the step is stopped. Only a registry that no name service knows, which may be
            a mistyped one, is given up as soon as others.

    Raises:
        RegistryError: The last refusal; also where the step was stopped after one.
        StoppedError: The step was stopped, and nothing had been refused.
    """
    refusals: list[RegistryError] = []

    def announce(state: RetryCallState) -> None:
        error = _refusal(state)
        refusals[:] = [error]
        say(f"{error}; trying again in {state.upcoming_sleep:.1f} s")

    def stop(state: RetryCallState) -> bool:
        if endless and _refusal(state).refusal is not Refusal.NOWHERE:
            return False
        return (state.seconds_since_start or 0.0) + state.upcoming_sleep >= backoff.within

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda e: isinstance(e, RegistryError) and e.worth_retrying),
        stop=stop,
        wait=lambda state: _wait(backoff, state),
        before_sleep=announce,
        sleep=sleep,
        reraise=True,
    )
    try:
        async for attempt in retrying:
            with attempt:
                return await work()
    except StoppedError:
        # Why it waited says more than that it was stopped.
        if refusals:
            raise refusals[0] from None
        raise
    raise AssertionError("the last refusal is raised again")


def _refusal(state: RetryCallState) -> RegistryError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, RegistryError):  # pragma: no cover - nothing else is tried again
        raise TypeError(error)
    return error


def _wait(backoff: Backoff, state: RetryCallState) -> float:
    usual = wait_exponential(multiplier=backoff.first, max=backoff.longest) + (
        wait_random_exponential(multiplier=backoff.first / 2, max=backoff.longest / 2)
    )
    return max(usual(state), min(_refusal(state).retry_after or 0.0, MOST_ASKED_FOR))
