"""Whether an event starts a pipeline, with a reason for each condition."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pipelines.definition.fields import End, shown
from pipelines.definition.models import (
    Definition,
    Deploy,
    Paths,
    PipelineWhen,
    Push,
    StepWhen,
    Test,
    When,
)
from pipelines.events import Event, EventKind, Slot
from pipelines.globs import Globs
from pipelines.values import Value

Changed = frozenset[str] | None
"""Paths that differ between an event's two commits; None where they are not known."""

_SKIP = re.compile(r"\[(?:skip ci|ci skip)\]", re.IGNORECASE)
_ENTRIES_TOLD = 3
_WORDS_TOLD = 4
_HAS_CHANGES = (EventKind.PUSH, EventKind.PULL_REQUEST)
_EVENT_NAMES = {
    EventKind.PUSH: "a push",
    EventKind.PULL_REQUEST: "a pull request",
    EventKind.TAG: "a tag",
    EventKind.MANUAL: "a manual run",
    EventKind.SCHEDULE: "a schedule",
}


class Condition(Value):
    """One key of one entry of a `when`, held against an event."""

    entry: int
    """Which entry, from 1."""
    key: str
    """`event`, `cron`, `branch`, `tag` or `path`."""
    ok: bool
    sentence: str
    """What it wants and what there was: "wants branch main, this push was to dev"."""


class Decision(Value):
    """Whether an event starts a pipeline."""

    start: bool
    reason: str
    """One sentence for people."""
    conditions: tuple[Condition, ...] = ()
    """Every condition of every entry, in the file's order."""


def decide(definition: Definition, event: Event, changed: Changed) -> Decision:
    """Hold an event against a definition's `when`.

    Args:
        definition: A parsed pipeline.
        event: What happened.
        changed: Paths that changed, or None where that is not known: then conditions on paths
            hold, because a run too many is better than a change nobody tested.
    """
    skip = _SKIP.search(event.message) if event.kind is EventKind.PUSH else None
    conditions = tuple(_conditions(definition.when, event, changed))
    if skip is not None:
        reason = f"No run: the commit message says {skip[0]}."
        return Decision(start=False, reason=reason, conditions=conditions)
    if event.kind is EventKind.MANUAL:
        reason = "Run: a person asked for it, so `when` is not looked at."
        return Decision(start=True, reason=reason, conditions=conditions)
    entry = _first_match(conditions)
    if entry is None:
        reason = f"No run: {_missed(conditions)}."
        return Decision(start=False, reason=reason, conditions=conditions)
    why = "; ".join(each.sentence for each in conditions if each.entry == entry)
    return Decision(start=True, reason=f"Run: `when` entry {entry}: {why}.", conditions=conditions)


def needs_changes(definition: Definition, event: Event) -> bool:
    """Whether the changed paths would make a difference, so that they are worth finding out."""
    if event.kind not in _HAS_CHANGES:
        return False
    whens = [definition.when, *(step.when or () for step in _conditional(definition))]
    # With paths unknown their conditions hold, so an entry that fails now fails for other reasons.
    return any(
        entry.path is not None and all(each.ok for each in _entry_conditions(1, entry, event, None))
        for entries in whens
        for entry in entries
    )


def left_out(when: Sequence[When] | None, event: Event, changed: Changed) -> str | None:
    """Why a step's own `when` leaves it out, as one sentence; None where it stays."""
    if when is None:
        return None
    conditions = tuple(_conditions(when, event, changed))
    if _first_match(conditions) is not None:
        return None
    return f"left out: {_missed(conditions)}"


def ends(when: Sequence[StepWhen] | None, event: Event, changed: Changed) -> frozenset[End]:
    """After which ends of what it needs a step runs: the words of all entries that match."""
    if when is None:
        return frozenset({End.SUCCESS})
    conditions = tuple(_conditions(when, event, changed))
    matching = {
        number
        for number in range(1, len(when) + 1)
        if all(each.ok for each in conditions if each.entry == number)
    }
    return frozenset(end for number in matching for end in when[number - 1].status)


def _conditional(definition: Definition) -> Iterator[Test | Push | Deploy]:
    yield from definition.test.values()
    yield from definition.push.values()
    yield from definition.deploy.values()


def _conditions(when: Iterable[When], event: Event, changed: Changed) -> Iterator[Condition]:
    for number, entry in enumerate(when, start=1):
        yield from _entry_conditions(number, entry, event, changed)


