"""Durations ("30m") and sizes ("512MiB"), as people write and read them."""

from __future__ import annotations

import re

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
_SIZES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(rf"(\d{{1,9}})(?:\.(\d{{1,3}}))? ?({'|'.join(_SIZES)})", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds of a text like `90s`, `30m`, `1h30m` or `2d`.

    Raises:
        ValueError: It is none; the message says how one is written.
    """
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"'{text[:40]}' is no duration; write one like 90s, 30m or 1h30m")
    return float(
        sum(
            int(number or 0) * unit
            for number, unit in zip(found.groups(), _UNITS.values(), strict=True)
        )
    )


def format_duration(seconds: float) -> str:
    """A duration to read: `0.4 s`, `12 s`, `1 min 5 s`, `2 h 3 min`, `3 d 4 h`."""
    if seconds < 1:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    for name, size, smaller, rest in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            left = whole % size // rest
            return f"{whole // size} {name}" + (f" {left} {smaller}" if left else "")
    return f"{whole} s"


def parse_size(text: str) -> int:
    """Bytes of a text like `512MiB`, `1.5GiB` or `100 MB`.

    Raises:
        ValueError: It is none; the message says how one is written.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text[:40]}' is no size; write one like 512MiB or 2GiB")
    whole, fraction, unit = found.groups()
    thousandths = int(whole) * 1000 + int((fraction or "0").ljust(3, "0"))
    return thousandths * _SIZES[unit] // 1000


def format_size(count: int) -> str:
    """A size to read, in binary units: `0 B`, `512 MiB`, `1.5 GiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count >= _SIZES[unit]:
            return f"{count / _SIZES[unit]:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} B"
