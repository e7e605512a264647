"""Listing what arrived, and having it read once more."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.problems import LadingError
from server.cli.settings import UsageError
from server.cli.tokens import opened
from server.config import Settings
from server.store import deliveries as delivery_verbs
from server.store.rows import DecisionRow, DeliveryRow

_HEAD = ("ID", "RECEIVED (UTC)", "HOST", "EVENT", "OUTCOME", "WHY")
_EVENT_SHOWN = 24  # characters of what a host calls the event
_LONGEST = 200  # characters of a reason


class WaitsAlreadyError(LadingError):
    """The delivery was not read yet; there is nothing to do again."""


class NoLongerKeptError(LadingError):
    """The delivery's headers and body were removed for their age."""


def listed(settings: Settings, *, limit: int) -> Iterator[str]:
    """A line for each delivery, newest first, under a line of headings."""
    with opened(settings) as database:
        rows = database.run(delivery_verbs.deliveries_page, limit=limit)
        decided = database.run(delivery_verbs.decisions_of, [row.id for row in rows])
    table = [_HEAD, *(_cells(row, decided.get(row.id)) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEAD) - 1)]
    for line in table:
        padded = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)]
        yield "  ".join([*padded, line[-1]]).rstrip()


def _cells(row: DeliveryRow, decision: DecisionRow | None) -> tuple[str, ...]:
    outcome = row.state if decision is None else decision.outcome
    why = row.error or "" if decision is None else decision.reason
    return (
        row.id,
        f"{row.received_at:%Y-%m-%d %H:%M:%S}",
        row.host,
        _plain(row.event_type, _EVENT_SHOWN),
        str(outcome),
        _plain(why, _LONGEST),
    )


def _plain(text: str, most: int) -> str:
    """Strangers' text for a terminal: one line, no control characters."""
    line = "".join(one if one.isprintable() else " " for one in text)
    return line if len(line) <= most else line[: most - 1] + "…"


def requeue(settings: Settings, delivery: str) -> None:
    """Have a delivery read once more.

    Raises:
        UsageError: There is none of that id.
        WaitsAlreadyError: It waits to be read.
    """
    with opened(settings) as database:
        row = database.run(delivery_verbs.delivery, delivery)
        if row is None:
            raise UsageError(
                f"there is no delivery {delivery[:40]!r}: `lading deliveries` names the newest"
            )
        if row.emptied_at is not None:
            raise NoLongerKeptError(
                f"what was received as delivery {delivery} was removed for its age on "
                f"{row.emptied_at:%Y-%m-%d}, so it cannot be read again: start a run by hand"
            )
        if not database.run(delivery_verbs.requeue_delivery, delivery):
            raise WaitsAlreadyError(
                f"delivery {delivery} waits to be read already: start the server if it does not "
                "run, and look at `lading deliveries` in a moment"
            )
