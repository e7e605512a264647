"""What both doubles share: being served, recording, failing on order, the published description."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from openapi_core import OpenAPI
from openapi_core.contrib.starlette import StarletteOpenAPIRequest, StarletteOpenAPIResponse
from openapi_core.exceptions import OpenAPIError
from openapi_core.templating.paths.exceptions import PathError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

DESCRIPTIONS = Path(__file__).parent / "descriptions"
START_TIMEOUT = 10.0  # seconds
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A webhook call as the host would send it."""

    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class Hook:
    """A webhook that somebody has added."""

    id: int
    owner: str
    """The repository's or project's full name."""
    url: str


@dataclass(frozen=True, kw_only=True)
class Sending:
    """One try to send a delivery to a webhook, as the host's own list tells it."""

    id: int
    hook: Hook
    delivery: Delivery
    at: float
    answered: int | None
    """The status code; None: no answer."""
    again: bool
    """Whether somebody asked for it."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A request that the double got, whatever it answered."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    answered: int | None
    """The status code; None: it hung."""

    @property
    def json(self) -> Any:  # noqa: ANN401  (any JSON value)
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An answer given instead of the right one; status None: never an answer."""

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    about: str = ""
    """A part of the path of the requests that it is for."""


class Refusal(Exception):  # noqa: N818  (an answer, not a fault)
    """The host's no."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


class Double:
    """A stateful server that validates requests against a published description.

    Subclasses authorise and answer; they raise `Refusal` to say no. Its state is changed by the
    server's thread and read by the test's: every change is one step under Python's lock.
    """

    description: str
    """Name of the file in `descriptions/`."""

    def __init__(self) -> None:
        self.openapi = published(self.description)
        self.requests: list[Recorded] = []
        self.hooks: list[Hook] = []
        self.sendings: list[Sending] = []
        """Oldest first."""
        self.may_list_hooks = True
        self.url = ""
        """Its own address, as the last request named it."""
        self._numbers = itertools.count(7_000_001)
        self._failures: deque[Failure] = deque()
        self.app: ASGIApp = Starlette(routes=[Route("/{path:path}", self._handle, methods=METHODS)])

    def add_hook(self, owner: str, url: str) -> Hook:
        """Add a webhook to a repository or project."""
        hook = Hook(id=next(self._numbers), owner=owner, url=url)
        self.hooks.append(hook)
        return hook

    def send(self, hook: Hook, delivery: Delivery, *, again: bool = False) -> Sending:
        """Send a delivery, and put it into the webhook's list."""
        try:
            answer = httpx2.post(
                hook.url, content=delivery.body, headers=delivery.headers, timeout=10
            )
            answered: int | None = answer.status_code
        except httpx2.HTTPError:
            answered = None
        return self._listed(hook, delivery, answered, again=again)

    def lose(self, hook: Hook, delivery: Delivery, *, answered: int | None = None) -> Sending:
        """Put a delivery into the webhook's list that never reached us."""
        return self._listed(hook, delivery, answered, again=False)

    def _listed(
        self, hook: Hook, delivery: Delivery, answered: int | None, *, again: bool
    ) -> Sending:
        sending = Sending(
            id=next(self._numbers),
            hook=hook,
            delivery=delivery,
            at=time.time(),
            answered=answered,
            again=again,
        )
        self.sendings.append(sending)
        return sending

    def send_again(self, sending: Sending) -> None:
        """What was asked for: the same delivery once more, a moment later."""
        threading.Thread(
            target=self.send, args=(sending.hook, sending.delivery), kwargs={"again": True}
        ).start()

    def sendings_of(self, hook: Hook) -> list[Sending]:
        """The webhook's list, newest first."""
        return [one for one in list(self.sendings) if one.hook is hook][::-1]

    def fail_next(
        self,
        times: int = 1,
        status: int = 500,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        *,
        about: str = "",
    ) -> None:
        """Answer the next requests so, whatever they ask; or those with a path like `about`."""
        failure = Failure(status=status, headers=dict(headers or {}), body=body, about=about)
        self._failures.extend([failure] * times)

    def forgive(self) -> None:
        """Answer rightly again."""
        self._failures.clear()

    def hang_next(self, times: int = 1) -> None:
        """Take the next requests and never answer."""
        self._failures.extend([Failure(status=None)] * times)

    def authorise(self, request: Request) -> None:
        """Raises a refusal where the credential is not good."""
        raise NotImplementedError

    def refused(self, error: OpenAPIError) -> Refusal:
        """How this host says that a request is not as described."""
        raise NotImplementedError

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Response:  # noqa: ANN401
        """The right answer; raises a refusal for the host's own rules."""
        raise NotImplementedError

    def extra_headers(self) -> dict[str, str]:
        """Headers on every answer."""
        return {}

    async def _handle(self, request: Request) -> Response:
        body = await request.body()
        self.url = str(request.base_url).rstrip("/")
        failure = next((one for one in self._failures if one.about in raw_path(request)), None)
        if failure is not None:
            self._failures.remove(failure)
            self._record(request, body, failure.status)
            if failure.status is None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
            return _failed(failure)
        try:
            response = self._right(request, body)
        except Refusal as refusal:
            response = JSONResponse(refusal.body, refusal.status)
        response.headers.update(self.extra_headers())
        self._record(request, body, response.status_code)
        return response

    def _right(self, request: Request, body: bytes) -> Response:
        self.authorise(request)
        described = DescribedRequest(request, body)
        try:
            self.openapi.validate_request(described)
        except PathError as error:
            raise Refusal(404, {"message": "Not Found"}) from error
        except OpenAPIError as error:
            raise self.refused(error) from error
        query = dict(request.query_params)
        response = self.answer(
            request.method, described.path, query, json.loads(body) if body else None
        )
        try:
            self.openapi.validate_response(described, StarletteOpenAPIResponse(response))
        except OpenAPIError as error:  # the double's own fault: no test may rest on it
            cause = f"{error}: {error.__cause__}"
            return JSONResponse({"message": f"the double is wrong: {cause}"}, 599)
        return response

    def _record(self, request: Request, body: bytes, answered: int | None) -> None:
        self.requests.append(
            Recorded(
                method=request.method,
                path=raw_path(request),
                query=dict(request.query_params),
                headers=dict(request.headers),
                body=body,
                answered=answered,
            )
        )


