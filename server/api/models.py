"""What the API takes and answers; the OpenAPI document is made from these models."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from pipelines.events import Event
from pipelines.locks import Level, Lock
from pipelines.problems import Problem
from pipelines.progress import Outcome, State
from server.hosts.port import StatusState
from server.store.rows import DecisionOutcome, DeliveryState, Found, PauseKind, Verdict

T = TypeVar("T")

MAX_ID = 2**63 - 1
RowId = Annotated[int, Field(ge=1, le=MAX_ID)]
Limit = Annotated[int, Field(ge=1, le=200, description="How many at most.")]
Name = Annotated[str, Field(max_length=255)]


class Answer(BaseModel):
    """A body that the API answers with."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Query(BaseModel):
    """Parameters behind the `?`; an unknown one is an error, not silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Page(Answer, Generic[T]):
    """Some of many, newest first; `next` (also sent as a `Link` header) leads to older ones."""

    items: list[T]
    next: str | None = Field(description="Address of the next page; null on the last one.")


class ProblemDetails(Answer):
    """Why a request was not answered as hoped (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(description="The HTTP status in words.")
    status: int
    detail: str = Field(description="What is wrong, and what to do next.")
    parameter: str | None = Field(None, description="The parameter or field that is wrong.")


class RepositoryName(Answer):
    """Which repository, on which host."""

    host: str = Field(description="The host's name in the configuration.")
    name: str = Field(description="`owner/name`.")


class Repository(RepositoryName):
    """A repository that has sent at least one delivery."""

    id: int
    default_branch: str | None
    private: bool
    created_at: AwareDatetime
    runs: str = Field(description="Address of its runs.")


class RunBrief(Answer):
    """A run, with the state of its newest attempt."""

    id: int
    url: str = Field(description="This run in the API.")
    page: str = Field(description="This run's page for people.")
    repository: RepositoryName
    pipeline: str
    event: str = Field(description="Kind of the event: push, pull_request, tag or manual.")
    sha: str
    branch: str | None
    tag: str | None
    pull_request: int | None
    title: str = Field(description="First line of the commit message, or the pull request's.")
    author: str
    actor: str = Field(description="Who pushed or asked, as the host names them.")
    attempt: int = Field(description="Number of the newest attempt.")
    state: State
    sentence: str = Field(description="How it ended, in words.")
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None


class Step(Answer):
    """One step of an attempt, with the times of its waiting, preparing and running."""

    key: str = Field(description="`test.unit`.")
    stage: str
    name: str
    state: State
    ready_at: AwareDatetime | None = Field(description="When all it needs had ended well.")
    started_at: AwareDatetime | None = Field(description="When its preparation began.")
    running_at: AwareDatetime | None = Field(description="When its own work began.")
    ended_at: AwareDatetime | None
    outcome: Outcome | None
    tries: int = Field(
        description="How many tries were begun of it: more than 1 only where the pipeline file "
        "says `retry` and one failed; 0 before its start."
    )
    carried_from: int | None = Field(
        description="The attempt that did it, where this one carried it over; null: this one."
    )
    log: str = Field(description="Address of its output, in the attempt that did it.")


class Attempt(Answer):
    """One attempt of a run."""

    number: int
    state: State
    reason: str = Field(description="Why there is this attempt.")
    sentence: str
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    cancelled_at: AwareDatetime | None
    cancelled_by: str | None
    output_removed_at: AwareDatetime | None = Field(
        description="When its steps' output was removed for its age; null: it is kept."
    )
    superseded_by: str | None = Field(description="Address of the run that took its place.")
    steps: str = Field(description="Address of its steps.")


class ImageVersion(Answer):
    """One pushed digest."""

    id: int
    repository: str
    run: str = Field(description="Address of the run that pushed it.")
    attempt: int
    step: str
    image: str = Field(description="Registry host and path: `ghcr.io/acme/web`.")
    digest: str
    reference: str = Field(description="What `docker pull` takes: `<image>@<digest>`.")
    tags: list[str]
    sha: str
    branch: str | None
    size: int = Field(description="Bytes of the manifest.")
    created_at: AwareDatetime
    level: Level | None = Field(
        description="How far it is known that it can be made again: R0, its recipe is recorded; "
        "R1, all it was made from is pinned by digest; R2, it was built again with the same files; "
        "R3, with the same digest; R4, with the same digest on another engine. Null: not recorded."
    )
    verified_at: AwareDatetime | None = Field(description="When it was built again.")
    lock: Lock | None = Field(description="What it was made from, and by what.")


class Status(Answer):
    """What the git host shall show beside the commit, and whether it knows."""

    context: str
    state: StatusState
    description: str
    told: bool = Field(description="Whether the host has taken the newest state.")
    error: str | None = Field(description="Why the host did not take it the last time.")


class Definition(Answer):
    """The pipeline file as it was at the run's commit."""

    file: str
    text: str
    problems: list[Problem]


class Queued(Answer):
    """An attempt that waits."""

    run: RunBrief
    attempt: int
    waits_since: AwareDatetime
    waited_seconds: float
    waits_for: str = Field(description="In words: a slot, or another run of its group.")
    waits_for_run: str | None = Field(description="Address of that run.")


class Queue(Answer):
    """What waits, in the order it will be taken."""

    items: list[Queued]
    waiting: int = Field(description="How many attempts wait, those not shown included.")


class Approval(Answer):
    """Somebody was asked to approve the run's commit, or a step of it."""

    attempt: int
    step: str | None = Field(description="The step that asks; null: the run, for its commit.")
    sha: str = Field(description="The commit; an approval is for this one alone.")
    person: str | None = Field(
        description="The id, at the host, of whose commit it is, where that had to be approved."
    )
    prompt: str
    asked_at: AwareDatetime
    expires_at: AwareDatetime | None = Field(description="When it ends without an answer.")
    verdict: Verdict | None = Field(description="What was said; null: nothing yet.")
    answered_by: str | None
    answered_at: AwareDatetime | None


class Run(RunBrief):
    """A run with everything that belongs to it."""

    waits_for: str | None = Field(
        description="What it waits for, in words; null where it does not wait."
    )
    context: str = Field(description="Name of its commit status.")
    happening: Event = Field(description="The event that started it.")
    delivery: str | None = Field(description="Address of the delivery that started it.")
    found: Found | None = Field(description="How that was found, if it did not come by itself.")
    definition: Definition
    attempts: list[Attempt]
    steps: list[Step] = Field(description="The steps of the newest attempt.")
    images: list[ImageVersion]
    statuses: list[Status]
    approvals: list[Approval] = Field(description="What it has asked people, oldest first.")


class Steps(Answer):
    """The steps of one attempt, in the plan's order."""

    items: list[Step]


class StartedRun(Answer):
    """What a pipeline's part of a decision came to."""

    pipeline: str
    file: str
    started: bool
    reason: str
    conditions: list[Any] = Field(description="Each condition of `when`, with its answer.")
    problems: list[Problem]
    run: str | None = Field(description="Address of the run it started.")


class Decision(Answer):
    """Whether an event started anything, and why."""

    outcome: DecisionOutcome
    reason: str
    happening: Event | None
    pipelines: list[StartedRun]
    duplicate_of: str | None = Field(description="The delivery that told the same earlier.")
    decided_at: AwareDatetime


class DeliveryBrief(Answer):
    """A webhook call."""

    id: str
    url: str
    page: str
    host: str
    delivery_id: str = Field(description="The id the host gave it.")
    event_type: str
    received_at: AwareDatetime
    state: DeliveryState
    tries: int
    error: str | None
    found: Found | None = Field(
        description="How it was found, where it did not come by itself: `listed` (the host was "
        "asked to send it again), `heads` (no webhook came; a branch or tag had moved)."
    )
    outcome: DecisionOutcome | None
    reason: str | None = Field(description="What was decided, in words.")


class Delivery(DeliveryBrief):
    """A webhook call with what it brought."""

    headers: dict[str, str] = Field(description="As received; secrets and signatures taken out.")
    body: str = Field(description="As received, at most 1 MiB of it, read as UTF-8.")
    body_bytes: int = Field(description="Length of the whole body.")
    emptied_at: AwareDatetime | None = Field(
        description="When headers and body were removed for their age; null: they are kept."
    )
    decision: Decision | None


class Pause(Answer):
    """A git host, or one repository of it, that is left alone for a while."""

    host: str
    repository: str | None = Field(description="`owner/name`; null for the whole host.")
    kind: PauseKind = Field(
        description="`quiet`: the host asked for it. `refused`: the token was refused, so no "
        "status is posted. `hooks`: missed deliveries cannot be looked for. `fetch`: git was "
        "refused, so heads are not compared."
    )
    reason: str
    since: AwareDatetime
    until: AwareDatetime = Field(description="When it is tried again.")
    statuses: int = Field(description="Commit statuses that wait for that.")


class NewRun(BaseModel):
    """What to start."""

    model_config = ConfigDict(extra="forbid")

    repository: Annotated[str, Field(min_length=1, max_length=255, description="`owner/name`.")]
    ref: Annotated[str, Field(min_length=1, max_length=255, description="Branch, tag or commit.")]
    host: Annotated[
        str | None, Field(max_length=100, description="Where two hosts have that repository.")
    ] = None
    pipeline: Annotated[
        str | None, Field(max_length=100, description="Only this one; default: all that match.")
    ] = None
    inputs: Annotated[
        dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=500)]],
        Field(max_length=50, description="What the pipeline's `inputs` ask for, by name."),
    ] = {}


