"""The port between Lading and a git host.

The contract, for whoever writes another host:

* `verify`, `payload`, `repository` and `read` are pure: bytes in, values out; no clock but the one
  handed in, no I/O. They are called on the event loop for bodies up to a few hundred kB and in a
  thread for larger ones. Whatever the bytes, they raise only the errors named here.
* `verify` looks at the raw bytes and headers alone, in constant time, before anything is parsed.
* `read` takes only the fields it needs; anything odd in the rest must not break it.
* `post_status` may be called again with the same status after a crash: it must be harmless. It is
  called by one task at a time for each host.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from pydantic import Field

from pipelines.events import Event
from pipelines.problems import LadingError
from pipelines.values import Value

Payload = dict[str, Any]
"""A delivery's body, parsed: an object whose fields strangers chose."""


class HostKind(StrEnum):
    """The kinds of git host."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GIT = "git"


class RepositoryRef(Value):
    """A repository as a payload names it."""

    external_id: str
    """The host's own id, which renames do not change; for plain git the full name."""
    full_name: str
    default_branch: str | None = None
    private: bool = False


class Verified(Value):
    """Who vouched for a delivery."""

    delivery_id: str | None
    """The host's id of the delivery; None where the host sends none."""
    repository: str | None
    """The one repository (full name) the matching secret belongs to; None: any of the host's."""
    event_type: str
    """What the headers say it is (`push`, `Push Hook`): for display; trust the body."""


class Irrelevant(Value):
    """Authentic, but nothing to build; `reason` is a sentence for people."""

    reason: str
    ref: str | None = None


class StatusState(StrEnum):
    """The states a commit status goes through; never backwards in this order."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def rank(self) -> int:
        """0 pending, 1 running, 2 for every end."""
        return {StatusState.PENDING: 0, StatusState.RUNNING: 1}.get(self, 2)


class CommitStatus(Value):
    """What a host shall show beside a commit."""

    repository: RepositoryRef
    sha: str
    context: str
    """`lading/web`."""
    state: StatusState
    description: str
    """At most 140 characters."""
    target_url: str
    ref: str | None = None
    """The branch or tag, without `refs/…/` (GitLab wants it)."""


class Remote(Value):
    """Where and how to fetch a repository."""

    url: str
    """Built from the host's configuration and the repository's name, never from a payload."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment for git that carries the credential for this URL only."""
    protocols: str = "https"
    """`GIT_ALLOW_PROTOCOL` for the fetch."""


class SignatureInvalidError(LadingError):
    """The delivery is not signed with a secret we know. `reason` helps whoever set it up."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PayloadInvalidError(LadingError):
    """The body is not what this host sends: no JSON, no object, no repository."""


class HostError(LadingError):
    """The host did not take what we sent.

    `permanent` is true where trying again cannot help (422: the sha is gone; 1000 statuses).
    `retry_after` is the host's own wish in seconds, if it told one.
    """

    def __init__(
        self, message: str, *, permanent: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after


class HostCheck(Value):
    """What `lading doctor` found out about a host."""

    ok: bool
    message: str
    """What was seen: "api.github.com answers; token of acme-bot, may write statuses"."""
    fix: str = ""


class Host(Protocol):
    """One configured git host."""

    @property
    def name(self) -> str:
        """Its name in the configuration and in `/webhooks/<name>`."""

    @property
    def kind(self) -> HostKind:
        """Which room it is."""

    @property
    def knows_running(self) -> bool:
        """Whether it tells a running status from a pending one; else running is not posted."""

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Verified:
        """Find the secret that signed these bytes.

        Args:
            headers: Names in lower case; a name sent twice has its values joined with ", ".
            body: The raw body.
            now: An aware time, for signatures that carry one.

        Raises:
            SignatureInvalidError: Missing, wrong, too old, or of a kind we do not accept.
        """

    def payload(self, headers: Mapping[str, str], body: bytes) -> Payload:
        """The body parsed (JSON, or a form's `payload` field on GitHub).

        Raises:
            PayloadInvalidError: It is not a JSON object.
        """

    def repository(self, payload: Payload) -> RepositoryRef | None:
        """The repository the payload speaks of; None where it speaks of none (an org's ping).

        Raises:
            PayloadInvalidError: It names one, but not in a usable way.
        """

    def read(self, headers: Mapping[str, str], payload: Payload) -> Event | Irrelevant:
        """What happened.

        Raises:
            PayloadInvalidError: A field that the event needs is missing or of a wrong type.
        """

    def remote(self, repository: RepositoryRef) -> Remote:
        """Where to fetch the repository from."""

    async def post_status(self, status: CommitStatus) -> None:
        """Make the host show the status.

        Raises:
            HostError: It did not take it.
        """

    async def check(self) -> HostCheck:
        """Whether the host answers and the credential is good for what we need."""
