"""One server's API, over requests: bounded in time, and never led to another address. Blocking."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from pydantic import BaseModel, ValidationError
from requests.adapters import HTTPAdapter

from server.client.errors import (
    ClientError,
    RefusedError,
    StrangeAnswerError,
    TrustError,
    UnreachableError,
)
from server.version import VERSION

M = TypeVar("M", bound=BaseModel)
Query = Mapping[str, object]

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
"""Between two bytes; what is followed is asked for anew after that, from the last byte on."""
PIECE = 64 * 1024
_TOLD = 300
"""Characters of a stranger's answer that are shown."""
_PASSING = frozenset({429, 502, 503, 504})


class Server:
    """A server, asked with a person's token.

    No redirect is followed: the token would go along. No login is read from `~/.netrc`. The
    certificates that count are the system's; proxies are those of the environment.

    Args:
        url: Its address, without a slash at the end.
        token: The token's text.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        self._session = requests.Session()
        if url.startswith("https://"):
            self._session.mount("https://", _SystemTrust())
        self._session.headers["User-Agent"] = f"lading/{VERSION}"
        # What is counted in bytes must not come packed.
        self._session.headers["Accept-Encoding"] = "identity"

    def close(self) -> None:
        """Drop the connections."""
        self._session.close()

    def __enter__(self) -> Self:
        """For as long as the block lasts."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, kind: type[M], path: str, query: Query | None = None) -> M:
        """What is at a path below `/api/v1`, as that model.

        Raises:
            ClientError: There is no such answer.
        """
        return self.read(kind, self.ask("GET", path, query=query))

    def ask(
        self, method: str, path: str, *, query: Query | None = None, body: object = None
    ) -> Any:  # noqa: ANN401 - JSON
        """The answer's JSON.

        Raises:
            ClientError: There is none.
        """
        with self._sent(method, path, query=query, body=body) as response:
            return self._json(response)

    def read(self, kind: type[M], answer: object) -> M:
        """An answer as that model.

        Raises:
            StrangeAnswerError: It is none.
        """
        try:
            return kind.model_validate(answer)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise self._strange(f"has no usable `{place}`") from error

    def stream(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """A text's bytes as they come.

        Raises:
            UnreachableError: The connection broke, or nothing came for a minute.
            ClientError: There is no such text.
        """
        with self._sent("GET", path, query=query) as response, self._told():
            yield from response.iter_content(PIECE)

    def rest(self, path: str, start: int) -> Iterator[bytes]:
        """What a text has from a byte on, by now; nothing where it ends there.

        Raises:
            ClientError: It cannot be had.
        """
        try:
            with self._sent("GET", path, span=f"bytes={start}-") as response, self._told():
                skip = start if response.status_code == requests.codes.ok else 0
                for piece in response.iter_content(PIECE):
                    yield piece[skip:]
                    skip = max(skip - len(piece), 0)
        except RefusedError as error:
            if error.status != requests.codes.requested_range_not_satisfiable:
                raise

    def tail(self, path: str, size: int) -> bytes:
        """The last bytes of a text, at most so many.

        Raises:
            ClientError: It cannot be had.
        """
        try:
            with self._sent("GET", path, span=f"bytes=-{size}") as response, self._told():
                return bytes(response.content[-size:])
        except RefusedError as error:
            if error.status != requests.codes.requested_range_not_satisfiable:
                raise
            return b""

    @contextlib.contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        span: str | None = None,
    ) -> Iterator[requests.Response]:
        asked = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        with self._told():
            response = self._session.request(
                method,
                f"{self.url}/api/v1{path}",
                params=asked,
                json=body,
                headers={} if span is None else {"Range": span},
                auth=self._authorize,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=False,
                stream=True,
            )
        with response:
            self._refuse(response)
            yield response

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What three libraries call their troubles, in our words."""
        try:
            yield
        except requests.exceptions.SSLError as error:
            raise TrustError(
                f"the certificate of {self.url} does not hold ({_innermost(error)}): trust its "
                "authority on this machine, or name its file in SSL_CERT_FILE"
            ) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(
                f"{self.url} does not answer ({_innermost(error)}): see that the server runs, and "
                "that the address is right",
            ) from error

    def _refuse(self, response: requests.Response) -> None:
        """See that it is an answer we asked for."""
        status = response.status_code
        if status < 300:  # noqa: PLR2004 - RFC 9110, 15.3
            return
        if status < 400:  # noqa: PLR2004 - RFC 9110, 15.4
            target = urlsplit(response.headers.get("Location", ""))
            where = f"{target.scheme}://{target.netloc}" if target.netloc else "another address"
            raise RefusedError(
                status,
                f"{self.url} sends us to {where[:_TOLD]}, where the token does not go by itself: "
                f"if that is your server, `lading login {where[:_TOLD]}`",
            )
        detail = self._detail(response)
        if status in _PASSING:
            raise UnreachableError(f"{self.url} cannot answer now ({status}): {detail}")
        if status == requests.codes.unauthorized:
            raise RefusedError(status, f"{detail}; then `lading login {self.url}`")
        raise RefusedError(status, detail)

    def _detail(self, response: requests.Response) -> str:
        """What the server says is wrong."""
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        told = None
        if kind == "application/problem+json":
            found = self._json(response)
            told = found.get("detail") if isinstance(found, dict) else None
        if isinstance(told, str):
            return told
        if response.status_code in _PASSING:
            return "what stands before the server has no answer from it"
        raise StrangeAnswerError(
            f"{self.url} answers with {response.status_code} and speaks no Lading API: check the "
            "address; it is the one that pages are opened under"
        )

    def _json(self, response: requests.Response) -> Any:  # noqa: ANN401 - JSON
        with self._told():
            body = response.content
        try:
            return _decoded(body)
        except ValueError as error:
            raise StrangeAnswerError(
                f"{self.url} speaks no Lading API: check the address; it is the one that pages "
                "are opened under"
            ) from error

    def _strange(self, what: str) -> ClientError:
        """An answer that a Lading of our version would not give."""
        with contextlib.suppress(ClientError, AttributeError):
            version = str(self.ask("GET", "/me").get("version"))[:40]
            return StrangeAnswerError(
                f"the answer of {self.url} {what}: the server is Lading {version}, this command "
                f"{VERSION}; bring the older one up to date"
            )
        return StrangeAnswerError(
            f"the answer of {self.url} {what}: server and command (Lading {VERSION}) are of "
            "different versions; bring the older one up to date"
        )


def _decoded(body: bytes) -> Any:  # noqa: ANN401 - JSON
    import json

    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _innermost(error: BaseException) -> str:
    """`Connection refused`, out of what three libraries have wrapped around it."""
    while True:
        told = (getattr(error, "reason", None), *error.args)
        inner = next((each for each in told if isinstance(each, BaseException)), None)
        if inner is None:
            return getattr(error, "strerror", None) or str(error)[:_TOLD] or type(error).__name__
        error = inner


class _SystemTrust(HTTPAdapter):
    """Trusts what the system trusts, which may hold a company's own authority."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' own
        super().init_poolmanager(*args, ssl_context=ssl.create_default_context(), **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - requests' own
        context = ssl.create_default_context()
        return super().proxy_manager_for(*args, ssl_context=context, **kwargs)
