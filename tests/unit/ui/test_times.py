"""Times as people read them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from server.ui import times
from tests.builders import NOW


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 min ago"),
        (timedelta(hours=3, minutes=59), "3 h ago"),
        (timedelta(days=13), "13 d ago"),
        (timedelta(days=30), "2026-01-30"),
    ],
)
def test_a_time_is_told_from_now(before: timedelta, said: str) -> None:
    assert times.ago(NOW - before, NOW) == said


def test_a_span_is_never_below_nothing() -> None:
    assert times.span(NOW, NOW - timedelta(seconds=3)) == "0.0 s"
    assert times.span(None, NOW) == ""
