"""What must be true when all is quiet again; each fault in a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from pipelines.progress import State
from scripts.havoc.traffic import Counting, Push
from server.store import runs
from server.store.rows import RunRow
from server.store.tables import decisions, deliveries, statuses
from server.store.tables import runs as run_rows
from tests.doubles.github import GitHubDouble
from tests.parts.process import LadingProcess

_NUMBER = {stream: re.compile(rf"^{stream}-(\d+)\.$", re.MULTILINE) for stream in ("out", "err")}
_SHOWN = {"success": "success", "failure": "failure"}


def lost_deliveries(server: LadingProcess, accepted: Sequence[str]) -> list[str]:
    """Faults of deliveries that were answered with a 2xx, by the host's ids."""
    return list(server.read(_lost_deliveries, accepted))


def _lost_deliveries(conn: sa.Connection, accepted: Sequence[str]) -> Iterator[str]:
    rows = {
        row.delivery_id: row
        for row in conn.execute(
            sa.select(deliveries.c.id, deliveries.c.delivery_id, deliveries.c.state)
        )
    }
    decided = Counter(conn.execute(sa.select(decisions.c.delivery)).scalars())
    faults = []
    for name in accepted:
        row = rows.get(name)
        if row is None:
            faults.append(f"delivery {name} was accepted and is not stored")
        elif row.state != "decided":
            faults.append(f"delivery {name} is {row.state}")
        elif decided[row.id] != 1:
            faults.append(f"delivery {name} has {decided[row.id]} decisions")
    return iter(faults)


def unsound(server: LadingProcess) -> list[str]:
    """What SQLite's own check finds."""
    found = server.read(_integrity)
    return [] if found == ["ok"] else [f"the database is damaged: {line}" for line in found]


def _integrity(conn: sa.Connection) -> list[str]:
    return [str(line) for line in conn.execute(sa.text("PRAGMA integrity_check")).scalars()]


def wrong_pushes(server: LadingProcess, github: GitHubDouble, pushes: Sequence[Push]) -> list[str]:
    """Faults of runs, their statuses and their output."""
    found: dict[str, list[RunRow]] = {}
    for run in server.read(runs.runs_page, limit=1_000_000):
        found.setdefault(run.sha, []).append(run)
    faults = [
        f"push {push.number} ({push.kind.name}): {fault}"
        for push in pushes
        for fault in _wrong(server, github, push, found.pop(push.sha, []))
    ]
    strays = [f"run {run.id} belongs to no push" for extra in found.values() for run in extra]
    return faults + strays


def _wrong(
    server: LadingProcess, github: GitHubDouble, push: Push, found: list[RunRow]
) -> Iterator[str]:
    names = sorted(run.pipeline for run in found)
    if names != sorted(push.kind.results):
        yield f"has runs of {names}, wanted one of each of {sorted(push.kind.results)}"
    if len({run.decision for run in found}) > 1:
        yield "was decided about more than once"
    for run in found:
        wanted = push.kind.results.get(run.pipeline)
        if run.state != wanted or run.attempt != 1:
            yield f"run {run.id} is {run.state} ({run.sentence}) in attempt {run.attempt}"
        yield from _wrong_statuses(github, push, run)
        for step, counting in push.kind.steps.get(run.pipeline, {}).items():
            yield from _wrong_output(server, run, step, counting)


def _wrong_statuses(github: GitHubDouble, push: Push, run: RunRow) -> Iterator[str]:
    history = github.history(push.repository.full_name, run.sha, f"lading/push/{run.pipeline}")
    states = [status.state for status in history]
    if states[-1:] != [_SHOWN.get(run.state, "error")]:
        yield f"run {run.id} is {run.state}, and the host shows {states}"
    if states != sorted(states, key=lambda state: state != "pending"):
        yield f"the statuses of run {run.id} went backwards: {states}"


def _wrong_output(
    server: LadingProcess, run: RunRow, step: str, counting: Counting
) -> Iterator[str]:
    text = server.logs.read(run.id, run.attempt, step, start=0, limit=1 << 26).decode()
    wanted = list(range(1, counting.lines + 1))
    for stream, numbered in _NUMBER.items():
        numbers = [int(number) for number in numbered.findall(text)]
        if numbers != wanted:
            yield f"{step} of run {run.id}, {stream}: {_difference(numbers, counting.lines)}"


def _difference(numbers: list[int], lines: int) -> str:
    counted = Counter(numbers)
    missing = [number for number in range(1, lines + 1) if not counted[number]]
    double = [number for number, times in counted.items() if times > 1]
    if not missing and not double:
        return "all lines once, in another order"
    return f"{len(missing)} lines are missing ({missing[:5]}), {len(double)} double ({double[:5]})"


def unquiet(server: LadingProcess) -> str:
    """What still goes on; empty when nothing does."""
    return server.read(_unquiet)


def _unquiet(conn: sa.Connection) -> str:
    counts = {
        "deliveries wait": sa.select(sa.func.count()).where(deliveries.c.state == "waiting"),
        "runs have not ended": sa.select(sa.func.count()).where(
            run_rows.c.state.in_((State.WAITING, State.RUNNING))
        ),
        "statuses wait": sa.select(sa.func.count()).where(statuses.c.due_at.is_not(None)),
    }
    found = {what: conn.execute(query).scalar_one() for what, query in counts.items()}
    return ", ".join(f"{count} {what}" for what, count in found.items() if count)
