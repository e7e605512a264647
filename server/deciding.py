"""From definitions and an event to what will be written down: pure."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime

from pipelines.definition import Definition
from pipelines.definition.fields import Missed
from pipelines.events import Event, EventKind
from pipelines.inputs import InputsInvalidError, refuse_unknown
from pipelines.linting import name_taken, not_read, placed
from pipelines.matching import decide, needs_changes
from pipelines.parsing import default_name, parse
from pipelines.planning import PlanDefaults, plan
from pipelines.problems import DefinitionInvalidError, Problem
from pipelines.recipes import Catalogue, Files, built_in, render_builds
from pipelines.values import Value
from server.store.rows import DecisionOutcome, NewRun, PipelineDecision

LOOKED_FOR = ".lading.yml, .lading/*.yml"


class ReadPipeline(Value):
    """One definition file, parsed."""

    file: str
    text: str
    name: str
    definition: Definition | None
    problems: tuple[Problem, ...]


class Scheduled(Value):
    """A schedule that a file names."""

    file: str
    pipeline: str
    cron: str
    timezone: str
    missed: Missed


class Verdict(Value):
    """What an event comes to: the decision's text, and the runs to write down with it."""

    outcome: DecisionOutcome
    reason: str
    pipelines: tuple[PipelineDecision, ...]
    runs: tuple[NewRun, ...]
    """In the order of the entries of `pipelines` that start."""
    final: bool = True
    """False where the commit could not be read: the same happening told again is tried again."""
    refused: bool = False
    """Whether it could not be read because the host does not let us."""
    schedules: tuple[Scheduled, ...] | None = None
    """The schedules that the files name, where the event is of the default branch's head."""


def read_pipelines(
    definitions: Mapping[str, bytes],
    unreadable: Mapping[str, str],
    templates: Catalogue | None = None,
) -> tuple[ReadPipeline, ...]:
    """Parse every definition of a commit, by file name.

    Args:
        definitions: Raw files by path.
        unreadable: Files that look like definitions and were not read, each with the reason.
        templates: What they may name. Default: those that come with Lading.
    """
    read = [_read(file, raw, templates or built_in()) for file, raw in definitions.items()]
    refused = [_refused(file, why) for file, why in unreadable.items()]
    return tuple(sorted(read + refused, key=lambda pipeline: pipeline.file))


def _refused(file: str, why: str) -> ReadPipeline:
    return ReadPipeline(
        file=file,
        text="",
        name=default_name(file),
        definition=None,
        problems=(not_read(file, why),),
    )


@functools.lru_cache(maxsize=64)  # most commits leave the file as it was
def _read(file: str, raw: bytes, templates: Catalogue) -> ReadPipeline:
    parsed = parse(raw, file, templates)
    return ReadPipeline(
        file=file,
        text=raw.decode("utf-8", "replace"),
        name=default_name(file) if parsed.definition is None else parsed.definition.name,
        definition=parsed.definition,
        problems=parsed.problems,
    )


def any_needs_changes(pipelines: Sequence[ReadPipeline], event: Event) -> bool:
    """Whether some pipeline asks which paths changed."""
    return any(
        pipeline.definition is not None and needs_changes(pipeline.definition, event)
        for pipeline in pipelines
    )


def judge(
    pipelines: Sequence[ReadPipeline],
    event: Event,
    *,
    changed: frozenset[str] | None,
    committed_at: datetime,
    defaults: PlanDefaults,
    templates: Catalogue | None = None,
    files: Files | None = None,
) -> Verdict:
    """Decide for each pipeline, and plan what starts.

    Args:
        pipelines: As `read_pipelines` gives them.
        event: What happened.
        changed: Paths that changed; None where that is not known.
        committed_at: The commit's own time.
        defaults: What a definition need not say.
        templates: As `read_pipelines` was given them.
        files: What the templates want to know of the commit. Default: nothing is there.

    Raises:
        InputsInvalidError: A person gave an input that no pipeline takes.
    """
    scheduled = _schedules(pipelines, event)
    if not pipelines:
        reason = f"no pipeline at commit {event.short_sha} (looked for {LOOKED_FOR})"
        return Verdict(
            outcome=DecisionOutcome.NOTHING,
            reason=reason,
            pipelines=(),
            runs=(),
            schedules=scheduled,
        )
    if event.kind is EventKind.MANUAL:
        read = [pipeline.definition for pipeline in pipelines if pipeline.definition]
        refuse_unknown(read, event.inputs)
    known = (templates or built_in(), files or Files())
    judged = [
        _judge_one(pipeline, event, changed, committed_at, defaults, known=known)
        for pipeline in pipelines
    ]
    judged = _refuse_same_names(judged)
    decisions = tuple(decision for decision, _ in judged)
    runs = tuple(run for _, run in judged if run is not None)
    return Verdict(
        outcome=_outcome(runs),
        reason=_reason(decisions),
        pipelines=decisions,
        runs=runs,
        schedules=scheduled,
    )