class NewAttempt(BaseModel):
    """Which steps run again; without a word, all of them."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    only: Annotated[
        Literal["failed"] | None,
        Field(description="Only steps that did not pass; what passed is carried over."),
    ] = None
    from_: Annotated[
        str | None,
        Field(
            alias="from",
            max_length=200,
            description="This step, all that needs it, and what did not pass: `test.unit`.",
        ),
    ] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> NewAttempt:
        if self.only is not None and self.from_ is not None:
            raise ValueError("give `only` or `from`, not both")
        return self


class Said(BaseModel):
    """What is approved or declined; without a word, all that the run waits for."""

    model_config = ConfigDict(extra="forbid")

    step: Annotated[
        str | None,
        Field(max_length=200, description="The step, where several wait: `deploy.production`."),
    ] = None


class RunsQuery(Query):
    """Which runs."""

    repository: Name | None = Field(None, description="`owner/name`.")
    branch: Name | None = None
    state: State | None = None
    before: RowId | None = Field(None, description="Only runs with a lower number.")
    limit: Limit = 50


class ImagesQuery(Query):
    """Which image versions."""

    image: Name | None = Field(None, description="Registry host and path.")
    repository: Name | None = None
    before: RowId | None = Field(None, description="Only versions with a lower id.")
    limit: Limit = 50


class DeliveriesQuery(Query):
    """Which deliveries."""

    before: Annotated[str, Field(max_length=24)] | None = Field(
        None, description="Only deliveries older than the one of this id."
    )
    limit: Limit = 50


class LogQuery(Query):
    """Which part of the output; without any, all of it, or the bytes a `Range` header names."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Annotated[int, Field(ge=0, le=MAX_ID)] | None = Field(
        None, alias="from", description="First line, counted from 0."
    )
    limit: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="How many lines at most."
    )
    follow: bool = Field(default=False, description="Stay until the step has ended.")
    from_byte: Annotated[int, Field(ge=0, le=MAX_ID)] | None = Field(
        None,
        description="With `follow`: first byte, counted from 0; what a connection that broke had "
        "given is not given again.",
    )

    @model_validator(mode="after")
    def _one_beginning(self) -> LogQuery:
        if self.from_byte is not None and (self.from_ is not None or not self.follow):
            raise ValueError("`from_byte` goes with `follow`, and not with `from`")
        return self


class QueueQuery(Query):
    """How much of the queue."""

    limit: Limit = 50


class NoQuery(Query):
    """No parameters."""
