from __future__ import annotations

from server.reporting import backoff


def test_waits_double_from_two_seconds() -> None:
    assert [backoff(tries, spread=0.5).total_seconds() for tries in range(4)] == [2, 4, 8, 16]


def test_no_wait_is_much_longer_than_half_an_hour_however_many_tries() -> None:
    assert backoff(10_000, spread=1.0).total_seconds() <= 1800 * 1.25


def test_waits_are_spread_by_a_quarter_either_way() -> None:
    assert backoff(0, spread=0.0).total_seconds() == 1.5
    assert backoff(0, spread=1.0).total_seconds() == 2.5
