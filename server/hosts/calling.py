"""Calling a host's synchronous client library without ever blocking the event loop.

Both libraries we use are synchronous and can sleep or hang, so every call runs in the host's own
two threads (a host that hangs cannot take the threads of others) and under a time limit of its
own: the libraries' limits count from byte to byte, and a host that drips would never meet them.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from server.hosts.port import HostError

T = TypeVar("T")

REQUEST_TIMEOUT = 10  # whole seconds to connect, and between two bytes
CALL_TIMEOUT = 30.0  # seconds for a whole call
MAX_RETRY_AFTER = 24 * 3600.0  # seconds; no host's wish silences its statuses for longer


class Caller:
    """Runs blocking calls to one host in threads of their own."""

    def __init__(self, name: str, *, timeout: float = CALL_TIMEOUT) -> None:
        self._name = name
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix=f"host-{name}")

    async def call(self, function: Callable[[], T]) -> T:
        """What the function gives, or its error.

        Raises:
            HostError: It took longer than the limit, or the connection failed.
        """
        # Imported late: `requests` is megabytes of memory and start time.
        from requests import RequestException

        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                return await loop.run_in_executor(self._threads, function)
        except TimeoutError:
            raise HostError(
                f"{self._name} did not answer within {self._timeout:g} s; it will be tried again"
            ) from None
        except RequestException as error:
            raise HostError(
                f"{self._name} could not be reached ({type(error).__name__}); it will be "
                "tried again. If this stays, check its address and the network"
            ) from error


@contextlib.contextmanager
def odd_answers_told(subject: str) -> Iterator[None]:
    """Around a library's call: an answer whose JSON is of another shape becomes a host error.

    Neither library checks the shape of what a 200 carries; a proxy's page or a wrong address shows
    as one of these errors out of the library's middle.
    """
    try:
        yield
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise HostError(
            f"the answer for {subject} was not the host's ({type(error).__name__}); it will be "
            "tried again. If this stays, check the host's address and what stands between"
        ) from error


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The host's wish in seconds, out of an answer's headers.

    `Retry-After` (seconds or a date, RFC 9110), else the reset time of a used-up rate limit as
    GitHub (`X-RateLimit-…`) and GitLab (`RateLimit-…`) tell it.

    A time of the host's is held against the host's own clock, where its answer tells that.

    Args:
        headers: Names in any case.
        now: An aware time.
    """
    lower = {name.lower(): str(text).strip() for name, text in headers.items()}
    now = _date(lower.get("date", "")) or now
    wish = _seconds(lower.get("retry-after", ""), now)
    if wish is None:
        wish = _until_reset(lower, now)
    return None if wish is None else min(max(wish, 0.0), MAX_RETRY_AFTER)


def _seconds(text: str, now: datetime) -> float | None:
    if text.isascii() and text.isdigit():
        return float(text[:12])
    at = _date(text)
    return None if at is None else at.timestamp() - now.timestamp()


def _date(text: str) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None


def _until_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    for prefix in ("x-ratelimit-", "ratelimit-"):
        reset = headers.get(f"{prefix}reset", "")
        if headers.get(f"{prefix}remaining") == "0" and reset.isascii() and reset.isdigit():
            return float(reset[:12]) - now.timestamp()
    return None
