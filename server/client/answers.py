"""What the API answers, as far as the command line reads it.

Only what is shown is read, and what is new is ignored: a client and a server need not be of one
version. A test holds these against the models that the API answers with.
"""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict

ACTIVE = ("waiting", "held", "running")
STATES = (*ACTIVE, "success", "failure", "error", "cancelled", "skipped")


class Seen(BaseModel):
    """Some of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Me(Seen):
    """Whose token it is, and what answers."""

    name: str
    version: str


class RepositoryName(Seen):
    """Which repository, on which host."""

    host: str
    name: str


class RunBrief(Seen):
    """A run as it stands in a list."""

    id: int
    page: str
    repository: RepositoryName
    pipeline: str
    event: str
    sha: str
    branch: str | None
    tag: str | None
    pull_request: int | None
    title: str
    actor: str
    attempt: int
    state: str
    sentence: str
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None


class Runs(Seen):
    """Some runs."""

    items: list[RunBrief]
    next: str | None


class Outcome(Seen):
    """How a step ended."""

    message: str = ""


class Step(Seen):
    """A step of an attempt."""

    key: str
    state: str
    started_at: AwareDatetime | None
    running_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    outcome: Outcome | None
    carried_from: int | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ACTIVE


class Steps(Seen):
    """The steps of an attempt."""

    items: list[Step]


class Attempt(Seen):
    """An attempt of a run."""

    number: int
    state: str
    reason: str
    sentence: str
    cancelled_at: AwareDatetime | None
    cancelled_by: str | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ACTIVE


class Problem(Seen):
    """A mistake in a pipeline file."""

    code: str
    message: str
    file: str | None
    line: int | None
    hint: str | None


class Definition(Seen):
    """The pipeline file of a run."""

    file: str
    problems: list[Problem]


class ImageVersion(Seen):
    """What a run pushed."""

    reference: str
    tags: list[str]


class Run(RunBrief):
    """A run with what belongs to it."""

    waits_for: str | None
    definition: Definition
    attempts: list[Attempt]
    steps: list[Step]
    images: list[ImageVersion]


class StartedRun(Seen):
    """What became of one pipeline."""

    pipeline: str
    file: str
    started: bool
    reason: str
    problems: list[Problem]
    run: str | None

    @property
    def number(self) -> int | None:
        """Of the run it started."""
        tail = (self.run or "").rpartition("/")[2]
        return int(tail) if tail.isascii() and tail.isdigit() else None


class Decision(Seen):
    """What a request came to."""

    outcome: str
    reason: str
    pipelines: list[StartedRun]


class Queued(Seen):
    """An attempt that waits."""

    run: RunBrief
    attempt: int
    waited_seconds: float
    waits_for: str


class Queue(Seen):
    """What waits."""

    items: list[Queued]
    waiting: int


class Secret(Seen):
    """A secret without what it holds."""

    name: str
    repository: RepositoryName | None
    events: list[str]
    branches: list[str]
    steps: list[str]
    hidden: bool | None = None
    """Of one just stored: whether it is taken out of output."""
    changed_by: str
    changed_at: AwareDatetime


class Secrets(Seen):
    """Every secret."""

    items: list[Secret]


class Schedule(Seen):
    """A time at which a pipeline starts."""

    repository: RepositoryName
    pipeline: str
    file: str
    cron: str
    timezone: str
    next_at: AwareDatetime
    last_run: RunBrief | None


class Schedules(Seen):
    """Every schedule."""

    items: list[Schedule]


class Delivery(Seen):
    """A webhook call."""

    id: str
    host: str
    event_type: str
    received_at: AwareDatetime
    state: str
    error: str | None
    outcome: str | None
    reason: str | None


class Deliveries(Seen):
    """Some webhook calls."""

    items: list[Delivery]
