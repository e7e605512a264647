"""Repositories that git may not read: flagged, and read again when somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from pipelines.events import Event
from server.actions import ConflictError
from server.deciding import Verdict
from server.hosts.port import StatusState
from server.intake import verdicts
from server.store import deliveries as delivery_verbs
from server.store import pauses as pause_verbs
from server.store import runs as run_verbs
from server.store import statuses as status_verbs
from server.store.rows import NewRun, PauseKind, RepositoryRow, RunRow

REFUSED_WAIT = timedelta(hours=1)
"""How long a repository that git may not read is left alone where nobody pushes."""

AddRun = Callable[[NewRun], int]


def note(conn: Connection, repository: RepositoryRow, verdict: Verdict, at: datetime) -> None:
    """Flag a repository that git may no longer read, or take the flag away."""
    if verdict.refused:
        pause_verbs.pause(
            conn,
            repository.host,
            kind=PauseKind.FETCH,
            repository=repository.id,
            reason=verdict.reason,
            now=at,
            until=at + REFUSED_WAIT,
        )
    elif verdict.final:
        pause_verbs.resume(conn, repository.host, repository.id, [PauseKind.FETCH])


def write_again(
    conn: Connection,
    run: RunRow,
    event: Event,
    verdict: Verdict,
    *,
    reason: str,
    add_run: AddRun,
    target_url: str,
    at: datetime,
) -> int:
    """Turn a run whose commit could not be read into what the commit says now.

    Its decision becomes the new one, and the run the pipeline of its name, else the first. Returns
    the number of the new attempt.

    Raises:
        ConflictError: Nothing starts, or somebody was quicker.
    """
    if not verdict.runs:
        message = f"the commit can be read now, and starts nothing: {verdict.reason}"
        raise ConflictError(message)
    taken = delivery_verbs.decision_of_event(conn, run.repository, run.event.key)
    if taken is not None:
        message = f"the same happening was decided by now: {taken.reason}"
        raise ConflictError(message)
    own = next((new for new in verdict.runs if new.pipeline == run.pipeline), verdict.runs[0])
    number = run_verbs.read_again(conn, run.id, event=event, new=own, reason=reason, at=at)
    if number is None:
        raise ConflictError(f"run {run.id} was read again already: look at its newest attempt")
    numbers = [run.id if new is own else add_run(new) for new in verdict.runs]
    delivery_verbs.decide_again(
        conn,
        run.decision,
        event=event,
        event_key=run.event.key,
        outcome=verdict.outcome,
        reason=verdict.reason,
        pipelines=verdicts.with_runs(verdict.pipelines, numbers),
    )
    _tell(conn, run, number, own, target_url=target_url, at=at)
    return number


def _tell(
    conn: Connection, run: RunRow, number: int, own: NewRun, *, target_url: str, at: datetime
) -> None:
    fresh = run_verbs.run(conn, run.id)
    if fresh is None:  # pragma: no cover - it was written just now
        raise AssertionError
    broken = own.plan is None
    wanted = [
        (
            fresh,
            StatusState.ERROR if broken else StatusState.PENDING,
            own.sentence
            if broken
            else fresh.sentence or "the commit was read again, waiting for a slot",
        )
    ]
    if fresh.context != run.context:
        # Nothing else would ever take the error under the old name back.
        wanted.append((run, StatusState.SUCCESS, f"could be read later: see {fresh.context}"))
    for row, state, description in wanted:
        status_verbs.want_status(
            conn,
            run=row,
            attempt=number,
            state=state,
            description=description,
            target_url=target_url,
            at=at,
        )
