"""What people must know of the whole server: what it has paused or is about to, and why."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime

from pipelines.values import Value


class Level(StrEnum):
    """How bad it is."""

    WARNING = "warning"
    """All works still."""
    PAUSE = "pause"
    """No new run starts; what runs goes on, and webhooks are taken."""


class Notice(Value):
    """One thing that people must know."""

    part: str
    """What it is about: `disk`. There is one notice for each part."""
    level: Level
    text: str
    """What happened, why, and what to do next; the same words for as long as it lasts."""
    since: AwareDatetime


class Board:
    """The notices of now, for everybody who shows them or heeds them."""

    def __init__(self) -> None:
        self._notices: dict[str, Notice] = {}

    def put(self, notice: Notice) -> bool:
        """Put a notice up in place of the part's earlier one; False where it says the same."""
        known = self._notices.get(notice.part)
        if known is not None and (known.level, known.text) == (notice.level, notice.text):
            return False
        self._notices[notice.part] = notice
        return True

    def take_down(self, part: str) -> bool:
        """All is well with the part again; False where it was before."""
        return self._notices.pop(part, None) is not None

    def about(self, part: str) -> Notice | None:
        """The notice of a part; None where all is well with it."""
        return self._notices.get(part)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Those that are up, the worst first."""
        return tuple(sorted(self._notices.values(), key=lambda one: one.level is Level.WARNING))

    @property
    def paused(self) -> bool:
        """Whether no new run may start."""
        return any(notice.level is Level.PAUSE for notice in self._notices.values())
