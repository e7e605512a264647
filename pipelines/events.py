"""What happened in git, in one shape for every host."""

from __future__ import annotations

from enum import StrEnum
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime

from pipelines.values import Value

ZERO_SHA = "0" * 40


class EventKind(StrEnum):
    """The words of `when: event:`."""

    PUSH = "push"
    """Commits arrived on a branch."""
    PULL_REQUEST = "pull_request"
    """A pull request (GitLab: merge request) was opened, or got new commits."""
    TAG = "tag"
    """A tag was made or moved."""
    MANUAL = "manual"
    """A person asked for a run."""
    SCHEDULE = "schedule"
    """A time came that a pipeline on the default branch names."""


class Slot(Value):
    """One time of one schedule; it comes once."""

    file: str
    """The pipeline file that names it."""
    cron: str
    timezone: str
    at: AwareDatetime

    def __str__(self) -> str:
        """`0 3 * * * in Europe/Berlin, for 2026-05-04 03:00`."""
        local = self.at.astimezone(ZoneInfo(self.timezone))
        return f"{self.cron} in {self.timezone}, for {local:%Y-%m-%d %H:%M}"


class Event(Value):
    """What happened in git, read from a delivery or a person's request.

    Every text in it is written by strangers: it goes into environment variables and pages as
    text, never into a shell or a command line.
    """

    kind: EventKind
    repository: str
    """`owner/name` as the host spells it now."""
    sha: str
    """The commit to build: 40 or 64 lower-case hex digits."""
    ref: str
    """Where the commit can be fetched: `refs/heads/x`, `refs/tags/x`, `refs/pull/7/head`."""
    before: str | None = None
    """The commit the branch pointed at earlier; for a pull request the base commit."""
    branch: str | None = None
    """The branch pushed to; for a pull request the branch it wants to go into."""
    tag: str | None = None
    pull_request: int | None = None
    source_branch: str | None = None
    """The branch a pull request comes from."""
    from_fork: bool = False
    """Whether the commit comes from no branch or tag of the repository itself: anybody may have
    made it."""
    default_branch: str | None = None
    title: str = ""
    """First line of the commit message, or the pull request's title."""
    message: str = ""
    """The whole commit message where the host tells it (for `[skip ci]`)."""
    author: str = ""
    """Who wrote the commit, as the commit says: for display, never for trust."""
    actor: str = ""
    """Who pushed, as the host names them."""
    actor_id: str | None = None
    """The host's numeric id of the person who pushed."""
    author_id: str | None = None
    """The host's numeric id of the person who opened the pull request."""
    url: str | None = None
    """The commit's or pull request's page on the host."""
    slot: Slot | None = None
    """For a schedule: which time has come."""
    inputs: dict[str, str] = {}
    """For a manual run: what the person gave."""

    @property
    def key(self) -> str:
        """The same for the same happening, however often and under whatever id it is told."""
        if self.kind is EventKind.PULL_REQUEST:
            return f"pull_request:{self.pull_request}:{self.branch}:{self.sha}"
        if self.slot is not None:
            return f"schedule:{self.slot.file}:{self.slot.cron}:{self.slot.at.isoformat()}"
        return f"{self.kind}:{self.ref}:{self.before or ZERO_SHA}:{self.sha}"

    @property
    def moved_ref(self) -> str | None:
        """The branch, tag or pull request whose newest commit this is.

        None where a person named a commit by its own id: it is nobody's newest.
        """
        return self.ref if self.branch or self.tag else None

    @property
    def trusted(self) -> bool:
        """Whether somebody who may write to the repository put the commit there."""
        return not self.from_fork

    @property
    def stranger(self) -> str:
        """What a commit that is not trusted is, in words."""
        if self.kind is EventKind.PULL_REQUEST:
            return "a pull request from a fork"
        return "a commit of no branch or tag here"

    @property
    def short_sha(self) -> str:
        """The first 12 digits of the commit."""
        return self.sha[:12]
