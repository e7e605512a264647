"""How often a registry may be asked, as it tells in headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipelines.values import Value

# `100;w=21600`, as Docker Hub writes it: https://docs.docker.com/docker-hub/usage/pulls/
_COUNT = re.compile(r"\s*(\d{1,9})\s*(?:;\s*w=(\d{1,9})\s*)?", re.ASCII)


class RateLimit(Value):
    """What a registry told."""

    limit: int
    """Questions, of those that count, in a window."""
    remaining: int
    window: int | None
    """Seconds; None where it does not say."""

    @property
    def sentence(self) -> str:
        """For people."""
        hours = "" if self.window is None else f" in {self.window / 3600:g} h"
        return f"{self.remaining} of {self.limit} pulls left{hours}"


def read_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """The limit that an answer tells; None where it tells none that can be read."""
    limit = _COUNT.fullmatch(headers.get("RateLimit-Limit", ""))
    remaining = _COUNT.fullmatch(headers.get("RateLimit-Remaining", ""))
    if limit is None or remaining is None:
        return None
    window = limit[2] or remaining[2]
    return RateLimit(
        limit=int(limit[1]),
        remaining=int(remaining[1]),
        window=None if window is None else int(window),
    )
