from __future__ import annotations

import pytest

from benchmarks import figures


def test_both_sides_are_measured_in_turn_beginning_with_ours() -> None:
    order: list[str] = []

    def measured(side: str) -> int:
        order.append(side)
        return len(order)

    ours, bare = figures.interleaved(3, lambda: measured("ours"), lambda: measured("bare"))

    assert order == ["ours", "bare"] * 3
    assert ours == (1, 3, 5)
    assert bare == (2, 4, 6)


@pytest.mark.parametrize(
    ("values", "middle"),
    [([3.0], 3.0), ([9.0, 1.0, 2.0], 2.0), ([4.0, 1.0, 2.0, 100.0], 3.0)],
)
def test_a_median_is_not_moved_by_one_slow_round(values: list[float], middle: float) -> None:
    assert figures.median(values) == middle


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "12 ms"),
        (0.4116, "412 ms"),
        (0.9996, "1.00 s"),
        (3.416, "3.42 s"),
        (34.16, "34.2 s"),
    ],
)
def test_a_duration_is_told_in_three_digits(value: float, text: str) -> None:
    assert figures.seconds(value) == text


def test_the_spread_names_the_least_and_the_most() -> None:
    assert figures.spread([0.3, 0.2, 1.5]) == "200 ms to 1.50 s"


def test_memory_from_proc_is_told_in_megabytes_of_a_million_bytes() -> None:
    assert figures.memory(107_422) == "110 MB"
