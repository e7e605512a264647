"""A report on the server in sentences, for the page and for `lading status`; pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pipelines.durations import format_duration
from pipelines.progress import State
from pipelines.values import Value
from server.disks import Disk
from server.notices import Level
from server.operations import Backlog, Report
from server.store.tallies import Tally


class Told(Value):
    """What is said of one part."""

    part: str
    text: str
    level: Level | None = None
    """None: all is well with it."""


def told(report: Report) -> list[Told]:
    """How the server is doing, part by part."""
    return [
        Told(part="Runs", text=_runs(report)),
        *_deliveries(report),
        *_statuses(report),
        _engine(report),
        *(_disk(disk) for disk in report.disks),
        Told(part="Backup", text=_backup(report)),
        Told(part="Restarts", text=_restarts(report)),
        Told(part="Cleaning up", text=_cleanup(report)),
    ]


def _runs(report: Report) -> str:
    running = report.runs.get(State.RUNNING, 0)
    runs = "None runs" if not running else f"{running} run" + ("s" if running == 1 else "")
    return f"{runs}; {_waiting(report.queue, 'none waits')}."


def _waiting(backlog: Backlog, none: str) -> str:
    """`3 wait, the oldest for 2 min`."""
    if not backlog.count:
        return none
    age = format_duration(backlog.age)
    return (
        f"1 waits, for {age}"
        if backlog.count == 1
        else f"{backlog.count} wait, the oldest for {age}"
    )


def _deliveries(report: Report) -> Iterator[Told]:
    text = _waiting(report.deliveries, "none waits")
    yield Told(part="Deliveries", text=f"{text[0].upper()}{text[1:]} to be read.")
    aside = report.quarantined
    if aside.count:
        what = "One is set aside" if aside.count == 1 else f"{aside.count} are set aside"
        text = (
            f"{what}, since {format_duration(aside.age)}: reading failed again and again. See "
            "`lading deliveries`, mend the cause, then have it read again with `lading redeliver`."
        )
        yield Told(part="Deliveries set aside", text=text, level=Level.WARNING)


def _statuses(report: Report) -> Iterator[Told]:
    text = _waiting(report.outbox, "none waits")
    yield Told(part="Statuses", text=f"{text[0].upper()}{text[1:]} to be told to a host.")
    for one in report.hosts:
        if (wait := (one.next_try - report.at).total_seconds()) > 0:
            told = f"{one.statuses} of them wait" if one.statuses > 1 else "one waits"
            text = f"{told} for {one.host}, which is asked again in {format_duration(wait)}."
            yield Told(part=f"Host {one.host}", text=text)


def _engine(report: Report) -> Told:
    if report.engine_fault:
        text = report.engine_fault
        return Told(part="Engine", text=f"{text[0].upper()}{text[1:]}.", level=Level.WARNING)
    return Told(part="Engine", text="It answers.")


def _disk(disk: Disk) -> Told:
    text = str(disk)
    return Told(part="Disk", text=f"{text[0].upper()}{text[1:]}.", level=disk.level)


def _backup(report: Report) -> str:
    if report.last_backup is None:
        return "None was made yet: `lading backup FILE` makes one while the server goes on."
    return f"The last one was made {_ago(report.last_backup, report.at)}."


def _restarts(report: Report) -> str:
    adopted, lost = report.count(Tally.ADOPTED), report.count(Tally.LOST)
    start = report.tallies.get(Tally.STARTS)
    begun = (
        "Not started yet"
        if start is None
        else f"{_times(start.count)}, last {_ago(start.last_at, report.at)}"
    )
    unclean = report.count(Tally.UNCLEAN_STOPS)
    after = (
        f", after {_stops(unclean)} that {'was' if unclean == 1 else 'were'} not clean"
        if unclean
        else ""
    )
    return f"{begun}{after}. Attempts taken up after a restart: {adopted}; lost: {lost}."


def _times(count: int) -> str:
    return "Started once" if count == 1 else f"Started {count} times"


def _stops(count: int) -> str:
    return "one stop" if count == 1 else f"{count} stops"


def _cleanup(report: Report) -> str:
    last = report.tallies.get(Tally.CLEANUPS)
    if last is None:
        return "Not done yet: it is done each night."
    return f"Last done {_ago(last.last_at, report.at)}: {last.note}"


def _ago(at: datetime, now: datetime) -> str:
    return f"{format_duration(max((now - at).total_seconds(), 0.0))} ago"
