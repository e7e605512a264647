"""One request to a registry, bounded in time and size, on requests. Blocking.

requests is there already, below the engine's SDK, and goes by the proxies of the environment. What
else it does by itself is switched off: no redirect is followed (a login would go along; who asks
for a blob's bytes follows them without it), no login
is read from `~/.netrc`, and the certificates that count are the system's, as they do for the
engine.
"""

from __future__ import annotations

import contextlib
import functools
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from pipelines.registries.guard import Guard

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
"""Seconds between two bytes."""
UPLOAD_TIMEOUT = 300.0
"""Seconds between an upload's last byte and the answer: a registry may have to move it first."""
WHOLE_TIMEOUT = 60.0
"""Seconds for a whole answer."""
MAX_ANSWER = 4 * 2**20
"""Bytes; the specification wants registries to take manifests of that size."""
_PIECE = 64 * 1024


class SilenceError(Exception):
    """No answer came, or none that ends; the message says why."""


class Answer:
    """What a registry answered."""

    def __init__(self, url: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.url = url
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def reason(self) -> str:
        """Its status, and the first error it tells (`unauthorized: …`), in one line."""
        told = ""
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            error = self.json()["errors"][0]
            told = f": {error['code']}: {error.get('message', '')}"
        if 300 <= self.status < 400:  # noqa: PLR2004 - every redirect
            told = f": sends us to {self.headers.get('Location', 'nowhere')!r}, where we do not go"
        return f"HTTP {self.status}{told}"

    def json(self) -> Any:  # noqa: ANN401 - whatever a stranger wrote
        """The body as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body)


class Readable(Protocol):
    """Where bytes come from."""

    def read(self, size: int = ..., /) -> bytes:
        """The next bytes, so many at most."""


class Upload:
    """Bytes on their way up, of a length that is known, read as they are sent.

    Args:
        file: Where they come from.
        size: How many there are.
        check: Is called for each piece, and raises where nobody wants it any more.
    """

    def __init__(self, file: Readable, size: int, check: Callable[[], None]) -> None:
        self._file = file
        self._size = size
        self._check = check

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(_PIECE):
            yield data

    def read(self, size: int = -1) -> bytes:
        """The next bytes, more at once than is asked for: each piece is a call into the system."""
        self._check()
        return self._file.read(max(size, _PIECE))


class Transport:
    """Connections to one registry and to where it sends us for tokens.

    Args:
        insecure: Whether certificates need not hold.
        guard: Which addresses may be connected to; None: any.
    """

    def __init__(self, *, insecure: bool, guard: Guard | None = None) -> None:
        self._session = requests.Session()
        self._session.verify = not insecure
        # Looked up once for each place: requests would read the whole environment each time.
        self._session.trust_env = False
        self._proxies: dict[str, dict[str, str]] = {}
        self._session.mount("https://", _SystemTrust(insecure=insecure, guard=guard))
        if guard is not None:
            self._session.mount("http://", _Guarded(guard))

    def close(self) -> None:
        """Drop the connections."""
        self._session.close()

    def get(
        self, url: str, headers: Mapping[str, str], parameters: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to a GET, whatever its status.

        Raises:
            SilenceError: There is none.
        """
        return self.send("GET", url, headers, parameters=parameters)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | Upload | None = None,
        parameters: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    ) -> Answer:
        """The answer to a request, whatever its status.

        Raises:
            SilenceError: There is none.
        """
        with self.opened(method, url, headers, body=body, parameters=parameters) as response:
            until = time.monotonic() + WHOLE_TIMEOUT
            return Answer(url, response.status_code, response.headers, _body(response, until))

    @contextlib.contextmanager
    def opened(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | Upload | None = None,
        parameters: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    ) -> Iterator[requests.Response]:
        """An answer of which nothing but the head has been read.

        Raises:
            SilenceError: There is none, or it ends while the block reads it.
        """
        silence = UPLOAD_TIMEOUT if isinstance(body, Upload) else READ_TIMEOUT
        try:
            with self._session.request(
                method,
                url,
                headers=headers,
                params=parameters,
                data=body,
                timeout=(CONNECT_TIMEOUT, silence),
                allow_redirects=False,
                proxies=self._proxies_to(url),
                stream=True,
                auth=_as_it_is,
            ) as response:
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise SilenceError(_innermost(error)) from error

    def _proxies_to(self, url: str) -> dict[str, str]:
        place = urlsplit(url).netloc
        if place not in self._proxies:
            self._proxies[place] = requests.utils.get_environ_proxies(url)
        return self._proxies[place]


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authorization that adds nothing: with none at all, requests would look into `~/.netrc`."""
    return request


def _body(response: requests.Response, until: float) -> bytes:
    data = bytearray()
    for piece in response.iter_content(_PIECE):
        data += piece
        if len(data) > MAX_ANSWER:
            raise SilenceError(f"its answer is larger than {MAX_ANSWER // 2**20} MiB")
        if time.monotonic() > until:
            raise SilenceError(f"its answer did not end within {WHOLE_TIMEOUT:.0f} s")
    return bytes(data)


def _innermost(error: BaseException) -> str:
    """`Connection refused`, out of what three libraries have wrapped around it."""
    while True:
        told = (getattr(error, "reason", None), *error.args)
        inner = next((each for each in told if isinstance(each, BaseException)), None)
        if inner is None:
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
        error = inner


@functools.cache
def _trust(*, insecure: bool) -> ssl.SSLContext:
    """Read once: a system's hundred authorities take 20 ms, which every push would pay."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _SystemTrust(HTTPAdapter):
    """Trusts what the system trusts, which may hold a company's own authority."""

    def __init__(self, *, insecure: bool, guard: Guard | None = None) -> None:
        self._guard = guard
        self._context = _trust(insecure=insecure)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' own
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        if self._guard is not None:
            self._guard.watch(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - requests' own
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)


class _Guarded(HTTPAdapter):
    """Without TLS, and only to addresses that the guard lets pass."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' own
        super().init_poolmanager(*args, **kwargs)
        self._guard.watch(self.poolmanager)
