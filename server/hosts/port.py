"""The port between Lading and a git host.

The contract, for whoever writes another host:

* `verify`, `payload`, `repository` and `read` are pure: bytes in, values out; no clock but the one
  handed in, no I/O. They are called on the event loop for bodies up to a few hundred kB and in a
  thread for larger ones. Whatever the bytes, they raise only the errors named here.
* `verify` looks at the raw bytes and headers alone, in constant time, before anything is parsed.
* `read` takes only the fields it needs; anything odd in the rest must not break it.
* `post_status` may be called again with the same status after a crash: it must be harmless. It is
  called by one task at a time for each host.
* `told_deliveries` and `redeliver` are for what never arrived. Asking twice must be harmless: what
  is sent again comes through the ordinary door, under the id it had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
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
    sha: str | None = None
    """The commit that is not built, where a branch or tag points at one."""


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


class Refusal(StrEnum):
    """What a host no longer lets us do; it may again once somebody has mended it."""

    CREDENTIAL = "credential"
    """It does not know the token: nothing of this host works."""
    REPOSITORY = "repository"
    """The token may not do this here, or does not see the repository."""


class HostError(LadingError):
    """The host did not take what we sent.

    `permanent` is true where trying again cannot help (422: the sha is gone; 1000 statuses).
    `retry_after` is the host's own wish in seconds, if it told one. `refused` is set where trying
    again helps only when somebody has mended something, so: seldom.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        refused: Refusal | None = None,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after
        self.refused = refused


class Person(Value):
    """Somebody on the host, as its own payload tells; never as a commit does."""

    id: str
    """The host's numeric id: names may be given away, ids may not."""
    name: str


class ToldDelivery(Value):
    """A delivery as the host's own list tells it."""

    delivery_id: str
    """The id that `Verified.delivery_id` has, the same however often it is sent."""
    handle: str
    """What the host wants to hear when it shall send it again; each sending has its own."""
    failed: bool
    """Whether the host got no 2xx for this sending."""


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

    @property
    def delivery_window(self) -> timedelta | None:
        """How far back its own list of deliveries goes; None: it keeps none."""

    @property
    def resends(self) -> int:
        """How many deliveries it may be asked for in a minute."""

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

    def pushed(
        self, repository: RepositoryRef, *, ref: str, before: str | None, sha: str
    ) -> Event | Irrelevant:
        """What a webhook would have told of a branch or tag that points at this commit now.

        Args:
            repository: Where.
            ref: The full ref.
            before: The object it pointed at earlier; None for a new one.
            sha: The commit it points at.
        """

    def remote(self, repository: RepositoryRef) -> Remote:
        """Where to fetch the repository from."""

    async def post_status(self, status: CommitStatus) -> None:
        """Make the host show the status.

        Raises:
            HostError: It did not take it.
        """

    async def may_write(self, repository: RepositoryRef, person: Person) -> bool:
        """Whether a person may push to the repository; False where the host knows no people.

        Raises:
            HostError: It cannot be asked.
        """

    async def told_deliveries(
        self, repository: RepositoryRef, *, url: str, since: datetime, until: str | None
    ) -> Sequence[ToldDelivery]:
        """What the host has sent to our webhook of this repository, newest first.

        Args:
            repository: Whose webhook.
            url: The webhook's address, by which it is found.
            since: Nothing older, where the host tells times.
            until: The handle of the newest sending of an earlier call; it and older ones are
                left out.

        Raises:
            HostError: It cannot be asked; `permanent` where no webhook leads to that address.
        """

    async def redeliver(self, repository: RepositoryRef, told: ToldDelivery) -> None:
        """Have the host send a delivery again.

        Raises:
            HostError: It will not.
        """

    async def check(self) -> HostCheck:
        """Whether the host answers and the credential is good for what we need."""
