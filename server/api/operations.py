"""How the whole server is doing, as JSON."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from pipelines.progress import State
from server import telling
from server.api.models import Answer
from server.notices import Level
from server.operations import Backlog, Report
from server.store.tallies import Tally


class Waiting(Answer):
    """How many things wait, and for how long."""

    count: int
    oldest_seconds: float = Field(description="How long the oldest has waited; 0 where none does.")


class HostWaiting(Answer):
    """A host that has not taken some statuses yet."""

    host: str
    statuses: int
    next_try: AwareDatetime = Field(description="Not asked before; it may have asked for quiet.")


class DiskRoom(Answer):
    """A disk that Lading writes on."""

    holds: list[str] = Field(description="database, logs, mirrors, engine.")
    free_bytes: int
    total_bytes: int
    level: Level | None = Field(description="Null: room enough.")


class NoticeText(Answer):
    """What is paused or about to be, why, and what to do."""

    part: str
    level: Level
    text: str
    since: AwareDatetime


class Counted(Answer):
    """How often something has happened, over all restarts."""

    count: int
    last_at: AwareDatetime | None


class Sentence(Answer):
    """One part of the server in words."""

    part: str
    text: str
    level: Level | None = Field(description="Null: all is well with it.")


class Operations(Answer):
    """How the whole server is doing."""

    at: AwareDatetime
    paused: bool = Field(description="Whether no new run starts now; the notices say why.")
    notices: list[NoticeText]
    runs: dict[State, int] = Field(description="Runs by the state of their newest attempt.")
    queue: Waiting = Field(description="Attempts that wait for a slot.")
    deliveries: Waiting = Field(description="Deliveries that no decision was made about.")
    quarantined: Waiting = Field(description="Deliveries set aside: reading them failed.")
    outbox: Waiting = Field(description="Commit statuses that their host has not taken.")
    hosts: list[HostWaiting]
    adopted: Counted = Field(description="Attempts taken up after a restart.")
    lost: Counted = Field(description="Attempts that ended because something of theirs was gone.")
    starts: Counted
    unclean_stops: Counted = Field(description="Starts after a stop that was not clean.")
    engine_fault: str | None = Field(description="Why the engine cannot be used; null: it can.")
    disks: list[DiskRoom]
    last_backup: AwareDatetime | None = Field(description="When `lading backup` last wrote a copy.")
    last_cleanup: Counted
    sentences: list[Sentence] = Field(description="The same in words, as the page shows it.")


def view(report: Report) -> Operations:
    """A report as the API's answer."""
    return Operations(
        at=report.at,
        paused=any(notice.level is Level.PAUSE for notice in report.notices),
        notices=[NoticeText(**notice.model_dump()) for notice in report.notices],
        runs={state: report.runs.get(state, 0) for state in State},
        queue=_waiting(report.queue),
        deliveries=_waiting(report.deliveries),
        quarantined=_waiting(report.quarantined),
        outbox=_waiting(report.outbox),
        hosts=[HostWaiting(**host.model_dump()) for host in report.hosts],
        adopted=_counted(report, Tally.ADOPTED),
        lost=_counted(report, Tally.LOST),
        starts=_counted(report, Tally.STARTS),
        unclean_stops=_counted(report, Tally.UNCLEAN_STOPS),
        engine_fault=report.engine_fault or None,
        disks=[
            DiskRoom(
                holds=list(disk.holds),
                free_bytes=disk.free,
                total_bytes=disk.total,
                level=disk.level,
            )
            for disk in report.disks
        ],
        last_backup=report.last_backup,
        last_cleanup=_counted(report, Tally.CLEANUPS),
        sentences=[Sentence(**said.model_dump()) for said in telling.told(report)],
    )


def _waiting(backlog: Backlog) -> Waiting:
    return Waiting(count=backlog.count, oldest_seconds=backlog.age)


def _counted(report: Report, tally: Tally) -> Counted:
    row = report.tallies.get(tally)
    return Counted(count=report.count(tally), last_at=None if row is None else row.last_at)
