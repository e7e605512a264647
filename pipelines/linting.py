"""Every mistake in pipeline files, before they are pushed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from pipelines.definition import tree
from pipelines.definition.models import Definition
from pipelines.events import Event, EventKind
from pipelines.matching import decide
from pipelines.parsing import default_name, parse
from pipelines.planning import PlanDefaults, plan
from pipelines.problems import DefinitionInvalidError, Problem, Severity
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
    files: Mapping[str, bytes], unreadable: Mapping[str, str] | None = None
) -> tuple[Linted, ...]:
    """Look at pipeline files that stand beside each other. Never raises for what is in them.

    Args:
        files: By path.
        unreadable: Files that look like pipelines and are not read, each with the reason.
    """
    found = [_lint(file, text) for file, text in files.items()]
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


def _lint(file: str, text: bytes) -> Linted:
    parsed = parse(text, file)
    definition = parsed.definition
    if definition is None:
        return Linted(file=file, name=default_name(file), problems=parsed.problems)
    ahead = [each.model_copy(update={"file": file}) for each in _for_events(definition)]
    if ahead:
        root, _ = tree.compose(text.decode("utf-8-sig", "replace"))
        ahead = [_placed(each, root) for each in ahead]
    return Linted(file=file, name=definition.name, problems=(*parsed.problems, *ahead))


def _placed(problem: Problem, root: tree.Node | None) -> Problem:
    """A problem of planning with the place of the image it speaks of: plans know no places."""
    tests = root.entries.get("test") if isinstance(root, tree.Entries) else None
    if tests is None or not isinstance(tests[1], tree.Entries):
        return problem
    for name, (_, step) in tests[1].entries.items():
        ours = problem.message.startswith((f"`test.{name}`", f"`test.{name} ("))
        owner = _owner(step, problem.message) if ours else None
        if isinstance(owner, tree.Entries) and "image" in owner.entries:
            mark = owner.entries["image"][1].mark
            return problem.model_copy(update={"line": mark.line, "column": mark.column})
    return problem


def _owner(step: tree.Node, message: str) -> tree.Node:
    """Whose image a problem of a step speaks of: the step's own, or that of one of its services."""
    service = _SERVICE.match(message)
    services = step.entries.get("services") if isinstance(step, tree.Entries) else None
    if service is None or services is None or not isinstance(services[1], tree.Entries):
        return step
    return services[1].entries[service[1]][1]


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
