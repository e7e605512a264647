"""Small builders of definitions, events, plans and facts for the tests beside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipelines.definition import Definition
from pipelines.events import Event, EventKind
from pipelines.parsing import parse
from pipelines.plan import CommandsWork, NamedImage, Plan, Stage, Step
from pipelines.planning import PlanDefaults, plan
from pipelines.progress import (
    Fact,
    Outcome,
    Progress,
    State,
    StepEnded,
    StepReady,
    StepRunning,
    StepStarted,
)

SHA = "0123456789abcdef0123456789abcdef01234567"
TIME = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)

PUSH = Event(
    kind=EventKind.PUSH,
    repository="acme/web",
    sha=SHA,
    ref="refs/heads/main",
    before="f" * 40,
    branch="main",
    default_branch="main",
    title="Fix it",
    message="Fix it\n\nReally.",
    author="Ada <ada@example.org>",
)
TAG = PUSH.model_copy(
    update={"kind": EventKind.TAG, "ref": "refs/tags/v1.2.3", "branch": None, "tag": "v1.2.3"}
)
PULL = PUSH.model_copy(
    update={
        "kind": EventKind.PULL_REQUEST,
        "ref": "refs/pull/7/head",
        "pull_request": 7,
        "source_branch": "fix",
    }
)
MANUAL = PUSH.model_copy(update={"kind": EventKind.MANUAL})


def push_to(branch: str, **fields: object) -> Event:
    return PUSH.model_copy(update={"branch": branch, "ref": f"refs/heads/{branch}", **fields})


def tagged(tag: str) -> Event:
    return TAG.model_copy(update={"tag": tag, "ref": f"refs/tags/{tag}"})


def defined(text: str, file: str = ".lading.yml") -> Definition:
    parsed = parse(text, file)
    assert parsed.definition is not None, "\n".join(map(str, parsed.problems))
    return parsed.definition


def planned(text: str, event: Event = PUSH, changed: frozenset[str] | None = None) -> Plan:
    defaults = PlanDefaults(timeout=3600)
    return plan(defined(text), event, committed_at=TIME, defaults=defaults, changed=changed)


def said(text: str | bytes, file: str = ".lading.yml") -> list[str]:
    """Each problem as `line:column code message: hint`."""
    return [
        f"{each.line}:{each.column} {each.code} {each.message}: {each.hint}"
        for each in parse(text, file).problems
    ]


def step(key: str, *needs: str) -> Step:
    stage, _, name = key.partition(".")
    work = CommandsWork(image=NamedImage(name="busybox"), commands=("true",))
    return Step(stage=Stage(stage), name=name, needs=needs, timeout=60, work=work)


def plan_of(*steps: Step) -> Plan:
    return Plan(pipeline="web", steps=steps, timeout=600)


def at(seconds: float) -> datetime:
    return TIME + timedelta(seconds=seconds)


def ready(key: str, seconds: float = 0) -> Fact:
    return StepReady(step=key, at=at(seconds))


def started(key: str, seconds: float = 0) -> Fact:
    return StepStarted(step=key, at=at(seconds))


def running(key: str, seconds: float = 0) -> Fact:
    return StepRunning(step=key, at=at(seconds))


def ended(
    key: str,
    state: State = State.SUCCESS,
    seconds: float = 1,
    message: str = "",
    code: int | None = None,
) -> Fact:
    outcome = Outcome(state=state, message=message, exit_code=code)
    return StepEnded(step=key, at=at(seconds), outcome=outcome)


def after(progress: Progress, *facts: Fact) -> Progress:
    for fact in facts:
        progress = progress.apply(fact)
    return progress