def _schedules(pipelines: Sequence[ReadPipeline], event: Event) -> tuple[Scheduled, ...] | None:
    """What a push to the default branch schedules; a file that is broken changes nothing."""
    of_default = event.kind is EventKind.PUSH and event.branch == event.default_branch
    if not of_default or any(pipeline.definition is None for pipeline in pipelines):
        return None
    return tuple(
        Scheduled(
            file=pipeline.file,
            pipeline=pipeline.name,
            cron=entry.cron,
            timezone=entry.timezone,
            missed=entry.missed,
        )
        for pipeline in pipelines
        if pipeline.definition is not None
        for entry in pipeline.definition.when
        if entry.cron is not None
    )


def _judge_one(
    pipeline: ReadPipeline,
    event: Event,
    changed: frozenset[str] | None,
    committed_at: datetime,
    defaults: PlanDefaults,
    *,
    known: tuple[Catalogue, Files],
) -> tuple[PipelineDecision, NewRun | None]:
    if pipeline.definition is None:
        return _broken(pipeline, pipeline.problems)
    decision = decide(pipeline.definition, event, changed)
    told = PipelineDecision(
        pipeline=pipeline.name,
        file=pipeline.file,
        start=decision.start,
        reason=decision.reason,
        conditions=tuple(condition.model_dump(mode="json") for condition in decision.conditions),
        problems=pipeline.problems,
    )
    if not decision.start:
        return told, None
    try:
        planned = plan(
            pipeline.definition,
            event,
            committed_at=committed_at,
            defaults=defaults,
            changed=changed,
            rendered=render_builds(pipeline.definition, *known),
        )
    except DefinitionInvalidError as error:
        return _broken(pipeline, placed(error.problems, pipeline.file, pipeline.text))
    except InputsInvalidError as error:
        return told.model_copy(update={"start": False, "reason": str(error), "refused": True}), None
    if not planned.steps:
        why = "; ".join(f"{key}: {reason}" for key, reason in planned.left_out.items())
        told = told.model_copy(update={"start": False, "reason": f"no step is left: {why}"})
        return told, None
    run = NewRun(
        pipeline=pipeline.name,
        file=pipeline.file,
        definition=pipeline.text,
        plan=planned,
        problems=pipeline.problems,
    )
    return told, run


def _broken(pipeline: ReadPipeline, problems: Sequence[Problem]) -> tuple[PipelineDecision, NewRun]:
    sentence = str(problems[0])
    told = PipelineDecision(
        pipeline=pipeline.name,
        file=pipeline.file,
        start=True,
        reason=f"the definition cannot be used: {sentence}",
        problems=tuple(problems),
    )
    run = NewRun(
        pipeline=pipeline.name,
        file=pipeline.file,
        definition=pipeline.text,
        plan=None,
        problems=tuple(problems),
        sentence=sentence,
    )
    return told, run


def _refuse_same_names(
    judged: list[tuple[PipelineDecision, NewRun | None]],
) -> list[tuple[PipelineDecision, NewRun | None]]:
    """Two files may not claim one name: their statuses would be one."""
    owners: dict[str, str] = {}
    result: list[tuple[PipelineDecision, NewRun | None]] = []
    for decision, run in judged:
        first = owners.setdefault(decision.pipeline, decision.file)
        if first == decision.file or run is None:
            result.append((decision, run))
            continue
        problem = name_taken(decision.file, decision.pipeline, first)
        own = f"{decision.pipeline}-{default_name(decision.file)}"
        pipeline = ReadPipeline(
            file=decision.file,
            text=run.definition,
            name=own,
            definition=None,
            problems=(problem,),
        )
        result.append(_broken(pipeline, (problem,)))
    return result


def _outcome(runs: Sequence[NewRun]) -> DecisionOutcome:
    if not runs:
        return DecisionOutcome.NOTHING
    if all(run.plan is None for run in runs):
        return DecisionOutcome.INVALID
    return DecisionOutcome.STARTED


def _reason(decisions: Sequence[PipelineDecision]) -> str:
    if len(decisions) == 1:
        return decisions[0].reason
    return "; ".join(f"{decision.pipeline}: {decision.reason}" for decision in decisions)
