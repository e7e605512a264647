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
    runs = "1 runs" if running == 1 else f"{running or 'None'} run{'' if running else 's'}"
    held = report.runs.get(State.HELD, 0)
    asks = f"; {held} held until somebody approves" if held else ""
    return f"{runs}; {_waiting(report.queue)}{asks}."


def _waiting(backlog: Backlog, what: str = "") -> str:
    """`3 wait to be read, the oldest for 2 min`."""
    if not backlog.count:
        return f"none waits{what}"
    age = format_duration(backlog.age)
    if backlog.count == 1:
        return f"1 waits{what}, for {age}"
    return f"{backlog.count} wait{what}, the oldest for {age}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _deliveries(report: Report) -> Iterator[Told]:
    yield Told(part="Deliveries", text=_sentence(_waiting(report.deliveries, " to be read")))
    aside = report.quarantined
    if aside.count:
        what = "One is set aside" if aside.count == 1 else f"{aside.count} are set aside"
        text = (
            f"{what}, since {format_duration(aside.age)}: reading failed again and again. See "
            "`lading deliveries`, mend the cause, then have it read again with `lading redeliver`."
        )
        yield Told(part="Deliveries set aside", text=text, level=Level.WARNING)


def _statuses(report: Report) -> Iterator[Told]:
    text = _waiting(report.outbox, " to be told to a host")
    yield Told(part="Statuses", text=_sentence(text))
    for one in report.hosts:
        if (wait := (one.next_try - report.at).total_seconds()) > 0:
            what = f"{one.statuses} of them wait" if one.statuses > 1 else "one waits"
            text = f"{what} for {one.host}, which is asked again in {format_duration(wait)}"
            yield Told(part=f"Host {one.host}", text=_sentence(text))


def _engine(report: Report) -> Told:
    if report.engine_fault:
        return Told(part="Engine", text=_sentence(report.engine_fault), level=Level.WARNING)
    return Told(part="Engine", text="It answers.")


def _disk(disk: Disk) -> Told:
    return Told(part="Disk", text=_sentence(str(disk)), level=disk.level)


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