def _entry_conditions(
    number: int, entry: When, event: Event, changed: Changed
) -> Iterator[Condition]:
    def condition(key: str, result: tuple[bool, str]) -> Condition:
        return Condition(entry=number, key=key, ok=result[0], sentence=result[1])

    yield condition("event", _event(entry.event, event))
    if isinstance(entry, PipelineWhen) and event.slot is not None:
        yield condition("cron", _cron(entry, event.slot))
    if entry.branch is not None:
        yield condition("branch", _branch(entry.branch, event))
    if entry.tag is not None:
        yield condition("tag", _tag(entry.tag, event))
    if entry.path is not None:
        yield condition("path", _path(entry.path, event, changed))


def _event(wanted: Sequence[EventKind], event: Event) -> tuple[bool, str]:
    if event.kind in wanted:
        return True, f"event {event.kind} matches"
    return False, f"wants event {_choice(wanted)}, this was {event.kind}"


def _cron(entry: PipelineWhen, slot: Slot) -> tuple[bool, str]:
    if (entry.cron, entry.timezone) == (slot.cron, slot.timezone):
        return True, f"cron {slot}"
    wanted = f"wants cron {entry.cron}" if entry.cron else "names no cron"
    return False, f"{wanted}, this was {slot}"


def _branch(patterns: Sequence[str], event: Event) -> tuple[bool, str]:
    if event.branch is None:
        return False, f"wants branch {_choice(patterns)}, this was {_EVENT_NAMES[event.kind]}"
    if Globs(patterns).match(event.branch):
        return True, f"branch {shown(event.branch)} matches {_choice(patterns)}"
    into = "wants to go into" if event.kind is EventKind.PULL_REQUEST else "was to"
    what = _EVENT_NAMES[event.kind].partition(" ")[2]
    return False, f"wants branch {_choice(patterns)}, this {what} {into} {shown(event.branch)}"


def _tag(patterns: Sequence[str], event: Event) -> tuple[bool, str]:
    if event.tag is None:
        return False, f"wants tag {_choice(patterns)}, this was {_EVENT_NAMES[event.kind]}"
    if Globs(patterns).match(event.tag):
        return True, f"tag {shown(event.tag)} matches {_choice(patterns)}"
    return False, f"wants tag {_choice(patterns)}, this tag was {shown(event.tag)}"


def _path(paths: Paths, event: Event, changed: Changed) -> tuple[bool, str]:
    if changed is None or event.kind not in _HAS_CHANGES:
        return True, "the changed files are not known, so the condition on paths holds"
    include, exclude = Globs(paths.include), Globs(paths.exclude)
    for path in sorted(changed):
        if include.match(path) and not exclude.match(path):
            return True, f"{shown(path)} changed"
    but = f" but not {_choice(paths.exclude)}" if paths.exclude else ""
    return False, f"wants a change of {_choice(paths.include)}{but}, {_none_of(len(changed))}"


def _none_of(count: int) -> str:
    if count == 0:
        return "no file changed"
    return "the one changed file is none" if count == 1 else f"none of {count} changed files is one"


def _first_match(conditions: Iterable[Condition]) -> int | None:
    entries: dict[int, bool] = {}
    for each in conditions:
        entries[each.entry] = entries.get(each.entry, True) and each.ok
    return next((entry for entry, ok in entries.items() if ok), None)


def _missed(conditions: Iterable[Condition]) -> str:
    """The first condition of each entry that does not hold; entries after the third are counted."""
    missed: dict[int, str] = {}
    for each in conditions:
        if not each.ok:
            missed.setdefault(each.entry, each.sentence)
    if len(missed) == 1:
        return f"`when` {missed[1]}"
    told = [f"entry {entry} {sentence}" for entry, sentence in missed.items()]
    more = len(told) - _ENTRIES_TOLD
    rest = [f"{more} more do not match"] if more > 0 else []
    return "`when` " + "; ".join([*told[:_ENTRIES_TOLD], *rest])


def _choice(words: Sequence[str]) -> str:
    """Words as in "main, dev or release/*"; of many only the first few."""
    told = [shown(word) for word in words[:_WORDS_TOLD]]
    if len(words) > _WORDS_TOLD:
        return ", ".join(told) + f" or {len(words) - _WORDS_TOLD} more"
    return " or ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)
