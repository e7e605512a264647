"""Rate limits, as registries tell them."""

from __future__ import annotations

import pytest

from pipelines.registries.limits import RateLimit, read_limit


def test_docker_hubs_limit_is_read() -> None:
    headers = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}

    limit = read_limit(headers)

    assert limit == RateLimit(limit=100, remaining=76, window=21600)
    assert limit.sentence == "76 of 100 pulls left in 6 h"


def test_a_limit_without_a_window_is_read() -> None:
    limit = read_limit({"RateLimit-Limit": "5000", "RateLimit-Remaining": "0"})

    assert limit is not None
    assert limit.sentence == "0 of 5000 pulls left"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"RateLimit-Limit": "100;w=21600"},
        {"RateLimit-Limit": "many", "RateLimit-Remaining": "1"},
        {"RateLimit-Limit": "9" * 40, "RateLimit-Remaining": "1"},
        {"RateLimit-Limit": "-1", "RateLimit-Remaining": "1"},
    ],
)
def test_what_tells_no_limit_is_none(headers: dict[str, str]) -> None:
    assert read_limit(headers) is None
