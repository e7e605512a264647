from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime

import pytest
import requests

from server.hosts.calling import MAX_RETRY_AFTER, Caller, retry_after
from server.hosts.port import HostError

NOW = datetime(2026, 2, 12, 9, 0, 0, tzinfo=UTC)
SOON = str(int(NOW.timestamp()) + 90)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "30"}, 30),
        ({"retry-after": "Thu, 12 Feb 2026 09:01:00 GMT"}, 60),
        ({"Retry-After": "Thu, 12 Feb 2026 08:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "9" * 400}, MAX_RETRY_AFTER),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": SOON}, 90),
        ({"X-RateLimit-Remaining": "12", "X-RateLimit-Reset": SOON}, None),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": SOON}, 90),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "nan"}, None),
        ({"Retry-After": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": SOON}, 5),
    ],
)
def test_the_hosts_wish_is_read_out_of_its_headers(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers, NOW) == seconds


def test_a_call_over_its_limit_is_given_up() -> None:
    release = threading.Event()
    started = time.monotonic()

    with pytest.raises(HostError, match=r"did not answer within 0\.05 s") as caught:
        asyncio.run(Caller("github", timeout=0.05).call(lambda: release.wait(5)))

    release.set()
    assert time.monotonic() - started < 2
    assert not caught.value.permanent


def test_a_connection_that_fails_is_worth_another_try() -> None:
    def refuse() -> None:
        raise requests.ConnectionError

    with pytest.raises(HostError, match="could not be reached") as caught:
        asyncio.run(Caller("github").call(refuse))

    assert not caught.value.permanent


def test_the_loop_goes_on_while_a_call_blocks() -> None:
    release = threading.Event()

    async def both() -> bool:
        call = asyncio.create_task(Caller("github").call(lambda: release.wait(5)))
        await asyncio.sleep(0)
        release.set()
        return await call

    assert asyncio.run(both())
