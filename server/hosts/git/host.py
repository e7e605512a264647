"""Plain git as a host: signed deliveries of our own hook, and no statuses to post."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipelines.events import Event
from server.config import GitSettings
from server.hosts import signing
from server.hosts.git import payload as reading
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

CONNECT_TIMEOUT = 5.0  # seconds
_PORTS = {"https": 443, "http": 80, "ssh": 22}
_SCP_LIKE = re.compile(r"(?:[^/@:]+@)?(?P<host>[^/:@]+):(?!//)")
"""`git@git.acme.test:srv`, the short way to write an SSH address."""


class GitHost:
    """One folder or address that holds bare repositories.

    Raises:
        ValueError: A secret in the settings cannot be used; the message does not repeat it.
    """

    kind = HostKind.GIT
    knows_running = True
    delivery_window = None
    resends = 0

    def __init__(self, name: str, settings: GitSettings) -> None:
        self.name = name
        self._url = settings.url
        self._folder = _folder(settings.url)
        self._candidates = signing.candidates(
            _key(settings.webhook_secret),
            {full: _key(table.webhook_secret) for full, table in settings.repositories.items()},
        )

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Verified:
        """Find the secret that signed these bytes the Standard Webhooks way."""
        found = signing.verify(self._candidates, headers, body, now)
        return Verified(
            delivery_id=headers[signing.ID_HEADER],
            repository=found.repository,
            event_type="push",
        )

    def payload(self, headers: Mapping[str, str], body: bytes) -> Payload:  # noqa: ARG002 - the port's
        """The body parsed."""
        return reading.parse(body)

    def repository(self, payload: Payload) -> RepositoryRef | None:
        """The repository that was pushed to."""
        return reading.repository(payload)

    def read(self, headers: Mapping[str, str], payload: Payload) -> Event | Irrelevant:  # noqa: ARG002 - the port's
        """What happened to one ref."""
        return reading.read(payload)

    def pushed(
        self, repository: RepositoryRef, *, ref: str, before: str | None, sha: str
    ) -> Event | Irrelevant:
        """What the hook would have told."""
        return reading.pushed(repository, ref=ref, before=before, sha=sha)

    def remote(self, repository: RepositoryRef) -> Remote:
        """The repository's place below the configured folder or address.

        Raises:
            PayloadInvalidError: The name is not one that may stand in a path.
            HostError: A link leads out of the configured folder.
        """
        name = reading.repository_name(repository.full_name)
        if self._folder is not None:
            return Remote(url=str(_below(self._folder, name)), protocols="file")
        joint = "" if self._url.endswith(("/", ":")) else "/"
        return Remote(url=f"{self._url}{joint}{name}.git", protocols="https:ssh:http")

    async def post_status(self, status: CommitStatus) -> None:
        """Nothing: plain git keeps no statuses; people see them in Lading itself."""

    async def may_write(
        self,
        repository: RepositoryRef,  # noqa: ARG002 - the port's
        person: Person,  # noqa: ARG002
    ) -> bool:
        """Nobody is known: plain git has no people, and no pull requests."""
        return False

    async def told_deliveries(
        self,
        repository: RepositoryRef,  # noqa: ARG002 - the port's
        *,
        url: str,  # noqa: ARG002
        since: datetime,  # noqa: ARG002
        until: str | None,  # noqa: ARG002
    ) -> Sequence[ToldDelivery]:
        """Nothing: the hook keeps what it could not hand over, and sends it with the next push."""
        return ()

    async def redeliver(self, repository: RepositoryRef, told: ToldDelivery) -> None:
        """Nothing, likewise."""

    async def check(self) -> HostCheck:
        """Whether deliveries can be verified and repositories reached."""
        if not self._candidates:
            return HostCheck(
                ok=False,
                message="no signing secret is set, so no delivery can be trusted",
                fix=f"Set `webhook_secret` in [hosts.{self.name}] and run `lading hook install`.",
            )
        if self._folder is not None:
            return await asyncio.to_thread(_check_folder, self._folder)
        return await _check_address(self._url)


def _key(secret: SecretStr | None) -> bytes | None:
    return signing.key(secret.get_secret_value()) if secret is not None else None


def _folder(url: str) -> Path | None:
    """The folder a setting means; None where it is an address."""
    if url.startswith("file://"):
        return Path(urlsplit(url).path).resolve()
    if "://" in url or _SCP_LIKE.match(url):
        return None
    return Path(url).expanduser().resolve()


def _below(folder: Path, name: str) -> Path:
    """`<folder>/<name>.git`, or `<folder>/<name>` where only that is there."""
    bare = folder / f"{name}.git"
    plain = folder / name
    place = (plain if plain.is_dir() and not bare.is_dir() else bare).resolve()
    if not place.is_relative_to(folder):
        raise HostError(
            f"{name} is a link that leads out of {folder}, so it is not fetched: "
            "move the repository into the folder",
            permanent=True,
        )
    return place


def _check_folder(folder: Path) -> HostCheck:
    if not folder.is_dir():
        return HostCheck(
            ok=False,
            message=f"the folder {folder} is not there",
            fix="Make it, or set `url` to the folder that holds the bare repositories.",
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        return HostCheck(
            ok=False,
            message=f"the folder {folder} may not be read by this user",
            fix="Give Lading's user the right to read the folder and the repositories in it.",
        )
    return HostCheck(ok=True, message=f"repositories are read from {folder}")


def _endpoint(url: str) -> tuple[str | None, int | None]:
    """Host and port behind an address, as far as it has them."""
    scp = _SCP_LIKE.match(url) if "://" not in url else None
    if scp:
        return scp["host"], _PORTS["ssh"]
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None, None


async def _check_address(url: str) -> HostCheck:
    host, port = _endpoint(url)
    if not host or port is None:
        return HostCheck(
            ok=False,
            message="`url` is no kind of address that Lading fetches from",
            fix="Set `url` to a folder, or to an https, http or ssh address.",
        )
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"no answer within {CONNECT_TIMEOUT:.0f} s"
        return HostCheck(
            ok=False,
            message=f"{host} port {port} cannot be reached: {reason}",
            fix="Check `url`, the network between both machines, and that the server is up.",
        )
    writer.close()
    return HostCheck(ok=True, message=f"{host} port {port} answers")