class DescribedRequest(StarletteOpenAPIRequest):
    """A request whose path is as sent: `acme%2Fweb` is one segment."""

    @property
    def path(self) -> str:
        return raw_path(self.request)


def raw_path(request: Request) -> str:
    """The path as sent, without the query."""
    found: bytes = request.scope["raw_path"]
    return found.decode("ascii")


def _failed(failure: Failure) -> Response:
    status = failure.status or 500
    if failure.body is None:
        return JSONResponse({"message": "on order"}, status, headers=failure.headers)
    if isinstance(failure.body, bytes):
        return Response(failure.body, status, headers=failure.headers)
    return JSONResponse(failure.body, status, headers=failure.headers)


@functools.cache
def published(name: str) -> OpenAPI:
    """A description, read and checked once."""
    return OpenAPI.from_dict(json.loads((DESCRIPTIONS / name).read_text()))


@contextlib.contextmanager
def serve(app: ASGIApp) -> Iterator[str]:
    """Serve an application on a free port of loopback, in a thread; gives its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=1,
        ws="none",
        date_header=False,  # the time is the test's, who may set it with an answer's headers
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "the double started", START_TIMEOUT)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT)
        listening.close()


def wait_until(condition: Callable[[], bool], what: str, timeout: float) -> None:
    """Poll until the condition holds.

    Raises:
        TimeoutError: It did not, within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            message = f"not within {timeout:g} s: {what}"
            raise TimeoutError(message)
        time.sleep(0.01)
