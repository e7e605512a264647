from __future__ import annotations

import pytest

from pipelines.durations import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172800), ("0s", 0)]
)
def test_a_duration_is_read_in_its_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "m", "1.5h", "-1s", "30m1h", "1 h", "9" * 50 + "s", "٣s"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write one like 90s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.42, "0.4 s"),
        (12, "12 s"),
        (60, "1 min"),
        (65.4, "1 min 5 s"),
        (7380, "2 h 3 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_a_duration_is_written_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("512MiB", 512 * 2**20), ("1.5GiB", 3 * 2**29), ("100 MB", 10**8), ("7B", 7), ("2kB", 2000)],
)
def test_a_size_is_read_in_its_units(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "512", "MiB", "-1GiB", "1,5GiB", "9" * 50 + "B"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write one like 512MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (512 * 2**20, "512 MiB"), (3 * 2**29, "1.5 GiB")],
)
def test_a_size_is_written_in_binary_units(count: int, text: str) -> None:
    assert format_size(count) == text
