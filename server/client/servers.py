"""The servers a person has signed in to: a file of their own, which nobody else may read."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_serializer

from server.client.errors import ClientError

URL = "LADING_URL"
TOKEN = "LADING_TOKEN"  # noqa: S105 - a variable's name
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class AddressError(ClientError):
    """What was given cannot be a server's address, name or token."""


class UnknownServerError(ClientError):
    """No server of that name is known, or none at all."""


class KnownServer(BaseModel):
    """A server somebody has signed in to."""

    model_config = ConfigDict(frozen=True)

    url: str
    token: SecretStr

    @field_serializer("token")
    def _written(self, token: SecretStr) -> str:
        return token.get_secret_value()


class KnownServers(BaseModel):
    """All of them, by name, and which one is meant where none is named."""

    model_config = ConfigDict(frozen=True)

    current: str | None = None
    servers: dict[str, KnownServer] = {}


class Servers:
    """The file of known servers.

    Args:
        path: Where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Servers:
        """The person's own, in their folder for configuration (XDG Base Directory)."""
        base = environ.get("XDG_CONFIG_HOME") or "~/.config"
        return cls(Path(base).expanduser() / "lading" / "servers.json")

    def read(self) -> KnownServers:
        """What is known.

        Raises:
            ClientError: The file cannot be read, or others may read it.
        """
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read()
        except FileNotFoundError:
            return KnownServers()
        except OSError as error:
            raise ClientError(f"{self.path} cannot be read ({error.strerror})") from error
        if mode & 0o077:
            raise ClientError(
                f"others may read {self.path}, and there are tokens in it: `chmod 600` it, and "
                "make new tokens if somebody may have looked"
            )
        try:
            return KnownServers.model_validate_json(text)
        except ValidationError as error:
            raise ClientError(
                f"{self.path} is not as `lading login` writes it: remove it, and log in again"
            ) from error

    def add(self, name: str, url: str, token: str) -> None:
        """Know a server, in place of one of that name; it is the current one from now on.

        Raises:
            ClientError: The file cannot be read or written.
        """
        known = self.read()
        server = KnownServer(url=url, token=SecretStr(token))
        self._write(KnownServers(current=name, servers={**known.servers, name: server}))

    def forget(self, name: str | None) -> str:
        """Forget a server, by default the current one; its name.

        Raises:
            UnknownServerError: There is none.
        """
        known = self.read()
        gone = self._named(known, name)
        rest = {each: server for each, server in known.servers.items() if each != gone}
        current = known.current if known.current in rest else None
        self._write(KnownServers(current=current, servers=rest))
        return gone

    def use(self, name: str) -> KnownServer:
        """Make a server the current one.

        Raises:
            UnknownServerError: There is none of that name.
        """
        known = self.read()
        self._named(known, name)
        self._write(known.model_copy(update={"current": name}))
        return known.servers[name]

    def chosen(self, name: str | None, environ: Mapping[str, str]) -> KnownServer:
        """The server somebody means: the one named, else the environment's, else the current one.

        Raises:
            UnknownServerError: There is none.
            AddressError: What the environment says cannot be.
        """
        known = self.read()
        if name is None and (environ.get(URL) or environ.get(TOKEN)):
            return self._of_environment(known, environ)
        return known.servers[self._named(known, name)]

    def _of_environment(self, known: KnownServers, environ: Mapping[str, str]) -> KnownServer:
        if not environ.get(URL):
            raise AddressError(f"{TOKEN} is set, and {URL} is not: set both, or neither")
        url = address(environ[URL])
        token = environ.get(TOKEN)
        if token:
            return KnownServer(url=url, token=SecretStr(token.strip()))
        for server in known.servers.values():
            if server.url == url:
                return server
        raise UnknownServerError(
            f"{URL} names {url}, and there is no token for it: set {TOKEN}, or `lading login {url}`"
        )

    def _named(self, known: KnownServers, name: str | None) -> str:
        wanted = name or known.current
        if wanted is None and not known.servers:
            raise UnknownServerError("no server is known yet: `lading login URL` signs in to one")
        if wanted is None:
            raise UnknownServerError(
                f"no server is the current one: `lading use NAME` ({', '.join(known.servers)})"
            )
        if wanted not in known.servers:
            names = f" (there is {', '.join(known.servers)})" if known.servers else ""
            raise UnknownServerError(
                f"no server {wanted[:100]!r} is known{names}: `lading login URL` signs in to one"
            )
        return wanted

    def _write(self, known: KnownServers) -> None:
        """The file whole or as it was, and never readable by others."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # mkstemp makes files with mode 0600.
            descriptor, made = tempfile.mkstemp(dir=self.path.parent, prefix=".servers-")
            with os.fdopen(descriptor, "w") as file:
                json.dump(known.model_dump(), file, indent=2)
                file.write("\n")
            Path(made).replace(self.path)
        except OSError as error:
            raise ClientError(f"{self.path} cannot be written ({error.strerror})") from error


def address(text: str) -> str:
    """A server's address as it is kept: `https://ci.example.com`, without what stands behind.

    Raises:
        AddressError: It is none.
    """
    given = text.strip()
    if "://" not in given:
        given = f"https://{given}"
    try:
        parts = urlsplit(given)
        parts.port  # noqa: B018 - it raises where that is no number
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not given.isprintable():
        raise AddressError(
            f"{text[:100]!r} is no address of a server: give it as pages have it, like "
            "https://ci.example.com"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise AddressError("a server's address holds neither a login nor anything behind ? or #")
    path = parts.path.rstrip("/").removesuffix("/api/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def name_for(url: str, name: str | None) -> str:
    """What a server is called here: what somebody wants, else its host and port.

    Raises:
        AddressError: It cannot be a name.
    """
    wanted = name or urlsplit(url).netloc.strip("[]").replace("]", "")
    if _NAME.fullmatch(wanted) is None:
        raise AddressError(
            f"{wanted[:100]!r} is no name for a server: letters, digits and . _ : - ; choose one "
            "with --name"
        )
    return wanted


def goes_in_clear(url: str) -> bool:
    """Whether everybody on the way may read the token."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK
