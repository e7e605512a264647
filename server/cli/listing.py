"""Runs, one run, the queue, schedules: what a server tells, for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

from pipelines.durations import format_duration
from server.cli.errors import UsageError
from server.cli.tables import ago, coloured, cut, one_line, span, table
from server.cli.terminal import Paint, paint_for, tolerant
from server.client.answers import STATES, Queue, Run, RunBrief, Runs, Schedules, Step
from server.client.connection import Server
from server.client.errors import RefusedError

MOST = 1000
_AT_ONCE = 200
_LAST_LINES = 20
_LAST_BYTES = 16 * 1024
_BAD = ("failure", "error")


def as_json(answer: object) -> str:
    """For programs, as the API gave it."""
    return json.dumps(answer, indent=2, ensure_ascii=True)


def runs(
    server: Server,
    *,
    repository: str | None,
    branch: str | None,
    state: str | None,
    limit: int,
    programs: bool,
) -> Iterator[str]:
    """Runs, newest first.

    Raises:
        UsageError: There is no such state.
        ClientError: The server cannot be asked.
    """
    if state is not None and state not in STATES:
        raise UsageError(f"--state: {state[:100]!r} is none of {', '.join(STATES)}")
    query = {"repository": repository, "branch": branch, "state": state}
    found: list[object] = []
    before = None
    while len(found) < limit:
        size = min(limit - len(found), _AT_ONCE)
        answer = server.ask("GET", "/runs", query={**query, "before": before, "limit": size})
        page = server.read(Runs, answer)
        found += answer["items"]
        if page.next is None or not page.items:
            break
        before = page.items[-1].id
    if programs:
        yield as_json(found)
        return
    rows = server.read(Runs, {"items": found, "next": None}).items
    tolerant(sys.stdout)
    if not rows:
        yield "No run is like that." if any(query.values()) else "There is no run yet."
        return
    now = datetime.now(UTC)
    head = ("RUN", "STATE", "REPOSITORY", "PIPELINE", "OF", "STARTED", "TOOK", "TITLE")
    yield from table(head, [_cells(row, now) for row in rows], paint_for(sys.stdout), state=1)


def _cells(run: RunBrief, now: datetime) -> tuple[str, ...]:
    return (
        str(run.id),
        run.state,
        run.repository.name,
        run.pipeline,
        place(run),
        ago(run.created_at, now),
        span(run.started_at, run.ended_at),
        cut(run.title, 72),
    )


def place(run: RunBrief) -> str:
    """What it is a run of: `main 1a2b3c4`, `v1.2`, `#7`."""
    name = run.tag or (f"#{run.pull_request}" if run.pull_request else run.branch) or ""
    return f"{name} {run.sha[:7]}".strip()


def show(server: Server, number: int, *, programs: bool) -> Iterator[str]:
    """A run with its steps, and the last lines of what failed.

    Raises:
        ClientError: There is no such run, or the server cannot be asked.
    """
    answer = server.ask("GET", f"/runs/{number}")
    if programs:
        yield as_json(answer)
        return
    run = server.read(Run, answer)
    tolerant(sys.stdout)
    paint = paint_for(sys.stdout)
    yield from _headline(run, paint)
    yield from _problems(run)
    if run.steps:
        yield ""
        head = ("STEP", "RESULT", "TIME", "WHY")
        yield from table(head, [_step(step) for step in run.steps], paint, state=1)
    for image in run.images:
        yield ""
        yield f"pushed {one_line(image.reference)}"
        yield f"    as {one_line(', '.join(image.tags))}"
    for step in run.steps:
        if step.state in _BAD and step.started_at is not None:
            yield from _last_lines(server, run, step, paint)


def _headline(run: Run, paint: Paint) -> Iterator[str]:
    name = paint.bold(f"run {run.id}")
    what = f"{run.repository.name} {run.pipeline}, {run.event} {place(run)}"
    yield f"{name}  {coloured(run.state, paint)(run.state)}  {one_line(what)}"
    if run.title:
        yield f"  {cut(run.title, 200)}{f' ({cut(run.actor)})' if run.actor else ''}"
    sentence = run.sentence or run.waits_for or ""
    attempt = run.attempts[-1] if run.attempts else None
    if attempt is not None and attempt.cancelled_at and not attempt.ended:
        sentence = f"is being stopped, asked by {attempt.cancelled_by or 'a newer run'}"
    if sentence:
        yield f"  {one_line(sentence)}"
    again = (
        f", attempt {run.attempt} ({one_line(attempt.reason)})"
        if attempt and run.attempt > 1
        else ""
    )
    took = span(run.started_at, run.ended_at)
    yield f"  {run.created_at:%Y-%m-%d %H:%M:%S} UTC{f', {took}' if took else ''}{again}"
    yield f"  {one_line(run.page)}"


def _problems(run: Run) -> Iterator[str]:
    for problem in run.definition.problems:
        at = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
        yield f"  {one_line(at)}: {one_line(problem.message)} ({one_line(problem.code)})"
        if problem.hint:
            yield f"    hint: {one_line(problem.hint)}"


def _step(step: Step) -> tuple[str, ...]:
    why = step.outcome.message if step.outcome is not None else ""
    if step.carried_from is not None:
        why = f"carried over from attempt {step.carried_from}"
    return (step.key, step.state, span(step.started_at, step.ended_at), why)


def _last_lines(server: Server, run: Run, step: Step, paint: Paint) -> Iterator[str]:
    path = f"/runs/{run.id}/attempts/{run.attempt}/steps/{quote(step.key, safe='')}/log"
    try:
        data = server.tail(path, _LAST_BYTES)
    except RefusedError as error:  # removed for its age
        yield f"\n{paint.bold(one_line(step.key))}: {one_line(str(error))}"
        return
    lines = data.decode(errors="replace").splitlines()
    if len(data) == _LAST_BYTES:
        lines = lines[1:]
    shown = lines[-_LAST_LINES:]
    if not shown:
        return
    yield ""
    yield paint.bold(f"the last lines of {one_line(step.key)}")
    yield from (f"  {one_line(line)}" for line in shown)
    yield paint.dim(f"  all of it: lading logs {run.id} {one_line(step.key)}")


def queue(server: Server, *, limit: int, programs: bool) -> Iterator[str]:
    """What waits, for what and how long, in the order it will be taken.

    Raises:
        ClientError: The server cannot be asked.
    """
    answer = server.ask("GET", "/queue", query={"limit": limit})
    if programs:
        yield as_json(answer)
        return
    tolerant(sys.stdout)
    waiting = server.read(Queue, answer)
    if not waiting.items:
        yield "Nothing waits."
        return
    head = ("RUN", "REPOSITORY", "PIPELINE", "OF", "WAITS SINCE", "FOR")
    rows = [
        (
            str(one.run.id),
            one.run.repository.name,
            one.run.pipeline,
            place(one.run),
            format_duration(one.waited_seconds),
            one.waits_for,
        )
        for one in waiting.items
    ]
    yield from table(head, rows, paint_for(sys.stdout))
    if waiting.waiting > len(rows):
        yield f"and {waiting.waiting - len(rows)} more"


def schedules(server: Server, *, repository: str | None, programs: bool) -> Iterator[str]:
    """What starts at a time, the next one first.

    Raises:
        ClientError: The server cannot be asked.
    """
    answer = server.ask("GET", "/schedules", query={"repository": repository})
    if programs:
        yield as_json(answer["items"])
        return
    tolerant(sys.stdout)
    rows = [
        (
            one.repository.name,
            one.pipeline,
            one.cron,
            one.timezone,
            f"{one.next_at:%Y-%m-%d %H:%M}",
            f"run {one.last_run.id} {one.last_run.state}" if one.last_run else "-",
        )
        for one in server.read(Schedules, answer).items
    ]
    head = ("REPOSITORY", "PIPELINE", "CRON", "TIME ZONE", "NEXT (UTC)", "LAST")
    yield from table(head, rows, paint_for(sys.stdout))
