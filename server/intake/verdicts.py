"""What a commit or a person changes about an event or a verdict: pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipelines.events import Event, EventKind, Slot
from server.actions import ConflictError, InputsError, NotFoundError
from server.deciding import Verdict
from server.mirrors import MirrorError, Resolved, Snapshot
from server.store.rows import DecisionOutcome, Found, NewRun, PipelineDecision, RepositoryRow


def completed(event: Event, snapshot: Snapshot) -> Event:
    """The event with what the commit itself says, which no payload can get wrong or leave out.

    An annotated tag is not the commit; a pull request keeps its own title.
    """
    commit = snapshot.commit
    own_title = event.title if event.kind is EventKind.PULL_REQUEST else ""
    return event.model_copy(
        update={
            "sha": snapshot.sha,
            "title": own_title or commit.title,
            "message": commit.message,
            "author": commit.author or event.author,
        }
    )


def only(verdict: Verdict, pipeline: str | None) -> Verdict:
    """The verdict's part about one pipeline; the whole where none is named.

    Raises:
        NotFoundError: There is no pipeline of that name.
    """
    if pipeline is None:
        return verdict
    if pipeline not in [decision.pipeline for decision in verdict.pipelines]:
        names = ", ".join(decision.pipeline for decision in verdict.pipelines) or "none"
        message = f"there is no pipeline {pipeline} at that commit; there are: {names}"
        raise NotFoundError(message)
    return _part(verdict, lambda one: one.pipeline == pipeline)


def of_slot(verdict: Verdict, slot: Slot) -> Verdict:
    """The verdict's part about the file whose time has come."""
    return _part(verdict, lambda one: one.file == slot.file)


def refuse(verdict: Verdict) -> None:
    """See that what a person gave fits.

    Raises:
        InputsError: It does not.
    """
    faults = [one.reason for one in verdict.pipelines if one.refused]
    if faults:
        raise InputsError("; ".join(faults))


def _part(verdict: Verdict, wanted: Callable[[PipelineDecision], bool]) -> Verdict:
    decisions = tuple(one for one in verdict.pipelines if wanted(one))
    files = {one.file for one in decisions}
    runs = tuple(run for run in verdict.runs if run.file in files)
    reason = "; ".join(one.reason for one in decisions) or verdict.reason
    outcome = verdict.outcome if runs else DecisionOutcome.NOTHING
    return verdict.model_copy(
        update={"runs": runs, "pipelines": decisions, "reason": reason, "outcome": outcome}
    )


def with_runs(
    pipelines: tuple[PipelineDecision, ...], runs: list[int]
) -> tuple[PipelineDecision, ...]:
    """The pipelines' decisions with the numbers of the runs they started."""
    numbers = iter(runs)
    return tuple(
        one.model_copy(update={"run": next(numbers)}) if one.start else one for one in pipelines
    )


def unreadable(event: Event, error: MirrorError) -> Verdict:
    """The commit cannot be had: a run that says so, so that the commit's status does too."""
    reason = f"commit {event.short_sha} could not be read: {error}"
    told = PipelineDecision(pipeline="default", file="", start=True, reason=reason)
    run = NewRun(pipeline="default", file="", definition="", plan=None, sentence=reason)
    return Verdict(
        outcome=DecisionOutcome.INVALID,
        reason=reason,
        pipelines=(told,),
        runs=(run,),
        final=False,
        refused=error.refused,
    )


def ignored(reason: str) -> Verdict:
    """A stranger's pull request where none are built; told again, it is decided again."""
    return Verdict(
        outcome=DecisionOutcome.NOTHING, reason=reason, pipelines=(), runs=(), final=False
    )


def gone(event: Event) -> Verdict:
    """The branch or tag was deleted before its commit was built."""
    what = f"the tag {event.tag}" if event.tag else f"the branch {event.branch}"
    reason = f"{what} has been deleted meanwhile: nothing to build"
    return Verdict(
        outcome=DecisionOutcome.NOTHING, reason=reason, pipelines=(), runs=(), final=False
    )


def worded(verdict: Verdict, event: Event, *, found: Found | None, head: str | None) -> Verdict:
    """The verdict with the words on how its delivery was found, and how late it came.

    Args:
        verdict: What the commit says.
        event: What happened.
        found: How the delivery was found, if it did not come by itself.
        head: The commit the branch or tag is at by now, where that is known.
    """
    reason, schedules = verdict.reason, verdict.schedules
    if found is not None:
        reason = f"{found.sentence[0].upper()}{found.sentence[1:]}. {reason}"
    if head is not None and head != event.sha:
        name = event.tag or event.branch
        reason = f"{reason} By now {name} is at {head[:12]}."
        schedules = None  # the newer commit says what holds
    return verdict.model_copy(update={"reason": reason, "schedules": schedules})


def asked_for(
    repository: RepositoryRow, found: Resolved, by: str, inputs: Mapping[str, str]
) -> Event:
    """What a person asks for, as an event."""
    event = _at(EventKind.MANUAL, repository, found)
    return event.model_copy(update={"actor": by, "inputs": dict(inputs)})


def of_time(repository: RepositoryRow, found: Resolved, slot: Slot) -> Event:
    """A time that has come, as an event of the default branch's head."""
    event = _at(EventKind.SCHEDULE, repository, found)
    return event.model_copy(update={"slot": slot})


def _at(kind: EventKind, repository: RepositoryRow, found: Resolved) -> Event:
    return Event(
        kind=kind,
        repository=repository.full_name,
        sha=found.sha,
        ref=found.ref,
        branch=found.branch,
        tag=found.tag,
        default_branch=repository.default_branch,
    )


def one_of(rows: Sequence[RepositoryRow], name: str, host: str | None) -> RepositoryRow:
    """The one repository that a person means.

    Raises:
        NotFoundError: There is none of that name.
        ConflictError: Several hosts have one.
    """
    found = [row for row in rows if host in (None, row.host)]
    if not found:
        message = (
            f"no repository {name} is known"
            f"{f' at host {host}' if host else ''}: it becomes known with its first delivery"
        )
        raise NotFoundError(message)
    if len(found) > 1:
        names = ", ".join(row.host for row in found)
        message = f"several hosts have a repository {name}: name one of {names}"
        raise ConflictError(message)
    return found[0]
