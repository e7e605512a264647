"""Rows as values, and new rows to be."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime

from pipelines.events import Event, EventKind
from pipelines.plan import Plan
from pipelines.problems import Problem
from pipelines.progress import Outcome, State
from pipelines.values import Value
from server.hosts.port import RepositoryRef, StatusState


class DeliveryState(StrEnum):
    """How far a delivery has come."""

    WAITING = "waiting"
    DECIDED = "decided"
    QUARANTINED = "quarantined"
    """Reading it failed again and again; it is kept, and the rest goes on."""


class DecisionOutcome(StrEnum):
    """What a decision came to."""

    STARTED = "started"
    NOTHING = "nothing"
    DUPLICATE = "duplicate"
    INVALID = "invalid"
    """A definition or the delivery itself could not be used."""


class NewDelivery(Value):
    """A delivery as received."""

    id: str
    host: str
    delivery_id: str
    event_type: str
    headers: dict[str, str]
    body: bytes
    received_at: AwareDatetime


class DeliveryRow(NewDelivery):
    """A stored delivery."""

    state: DeliveryState
    tries: int
    error: str | None


class PipelineDecision(Value):
    """One pipeline's part of a decision."""

    pipeline: str
    file: str
    start: bool
    reason: str
    conditions: tuple[Any, ...] = ()
    problems: tuple[Problem, ...] = ()
    run: int | None = None


class DecisionRow(Value):
    """A stored decision."""

    id: int
    delivery: str | None
    repository: int | None
    outcome: DecisionOutcome
    reason: str
    event: Event | None
    pipelines: tuple[PipelineDecision, ...]
    duplicate_of: int | None
    decided_at: AwareDatetime


class RepositoryRow(Value):
    """A repository that has sent at least one delivery."""

    id: int
    host: str
    external_id: str
    full_name: str
    default_branch: str | None
    private: bool
    created_at: AwareDatetime

    @property
    def ref(self) -> RepositoryRef:
        """The repository as its host names it."""
        return RepositoryRef(
            external_id=self.external_id,
            full_name=self.full_name,
            default_branch=self.default_branch,
            private=self.private,
        )


class NewRun(Value):
    """A run to be: either with a plan, or with the problems why there is none."""

    pipeline: str
    file: str
    definition: str
    plan: Plan | None
    problems: tuple[Problem, ...] = ()
    sentence: str = ""


class RunRow(Value):
    """A run, with the state of its newest attempt."""

    id: int
    repository: int
    host: str
    full_name: str
    decision: int
    pipeline: str
    event: Event
    sha: str
    branch: str | None
    definition_file: str
    definition: str
    plan: Plan | None
    problems: tuple[Problem, ...]
    attempt: int
    state: State
    sentence: str
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None

    @property
    def context(self) -> str:
        """The commit status's name: `lading/push/web`; one for each kind of event."""
        return f"lading/{self.event.kind}/{self.pipeline}"


class AttemptRow(Value):
    """One attempt of a run."""

    run: int
    number: int
    state: State
    reason: str
    sentence: str
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    cancelled_at: AwareDatetime | None
    cancelled_by: str | None


class StepRow(Value):
    """One step of an attempt."""

    run: int
    attempt: int
    key: str
    position: int
    stage: str
    name: str
    state: State
    ready_at: AwareDatetime | None
    started_at: AwareDatetime | None
    running_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    outcome: Outcome | None


class ImageVersionRow(Value):
    """One pushed digest."""

    id: int
    repository: int
    full_name: str
    run: int
    attempt: int
    step: str
    image: str
    """Registry host and path: `ghcr.io/acme/web`."""
    digest: str
    tags: tuple[str, ...]
    sha: str
    branch: str | None
    size: int
    created_at: AwareDatetime


class StatusRow(Value):
    """The newest state of one context on one commit, and how much of it the host knows."""

    id: int
    repository: int
    sha: str
    context: str
    host: str
    ref: str | None
    run: int
    attempt: int
    state: StatusState
    rank: int
    description: str
    target_url: str
    version: int
    sent_version: int
    due_at: AwareDatetime | None
    changed_at: AwareDatetime
    tries: int
    error: str | None


class TokenRow(Value):
    """An API token; its text is known only to whom it was shown."""

    id: int
    name: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    last_used_at: AwareDatetime | None


class Bounds(Value):
    """Where a secret may go; nothing named means anywhere."""

    events: tuple[EventKind, ...] = ()
    branches: tuple[str, ...] = ()
    """Patterns of the branch pushed to; with one, nothing but a push to such a branch has it."""
    steps: tuple[str, ...] = ()
    """Patterns of steps' keys: `test.release`, `push.*`."""


class NewSecret(Bounds):
    """A secret to store, sealed."""

    repository: int | None
    """None: the server's own, for every repository."""
    name: str
    key: str
    """The id of the key it is sealed with."""
    sealed: bytes
    changed_by: str


class SealedSecret(NewSecret):
    """A stored secret, sealed."""

    id: int
    created_at: AwareDatetime
    changed_at: AwareDatetime


class SecretRow(Bounds):
    """A stored secret, without what it holds."""

    id: int
    repository: int | None
    host: str | None
    full_name: str | None
    name: str
    changed_by: str
    created_at: AwareDatetime
    changed_at: AwareDatetime
