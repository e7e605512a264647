"""`lading explain`: would this event start this pipeline, why, and what would run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from pipelines.checkout import Asked, Checkout, Happening, Tree, happening, in_tree, look_in_tree
from pipelines.durations import format_duration, format_size
from pipelines.events import Event, EventKind
from pipelines.explaining import Explained, explain
from pipelines.matching import Condition
from pipelines.parsing import SINGLE_FILE
from pipelines.plan import BuildWork, CommandsWork, NoWork, Plan, PushWork, Stage, Step
from pipelines.planning import PlanDefaults
from server.cli.checkouts import described, known, opened
from server.cli.errors import UsageError
from server.cli.lint import nothing_found
from server.cli.problems import as_data, as_text, counted
from server.cli.terminal import Paint, inert, paint_for, signs, tolerant

DEFAULTS = PlanDefaults(timeout=3600.0)
"""What a server says that nobody has configured."""
_NEEDS_TOLD = 6


def run(wanted: Asked, *, commit: str | None, as_json: bool, templates: Path | None) -> bool:
    """Print what the event comes to; False where a pipeline is broken.

    Raises:
        UsageError: There is no checkout, no such revision, or no pipeline.
    """
    tolerant(sys.stdout)
    with opened(commit) as (checkout, tree):
        found = in_tree(tree)
        if not found.files and not found.unreadable:
            raise UsageError(nothing_found(checkout.root))
        asking = _event(checkout, tree, wanted)
        explained = explain(
            found.files,
            found.unreadable,
            asking.event,
            changed=asking.changed,
            committed_at=tree.committed_at,
            defaults=DEFAULTS,
            templates=known(templates),
            look=partial(look_in_tree, tree),
        )
        if as_json:
            print(json.dumps(_data(asking, explained), indent=2))
        else:
            for line in _lines(tree, asking, explained, found.files):
                print(line)
    return not any(each.broken for each in explained)


def _event(checkout: Checkout, tree: Tree, wanted: Asked) -> Happening:
    """The event, of the commit that is checked out: what is changed has no name yet."""
    return happening(checkout, tree, wanted, sha=tree.commit.sha if tree.commit else None)


def _data(asking: Happening, explained: Sequence[Explained]) -> dict[str, Any]:
    return {
        "event": asking.event.model_dump(mode="json"),
        "changed": None if asking.changed is None else sorted(asking.changed),
        "pipelines": [
            {
                **each.model_dump(mode="json", exclude={"problems"}),
                "problems": [as_data(problem) for problem in each.problems],
            }
            for each in explained
        ],
    }


def _lines(
    tree: Tree, asking: Happening, explained: Sequence[Explained], files: dict[str, bytes]
) -> Iterator[str]:
    paint, marks = paint_for(sys.stdout), signs(sys.stdout)
    yield f"event    {told(asking.event)}"
    yield f"files    {described(tree)}"
    if any(_asks_for_paths(each) for each in explained):
        count = "" if asking.changed is None else f"{counted(len(asking.changed), 'path')}, "
        yield f"changed  {count}{asking.compared}"
    for each in explained:
        yield ""
        yield from _pipeline(each, files, paint, marks)


def _asks_for_paths(explained: Explained) -> bool:
    conditions = explained.decision.conditions if explained.decision else ()
    return any(each.key == "path" for each in conditions)


def told(event: Event) -> str:
    """An event in words: `push to main`."""
    branch = inert(event.branch or "no branch")
    match event.kind:
        case EventKind.TAG:
            return f"tag {inert(event.tag or '')}"
        case EventKind.PULL_REQUEST:
            source = inert(event.source_branch or "a branch")
            fork = " of a fork" if event.from_fork else ""
            return f"pull request from {source}{fork} into {branch}"
        case EventKind.MANUAL:
            return f"manual run on {branch}"
        case _:
            return f"push to {branch}"


def _pipeline(
    each: Explained, files: dict[str, bytes], paint: Paint, marks: tuple[str, str]
) -> Iterator[str]:
    place = f" ({inert(each.file)})" if each.file != SINGLE_FILE else ""
    yield paint.bold(f"pipeline {inert(each.name)}{place}")
    if each.broken:
        yield f"  {paint.red('broken')}: a run would start, and end in error at once"
        yield ""
        yield from as_text(each.problems, files, paint)
        return
    word = paint.green("starts") if each.start else paint.yellow("does not start")
    yield f"  {word}: {inert(_sentence(each.reason))}"
    if each.decision is not None:
        yield from _conditions(each.decision.conditions, paint, marks)
    if each.plan is not None and each.start:
        yield from plan_lines(each.plan, paint)


def _sentence(reason: str) -> str:
    return reason.removeprefix("No run: ").removeprefix("Run: ")


def _conditions(
    conditions: Iterable[Condition], paint: Paint, marks: tuple[str, str]
) -> Iterator[str]:
    for entry, group in groupby(conditions, key=lambda each: each.entry):
        for number, each in enumerate(group):
            label = f"entry {entry}" if number == 0 else ""
            mark = paint.green(marks[0]) if each.ok else paint.red(marks[1])
            yield f"    {label:9}{mark} {inert(each.sentence)}"


def plan_lines(plan: Plan, paint: Paint) -> Iterator[str]:
    """The plan as a list: stages, their steps, and what each waits for."""
    limit = format_duration(plan.timeout)
    yield f"  plan: {counted(len(plan.steps), 'step')}, at most {limit}"
    room = min(max((len(step.key) for step in plan.steps), default=0), 40)
    for stage in Stage:
        steps = [step for step in plan.steps if step.stage is stage]
        if steps:
            yield f"    {paint.cyan(stage.value)}"
        for step in steps:
            yield f"      {paint.bold(inert(step.key).ljust(room))}  {inert(_work(step))}"
            for line in _details(step):
                yield f"      {' ' * room}  {paint.dim(inert(line))}"
    yield from _left_out(plan, paint)


def _left_out(plan: Plan, paint: Paint) -> Iterator[str]:
    if plan.left_out:
        yield f"    {paint.cyan('left out')}"
    for key, reason in plan.left_out.items():
        yield f"      {inert(key)}: {inert(reason.removeprefix('left out: '))}"


def _work(step: Step) -> str:
    moves = f"moves {step.channel.name} to what was pushed" if step.channel else ""
    match step.work:
        case NoWork():
            return moves
        case BuildWork() as work:
            target = f", its stage {work.target}" if work.target else ""
            return f"builds {work.recipe}{target}"
        case CommandsWork() as work:
            image = (
                work.image.name
                if work.image.kind == "named"
                else f"the image of {work.image.build}"
            )
            told = f"{counted(len(work.commands), 'command')} in {image}"
            return f"{told}, then {moves}" if moves else told
        case PushWork() as work:
            return f"pushes {work.image.build} to {work.repository}: {', '.join(work.tags)}"


def _details(step: Step) -> Iterator[str]:
    if step.needs:
        shown = ", ".join(step.needs[:_NEEDS_TOLD])
        more = len(step.needs) - _NEEDS_TOLD
        yield f"waits for {shown}" + (f" and {more} more" if more > 0 else "")
    else:
        yield "waits for nothing"
    if step.after_failure:
        yield (
            "runs after success and failure" if step.after_success else "runs after a failure only"
        )
    if step.allow_failure:
        yield "may fail"
    if step.approval is not None:
        limit = format_duration(step.approval.timeout)
        yield f"waits up to {limit} for approval: {step.approval.prompt}"
    asked = step.resources
    bounds = [
        *([f"{format_size(asked.memory)} of memory"] if asked.memory else ()),
        *([f"{asked.cpus:g} CPU" + "s" * (asked.cpus != 1)] if asked.cpus else ()),
    ]
    if bounds:
        yield f"gets {' and '.join(bounds)}"
