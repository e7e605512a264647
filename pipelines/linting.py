"""Every mistake in pipeline files, before they are pushed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from pipelines.definition import tree
from pipelines.definition.models import Definition
from pipelines.events import Event, EventKind
from pipelines.matching import decide
from pipelines.parsing import default_name, parse
from pipelines.planning import PlanDefaults, plan
from pipelines.problems import DefinitionInvalidError, Problem, Severity
from pipelines.recipes import Catalogue, Look, built_in, render_builds, sought
from pipelines.values import Value

_SHA = "0" * 40
_SAMPLE = Event(kind=EventKind.PUSH, repository="acme/web", sha=_SHA, ref="refs/heads/main")
_SAMPLES = (
    {"kind": EventKind.PUSH, "branch": "main"},
    {"kind": EventKind.PULL_REQUEST, "branch": "main", "pull_request": 1},
    {"kind": EventKind.TAG, "tag": "v1.2.3", "ref": "refs/tags/v1.2.3"},
)
_SERVICE = re.compile(r"`[^`]*`'s service `([a-z0-9-]+)`")
_UNBOUNDED = PlanDefaults(timeout=3600.0)


class Linted(Value):
    """One file that was looked at."""

    file: str
    name: str
    """The pipeline's, as far as it can be told."""
    problems: tuple[Problem, ...]

    @property
    def fine(self) -> bool:
        """Whether nothing in it keeps it from running."""
        return not any(each.severity is Severity.ERROR for each in self.problems)


def lint(
    files: Mapping[str, bytes],
    unreadable: Mapping[str, str] | None = None,
    *,
    templates: Catalogue | None = None,
    look: Look | None = None,
) -> tuple[Linted, ...]:
    """Look at pipeline files that stand beside each other. Never raises for what is in them.

    Args:
        files: By path.
        unreadable: Files that look like pipelines and are not read, each with the reason.
        templates: What they may name. Default: those that come with Lading.
        look: Finds out about the files beside them; None where there are none to ask for.
    """
    known = templates or built_in()
    found = [_lint(file, text, known, look) for file, text in files.items()]
    found += [_refused(file, why) for file, why in (unreadable or {}).items()]
    return tuple(_same_names(sorted(found, key=lambda each: each.file)))


def not_read(file: str, why: str) -> Problem:
    """The problem of a file that looks like a pipeline and is not read."""
    return Problem(code="P091", message=f"the file {why}", hint="make it a plain file", file=file)


def name_taken(file: str, name: str, first: str) -> Problem:
    """The problem of a second file of the same name."""
    return Problem(
        code="P090",
        message=f"the name '{name}' is taken by {first}",
        hint="give one of the two another `name`",
        file=file,
    )


def _refused(file: str, why: str) -> Linted:
    return Linted(file=file, name=default_name(file), problems=(not_read(file, why),))


def _lint(file: str, text: bytes, templates: Catalogue, look: Look | None) -> Linted:
    parsed = parse(text, file, templates)
    definition = parsed.definition
    if definition is None:
        return Linted(file=file, name=default_name(file), problems=parsed.problems)
    ahead = [*_of_files(definition, templates, look), *_for_events(definition)]
    ahead = placed(ahead, file, text.decode("utf-8-sig", "replace"))
    return Linted(file=file, name=definition.name, problems=(*parsed.problems, *ahead))


def placed(problems: Sequence[Problem], file: str, text: str) -> list[Problem]:
    """Problems of planning with the places of what they speak of: plans know no places."""
    if not problems:
        return []
    root, _ = tree.compose(text)
    return [_placed(each.model_copy(update={"file": file}), root) for each in problems]


def _placed(problem: Problem, root: tree.Node | None) -> Problem:
    for stage, key in (("test", "image"), ("build", "dependencies"), ("build", "template")):
        steps = root.entries.get(stage) if isinstance(root, tree.Entries) else None
        if steps is None or not isinstance(steps[1], tree.Entries):
            continue
        for name, (_, step) in steps[1].entries.items():
            ours = problem.message.startswith((f"`{stage}.{name}`", f"`{stage}.{name} ("))
            owner = _owner(step, problem.message) if ours else None
            if isinstance(owner, tree.Entries) and key in owner.entries:
                mark = owner.entries[key][1].mark
                return problem.model_copy(update={"line": mark.line, "column": mark.column})
    return problem


def _owner(step: tree.Node, message: str) -> tree.Node:
    """Whose image a problem of a step speaks of: the step's own, or that of one of its services."""
    service = _SERVICE.match(message)
    services = step.entries.get("services") if isinstance(step, tree.Entries) else None
    if service is None or services is None or not isinstance(services[1], tree.Entries):
        return step
    return services[1].entries[service[1]][1]


def _of_files(definition: Definition, templates: Catalogue, look: Look | None) -> list[Problem]:
    """What templates miss in the commit."""
    asked = sought([definition], templates)
    if look is None or not asked.paths:
        return []
    try:
        render_builds(definition, templates, look(asked))
    except DefinitionInvalidError as error:
        return list(error.problems)
    return []


def _for_events(definition: Definition) -> Iterator[Problem]:
    """What only shows when an event comes, tried with one of each kind that starts it."""
    told: set[str] = set()
    for sample in _SAMPLES:
        event = _SAMPLE.model_copy(update={"default_branch": "main", **sample})
        if not decide(definition, event, None).start:
            continue
        try:
            plan(definition, event, committed_at=datetime.now(UTC), defaults=_UNBOUNDED)
        except DefinitionInvalidError as error:
            for problem in error.problems:
                if problem.message not in told:
                    told.add(problem.message)
                    yield problem


def _same_names(found: list[Linted]) -> Iterator[Linted]:
    """Two files may not claim one name: their statuses would be one."""
    owners: dict[str, str] = {}
    for each in found:
        first = owners.setdefault(each.name, each.file)
        # Whose name is only guessed has other problems first.
        if first != each.file and each.fine:
            yield each.model_copy(
                update={"problems": (*each.problems, name_taken(each.file, each.name, first))}
            )
        else:
            yield each
