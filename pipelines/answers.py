"""What people say to steps that ask for approval, as it becomes known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from pipelines.values import Value


class Answer(Value):
    """What was said to one step."""

    refused: str | None = None
    """Why it may not start, as a sentence; None: it may."""


class Answers:
    """The answers to the steps of one attempt, by key; filled while the attempt runs."""

    def __init__(self, given: Mapping[str, Answer] | None = None) -> None:
        self._given = dict(given or {})
        self._changed = asyncio.Event()

    def give(self, given: Mapping[str, Answer]) -> None:
        """Add answers; the first one to a step counts."""
        self._given = {**given, **self._given}
        self._changed.set()

    def to(self, key: str) -> Answer | None:
        """What was said to a step; None: nothing yet."""
        return self._given.get(key)

    async def wait(self) -> None:
        """Until there is an answer more than when this was called the last time."""
        await self._changed.wait()
        self._changed.clear()
