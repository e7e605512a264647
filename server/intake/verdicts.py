"""What a commit or a person changes about an event or a verdict: pure."""

from __future__ import annotations

from pipelines.events import Event, EventKind
from server.actions import NotFoundError
from server.deciding import Verdict
from server.mirrors import Snapshot
from server.store.rows import DecisionOutcome, NewRun, PipelineDecision


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
    runs = tuple(run for run in verdict.runs if run.pipeline == pipeline)
    decisions = tuple(one for one in verdict.pipelines if one.pipeline == pipeline)
    return verdict.model_copy(update={"runs": runs, "pipelines": decisions})


def with_runs(
    pipelines: tuple[PipelineDecision, ...], runs: list[int]
) -> tuple[PipelineDecision, ...]:
    """The pipelines' decisions with the numbers of the runs they started."""
    numbers = iter(runs)
    return tuple(
        one.model_copy(update={"run": next(numbers)}) if one.start else one for one in pipelines
    )


def unreadable(event: Event, why: str) -> Verdict:
    """The commit cannot be had: a run that says so, so that the commit's status does too."""
    reason = f"commit {event.short_sha} could not be read: {why}"
    told = PipelineDecision(pipeline="default", file="", start=True, reason=reason)
    run = NewRun(pipeline="default", file="", definition="", plan=None, sentence=reason)
    return Verdict(
        outcome=DecisionOutcome.INVALID,
        reason=reason,
        pipelines=(told,),
        runs=(run,),
        final=False,
    )
