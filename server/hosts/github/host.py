"""GitHub as a git host: the port's verbs, each handed to the module that knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pipelines.events import Event
from server import clock
from server.config import GitHubSettings
from server.hosts import remotes, signing
from server.hosts.calling import CALL_TIMEOUT, REQUEST_TIMEOUT, Caller
from server.hosts.github import deliveries, people, signature, statuses
from server.hosts.github import payload as payloads
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

if TYPE_CHECKING:
    from github import Github

DELIVERY_HEADER = "x-github-delivery"


class GitHubHost:
    """One configured GitHub.

    Args:
        name: Its name in the configuration.
        settings: Its table there.
        now: The clock, for rate limits that end at a time.
        request_timeout: Whole seconds to connect, and between two bytes of an answer.
        call_timeout: Seconds for a whole call.

    Raises:
        ValueError: A webhook secret is empty, or two repositories share one.
    """

    kind = HostKind.GITHUB
    knows_running = False
    delivery_window = timedelta(days=3)
    resends = 60

    def __init__(
        self,
        name: str,
        settings: GitHubSettings,
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
        self._candidates = signing.candidates(
            signing.secret_bytes(settings.webhook_secret),
            {
                repository: signing.secret_bytes(own.webhook_secret)
                for repository, own in settings.repositories.items()
            },
        )
        self._client: Github | None = None
        self._hooks: dict[str, int] = {}

    def verify(
        self,
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,  # noqa: ARG002  (GitHub signs no time)
    ) -> Verified:
        """As the port says."""
        found = signature.verify(self._candidates, headers, body)
        return Verified(
            delivery_id=headers.get(DELIVERY_HEADER),
            repository=found.repository,
            event_type=headers.get(payloads.EVENT_HEADER, ""),
        )

    def payload(self, headers: Mapping[str, str], body: bytes) -> Payload:
        """As the port says."""
        return payloads.parse(headers, body)

    def repository(self, payload: Payload) -> RepositoryRef | None:
        """As the port says.

        Raises:
            PayloadInvalidError: It names one, but not in a usable way.
        """
        return payloads.repository(payload)

    def read(self, headers: Mapping[str, str], payload: Payload) -> Event | Irrelevant:
        """As the port says."""
        return payloads.read(headers, payload, self._url)

    def pushed(
        self, repository: RepositoryRef, *, ref: str, before: str | None, sha: str
    ) -> Event | Irrelevant:
        """As the port says."""
        return payloads.pushed(repository, self._url, ref=ref, before=before, sha=sha)

    def remote(self, repository: RepositoryRef) -> Remote:
        """As the port says."""
        return remotes.remote(self._url, repository, "x-access-token", self._settings.token)

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
                message="no token: Lading cannot write commit statuses, nor read private "
                "repositories",
                fix=f"make a token with write access to commit statuses and read access to "
                f"contents, and set it as hosts.{self.name}.token",
            )
        where = self._settings.api_url
        try:
            return await self._caller.call(lambda: statuses.check(self._api(), where, self._now))
        except HostError as error:
            fix = f"check hosts.{self.name}.token and hosts.{self.name}.api_url"
            return HostCheck(ok=False, message=str(error), fix=fix)

    def _api(self) -> Github:
        """The client, made when it is first needed; runs in the caller's threads."""
        if self._settings.token is None:
            raise HostError(f"no token: set hosts.{self.name}.token", permanent=True)
        if self._client is None:
            self._client = statuses.client(
                self._settings.token.get_secret_value(),
                self._settings.api_url,
                timeout=self._timeout,
            )
        return self._client
