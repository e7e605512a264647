"""Rows as values, and new rows to be."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime

from pipelines.events import Event
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


class Found(StrEnum):
    """How a delivery was found that did not come by itself."""

    LISTED = "listed"
    """The host's own list told that it failed, and the host was asked to send it again."""
    HEADS = "heads"
    """A branch or tag head had changed and no webhook told of it: we wrote it ourselves."""

    @property
    def sentence(self) -> str:
        """For people."""
        return {
            Found.LISTED: "found in the host's own list, and sent again at our request",
            Found.HEADS: "found by comparing branch heads: no webhook came",
        }[self]


class NewDelivery(Value):
    """A delivery as received."""

    id: str
    host: str
    delivery_id: str
    event_type: str
    headers: dict[str, str]
    body: bytes
    received_at: AwareDatetime
    found: Found | None = None


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
    ref: str | None
    """What it is about; also where nothing is built and there is no event."""
    sha: str | None
    """None for a ref that was deleted."""


class RepositoryRow(Value):
    """A repository that has sent at least one delivery."""

    id: int
    host: str
    external_id: str
    full_name: str
    default_branch: str | None
    private: bool
    created_at: AwareDatetime
    heads_at: AwareDatetime | None = None
    """When its branch and tag heads were looked at the last time; None: never."""

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


class PauseKind(StrEnum):
    """Why a host, or one repository of it, is left alone for a while."""

    QUIET = "quiet"
    """The host asked for it (`Retry-After`, a rate limit): nothing is asked of it."""
    REFUSED = "refused"
    """The token was refused: no status is posted."""
    HOOKS = "hooks"
    """The host's list of deliveries cannot be read."""
    FETCH = "fetch"
    """git was refused: heads are not compared."""


class PauseRow(Value):
    """A host or a repository that is left alone for a while."""

    host: str
    repository: int
    """0: the whole host."""
    full_name: str | None
    kind: PauseKind
    reason: str
    since: AwareDatetime
    until: AwareDatetime
    """When it is tried again."""
    statuses: int
    """Commit statuses that wait for that."""

    @property
    def of(self) -> str:
        """What is left alone, for people: `github`, `acme/web on github`."""
        return self.host if self.full_name is None else f"{self.full_name} on {self.host}"


class TokenRow(Value):
    """An API token; its text is known only to whom it was shown."""

    id: int
    name: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
