"""Rows as values, and new rows to be."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator

from pipelines.definition.fields import Missed
from pipelines.durations import format_duration
from pipelines.events import Event, EventKind
from pipelines.locks import LEVELS, Level, Lock
from pipelines.plan import Plan
from pipelines.problems import Problem
from pipelines.progress import Outcome, State, Tests, Try
from pipelines.uptime import Uptime
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
    repository: str | None = None
    """The repository's id on its host, as the door read it; None where it names none."""
    found: Found | None = None


class Lane(Value):
    """Deliveries of one repository: they are read one after the other, in their order."""

    host: str
    repository: str | None


class DeliveryRow(NewDelivery):
    """A stored delivery."""

    state: DeliveryState
    tries: int
    error: str | None
    emptied_at: AwareDatetime | None = None
    """When its headers and body were removed, for their age; None: they are kept."""


class PipelineDecision(Value):
    """One pipeline's part of a decision."""

    pipeline: str
    file: str
    start: bool
    reason: str
    conditions: tuple[Any, ...] = ()
    problems: tuple[Problem, ...] = ()
    run: int | None = None
    refused: bool = False
    """Whether the person who asked for it has to ask otherwise."""


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
    group_key: str | None
    """The same for the runs it takes turns with; None: it takes turns with none."""
    group_ref: str | None
    """The branch, tag or pull request on which newer runs of the group may supersede it."""
    stranger: str | None = None
    """Whose commit somebody must have approved before any attempt of it starts: the person's id at
    the host, empty where nobody is known. None: no approval is needed."""

    @property
    def trusted(self) -> bool:
        """Whether its commit was put into the repository by somebody who may write there."""
        return self.event.trusted and (self.plan is None or self.plan.trusted)

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
    group_key: str | None
    superseded_by: int | None
    """The run that took its place."""
    output_removed_at: AwareDatetime | None = None
    """When its steps' output was removed, for its age; None: it is kept."""

    @property
    def why_cancelled(self) -> str | None:
        """In words, why it was asked to stop; None where it was not."""
        if self.cancelled_at is None:
            return None
        if self.superseded_by is not None:
            return f"superseded by run {self.superseded_by}"
        return f"cancelled by {self.cancelled_by}"


class Verdict(StrEnum):
    """What came of asking for approval."""

    APPROVED = "approved"
    DECLINED = "declined"
    EXPIRED = "expired"
    """Nobody answered in time."""


class ApprovalRow(Value):
    """Somebody was asked to approve a commit or a step."""

    id: int
    run: int
    attempt: int
    step: str | None
    """The step that waits; None: the run itself, for a look at its commit."""
    repository: int
    sha: str
    stranger: str | None
    """Whose commit it is, as in the run."""
    prompt: str
    asked_at: AwareDatetime
    expires_at: AwareDatetime | None
    verdict: Verdict | None
    """None: nobody has answered."""
    answered_by: str | None
    answered_at: AwareDatetime | None

    @property
    def sentence(self) -> str:
        """What came of it, in words: `declined by ann`."""
        if self.verdict is Verdict.EXPIRED:
            seconds = ((self.expires_at or self.asked_at) - self.asked_at).total_seconds()
            return f"nobody approved it within {format_duration(seconds)}"
        if self.verdict is None:
            return f"waits for approval: {self.prompt}"
        return f"{self.verdict} by {self.answered_by}"


class Rival(Value):
    """A run of the same group for the same branch, tag or pull request."""

    run: int
    event: Event


COUNTED = 1001
"""Of a longer line nobody needs the length, and counting it for each newcomer takes long."""


class Turn(Value):
    """What an attempt that waits must let go before it."""

    group: str
    run: int
    """The first in line: it runs, or will run next."""
    ahead: int
    """How many of the group come before it, the first in line included; at most `COUNTED`."""

    @property
    def sentence(self) -> str:
        """In words."""
        or_more = " or" if self.ahead >= COUNTED else ""
        more = f", and {self.ahead - 1}{or_more} more before it" if self.ahead > 1 else ""
        return f"waits for run {self.run} of group {self.group}{more}"


class Queued(Value):
    """An attempt that waits, and for what."""

    run: RunRow
    attempt: int
    since: AwareDatetime
    turn: Turn | None
    """None: nothing but a slot."""


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
    started_uptime: Uptime | None
    """When it started, on a clock that nobody sets; None where an older Lading started it."""
    carried_from: int | None
    """The attempt that did it, where that is an earlier one."""
    tries: Annotated[tuple[Try, ...], BeforeValidator(lambda value: value or ())]
    """Those that failed and were followed by another."""

    @property
    def tried(self) -> int:
        """How many tries were begun of it, this one counted."""
        return len(self.tries) + 1 if self.started_at is not None else 0

    @property
    def done_in(self) -> int:
        """The attempt that has its output."""
        return self.attempt if self.carried_from is None else self.carried_from


class KeptRow(Value):
    """What one step of an attempt left."""

    run: int
    attempt: int
    step: str
    files: int
    """How many artifacts; 0: none, or only a test report."""
    size: int
    """Bytes of the artifacts."""
    stored: int
    """Bytes they take on the disk."""
    notes: tuple[str, ...]
    """What could not be kept, and why."""
    tests: Tests | None
    created_at: AwareDatetime
    expires_at: AwareDatetime
    """When the artifacts go; the test report goes with the run."""
    removed_at: AwareDatetime | None

    @property
    def has_files(self) -> bool:
        """Whether there are artifacts still."""
        return self.files > 0 and self.removed_at is None


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
    lock: Lock | None = None
    """What it was made from; None: nobody wrote it down."""
    level: Level | None = None
    """How far it is known that it can be made again."""
    verified_at: AwareDatetime | None = None
    """When somebody made it again."""

    @property
    def how_exact(self) -> str:
        """Its level in words; empty where it has none."""
        return "" if self.level is None else LEVELS[self.level]


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
    waits_since: AwareDatetime | None
    """When `due_at` was set; None where an older Lading set it."""


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


class TallyRow(Value):
    """How often something has happened, over all restarts."""

    name: str
    count: int
    last_at: AwareDatetime
    note: str
    """What the last time was about, in words; often empty."""


class NewSchedule(Value):
    """A schedule that a pipeline file on the default branch names."""

    file: str
    pipeline: str
    cron: str
    timezone: str
    missed: Missed
    next_at: AwareDatetime


class ScheduleRow(NewSchedule):
    """A stored schedule."""

    id: int
    repository: int
    host: str
    full_name: str
    default_branch: str | None
