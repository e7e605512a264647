"""GitLab as a git host: the port's verbs, each handed to the module that knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import SecretStr

from pipelines.events import Event
from server import clock
from server.config import GitLabSettings
from server.hosts import reading, remotes, signing
from server.hosts.calling import CALL_TIMEOUT, REQUEST_TIMEOUT, Caller
from server.hosts.gitlab import deliveries, people, signature, statuses
from server.hosts.gitlab import payload as payloads
from server.hosts.port import (
    CommitStatus,
    HostCheck,
    HostError,
    HostKind,
    Irrelevant,
    Payload,
    Person,
    Remote,
    RepositoryRef,
    ToldDelivery,
    Verified,
)

EVENT_HEADER = "x-gitlab-event"


class GitLabHost:
    """One configured GitLab.

    Args:
        name: Its name in the configuration.
        settings: Its table there.
        now: The clock, for rate limits that end at a time.
        request_timeout: Whole seconds to connect, and between two bytes of an answer.
        call_timeout: Seconds for a whole call.

    Raises:
        ValueError: A secret is empty, malformed, or shared by two projects.
    """

    kind = HostKind.GITLAB
    knows_running = True
    delivery_window = timedelta(days=2)
    resends = 5

    def __init__(
        self,
        name: str,
        settings: GitLabSettings,
        *,
        now: clock.Clock = clock.now,
        request_timeout: int = REQUEST_TIMEOUT,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self.name = name
        self._settings = settings
        self._url = settings.url.rstrip("/")
        self._now = now
        self._timeout = request_timeout
        self._caller = Caller(name, timeout=call_timeout)
        own = settings.repositories
        self._signers = signing.candidates(
            _signing_key(settings.signing_token),
            {name: _signing_key(table.signing_token) for name, table in own.items()},
        )
        self._tokens = signing.candidates(
            signing.secret_bytes(settings.webhook_secret),
            {name: signing.secret_bytes(table.webhook_secret) for name, table in own.items()},
        )
        self._client: statuses.Client | None = None
        self._hooks: dict[str, int] = {}

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Verified:
        """As the port says."""
        found = signature.verify(self._signers, self._tokens, headers, body, now)
        return Verified(
            delivery_id=deliveries.delivery_id(headers),
            repository=found.repository,
            event_type=headers.get(EVENT_HEADER, ""),
        )

    def payload(
        self,
        headers: Mapping[str, str],  # noqa: ARG002  (GitLab sends JSON only)
        body: bytes,
    ) -> Payload:
        """As the port says."""
        return reading.json_object(body)

    def repository(self, payload: Payload) -> RepositoryRef | None:
        """As the port says.

        Raises:
            PayloadInvalidError: It names one, but not in a usable way.
        """
        return payloads.repository(payload)

    def read(
        self,
        headers: Mapping[str, str],  # noqa: ARG002  (they are not signed)
        payload: Payload,
    ) -> Event | Irrelevant:
        """As the port says."""
        return payloads.read(payload, self._url)

    def pushed(
        self, repository: RepositoryRef, *, ref: str, before: str | None, sha: str
    ) -> Event | Irrelevant:
        """As the port says."""
        return payloads.pushed(repository, self._url, ref=ref, before=before, sha=sha)

    def remote(self, repository: RepositoryRef) -> Remote:
        """As the port says."""
        return remotes.remote(self._url, repository, "oauth2", self._settings.token)

    async def post_status(self, status: CommitStatus) -> None:
        """As the port says."""
        await self._caller.call(lambda: statuses.post(self._api(), status, self._now))

    async def may_write(self, repository: RepositoryRef, person: Person) -> bool:
        """As the port says."""
        return await self._caller.call(
            lambda: people.may_write(self._api(), repository, person, self._now)
        )

    async def told_deliveries(
        self, repository: RepositoryRef, *, url: str, since: datetime, until: str | None
    ) -> Sequence[ToldDelivery]:
        """As the port says."""
        return await self._caller.call(
            lambda: deliveries.listed(
                self._api(), repository, self._hooks, self._now, url=url, since=since, until=until
            )
        )

    async def redeliver(self, repository: RepositoryRef, told: ToldDelivery) -> None:
        """As the port says."""
        await self._caller.call(
            lambda: deliveries.send_again(self._api(), repository, told, self._now)
        )

    async def check(self) -> HostCheck:
        """As the port says."""
        if self._settings.token is None:
            return HostCheck(
                ok=False,
                message="no token: Lading cannot write commit statuses, nor read private projects",
                fix=f"make an access token with the scope `api` and the role Developer, and set "
                f"it as hosts.{self.name}.token",
            )
        try:
            return await self._caller.call(
                lambda: statuses.check(self._api(), self._url, self._now)
            )
        except HostError as error:
            fix = f"check hosts.{self.name}.token and hosts.{self.name}.url"
            return HostCheck(ok=False, message=str(error), fix=fix)

    def _api(self) -> statuses.Client:
        """The client, made when it is first needed; runs in the caller's threads."""
        if self._settings.token is None:
            raise HostError(f"no token: set hosts.{self.name}.token", permanent=True)
        if self._client is None:
            self._client = statuses.Client(
                self._settings.token.get_secret_value(), self._url, timeout=self._timeout
            )
        return self._client


def _signing_key(token: SecretStr | None) -> bytes | None:
    return None if token is None else signing.key(token.get_secret_value())
