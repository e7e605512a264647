"""What an event comes to for each pipeline file, with the reasons: a decision and a plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pipelines.definition.models import Definition
from pipelines.events import Event
from pipelines.linting import Linted, lint
from pipelines.matching import Changed, Decision, decide
from pipelines.parsing import parse
from pipelines.plan import Plan
from pipelines.planning import PlanDefaults, plan
from pipelines.problems import DefinitionInvalidError, Problem
from pipelines.recipes import Catalogue, Files, Look, Rendered, built_in, render_builds, sought
from pipelines.values import Value


class Explained(Value):
    """One pipeline held against an event."""

    file: str
    name: str
    start: bool
    """Whether a run would start; of a broken file one does, and ends in error at once."""
    reason: str
    """One sentence for people."""
    problems: tuple[Problem, ...] = ()
    decision: Decision | None = None
    """None where the definition cannot be used."""
    plan: Plan | None = None
    """What would run, were it started; None where that cannot be planned."""

    @property
    def broken(self) -> bool:
        """Whether the file has a mistake that keeps it from running."""
        return self.decision is None or (self.start and self.plan is None)


def explain(
    files: Mapping[str, bytes],
    unreadable: Mapping[str, str],
    event: Event,
    *,
    changed: Changed,
    committed_at: datetime,
    defaults: PlanDefaults,
    templates: Catalogue | None = None,
    look: Look | None = None,
) -> tuple[Explained, ...]:
    """Hold every pipeline against the event.

    Args:
        files: Pipeline files by path.
        unreadable: Files that look like pipelines and are not read, each with the reason.
        event: What happened.
        changed: Paths that changed; None where that is not known.
        committed_at: The commit's own time.
        defaults: What a definition need not say.
        templates: What the pipelines may name. Default: those that come with Lading.
        look: Finds out about the commit's files, for the templates. Default: it has none.
    """
    known = templates or built_in()
    ask = look or (lambda _: Files())
    explained = []
    for linted in lint(files, unreadable, templates=known, look=ask):
        definition = _definition(files, linted, known)
        if definition is None:
            one = _broken(linted.file, linted.name, linted.problems)
        else:
            one = _explain(
                linted.file,
                definition,
                event,
                changed=changed,
                committed_at=committed_at,
                defaults=defaults,
                rendered=render_builds(definition, known, ask(sought([definition], known))),
            )
        explained.append(one)
    return tuple(explained)


def _definition(
    files: Mapping[str, bytes], linted: Linted, templates: Catalogue
) -> Definition | None:
    if not linted.fine:
        return None
    return parse(files[linted.file], linted.file, templates).definition


def _broken(file: str, name: str, problems: tuple[Problem, ...]) -> Explained:
    reason = f"the definition cannot be used: {problems[0].message}"
    return Explained(file=file, name=name, start=True, reason=reason, problems=problems)


def _explain(
    file: str,
    definition: Definition,
    event: Event,
    *,
    changed: Changed,
    committed_at: datetime,
    defaults: PlanDefaults,
    rendered: Mapping[str, Rendered],
) -> Explained:
    decision = decide(definition, event, changed)
    told = Explained(
        file=file,
        name=definition.name,
        start=decision.start,
        reason=decision.reason,
        decision=decision,
    )
    try:
        planned = plan(
            definition,
            event,
            committed_at=committed_at,
            defaults=defaults,
            changed=changed,
            rendered=rendered,
        )
    except DefinitionInvalidError as error:
        return told if not decision.start else _broken(file, definition.name, _of(file, error))
    told = told.model_copy(update={"plan": planned})
    if decision.start and not planned.steps:
        told = told.model_copy(update={"start": False, "reason": "No run: no step is left."})
    return told


def _of(file: str, error: DefinitionInvalidError) -> tuple[Problem, ...]:
    return tuple(each.model_copy(update={"file": file}) for each in error.problems)
