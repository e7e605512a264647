"""From a request to an endpoint: token, parameters, body; and every error to a problem."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from pipelines.problems import LadingError
from server.actions import Actions, AwayError, ConflictError, InputsError, NotFoundError
from server.api import models
from server.api.problems import ApiError, invalid
from server.api.views import Links
from server.artifacts import ArtifactStore
from server.auth import Gate, Need, NotPermittedError
from server.clock import Clock
from server.dockerfiles import Dockerfiles
from server.logs import LogStore
from server.operations import Operations
from server.registries import Registries
from server.releases import Releases
from server.secrets import NoOwnerError, NoSuchSecretError, SecretRefusedError, Secrets
from server.store import Database, DatabaseBusyError
from server.vault import VaultError

M = TypeVar("M", bound=BaseModel)

BODY_LIMIT = 64 * 1024  # bytes; the largest body that makes sense has three short fields
_ROW_ID: TypeAdapter[int] = TypeAdapter(models.RowId)


@dataclass(frozen=True, kw_only=True)
class Api:
    """What endpoints work with."""

    database: Database
    logs: LogStore
    artifacts: ArtifactStore
    actions: Actions
    clock: Clock
    links: Links
    stopping: asyncio.Event
    operations: Operations
    secrets: Secrets
    registries: Registries
    releases: Releases
    dockerfiles: Dockerfiles


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, checked."""

    request: Request
    by: str
    """The token's name."""
    query: BaseModel
    body: BaseModel | None

    def query_as(self, kind: type[M]) -> M:
        """The parameters, as the model that the table names."""
        return _as(kind, self.query)

    def body_as(self, kind: type[M]) -> M:
        """The body, as the model that the table names."""
        return _as(kind, self.body)

    def row_id(self, name: str, what: str) -> int:
        """A number from the path; whatever cannot be one names nothing.

        Raises:
            ApiError: 404.
        """
        text = self.request.path_params[name]
        try:
            return _ROW_ID.validate_python(text)
        except ValidationError:
            raise ApiError(404, f"there is no {what} {str(text)[:40]!r}") from None

    def text(self, name: str) -> str:
        """A text from the path."""
        return str(self.request.path_params[name])


Handler = Callable[[Api, Asked], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One line of the table: enough to route a request and to describe it."""

    method: str
    path: str
    name: str
    """`operationId` of the document."""
    summary: str
    handler: Handler
    answer: type[BaseModel] | None
    """None: no JSON, but what `media` says."""
    media: str = "text/plain"
    query: type[BaseModel] = models.NoQuery
    body: type[BaseModel] | None = None
    body_required: bool = True
    """Whether none is a mistake; else it stands for an empty object."""
    status: int = 200
    errors: Sequence[int] = ()
    """Statuses of problems besides 400, 401, 405 and 503."""
    headers: dict[str, str] = field(default_factory=dict)
    """Request headers it heeds, with what they do."""
    body_limit: int = BODY_LIMIT
    """Bytes."""

    @property
    def need(self) -> Need:
        """GET is for reading; whatever else there is, is for changes."""
        return Need.READ if self.method == "GET" else Need.CHANGE


def routes(
    *,
    database: Database,
    logs: LogStore,
    artifacts: ArtifactStore,
    actions: Actions,
    clock: Clock,
    base_url: str,
    stopping: asyncio.Event,
    operations: Operations,
    secrets: Secrets,
    registries: Registries,
    releases: Releases,
    dockerfiles: Dockerfiles,
) -> list[BaseRoute]:
    """The API's routes, for mounting at `/api/v1`.

    `base_url` is the address people reach the server under, without a slash at its end;
    `stopping` is set when the server is about to stop: answers that follow a log end then.
    """
    from server.api.document import document
    from server.api.endpoints import ENDPOINTS

    api = Api(
        database=database,
        logs=logs,
        artifacts=artifacts,
        actions=actions,
        clock=clock,
        links=Links(base_url=base_url),
        stopping=stopping,
        operations=operations,
        secrets=secrets,
        registries=registries,
        releases=releases,
        dockerfiles=dockerfiles,
    )
    gate = Gate(database=database, clock=clock)
    described = document(ENDPOINTS, base_url=base_url)

    async def openapi(_request: Request) -> Response:
        return JSONResponse(described)

    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    listed = [
        Route(path, endpoint=_Resource(api, gate, methods), include_in_schema=True)
        for path, methods in by_path.items()
    ]
    nothing = Route("/{path:path}", endpoint=_Resource(api, gate, {}))
    return [Route("/openapi.json", openapi, methods=["GET"]), *listed, nothing]


class _Resource:
    """Everything that can be done at one path, as an ASGI application."""

    def __init__(self, api: Api, gate: Gate, methods: dict[str, Endpoint]) -> None:
        self._api = api
        self._gate = gate
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ApiError as error:
            response = error.response()
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        """Token first: whoever has none learns nothing about what there is."""
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._methods.get(method)
        need = Need.READ if endpoint is None else endpoint.need
        try:
            grant = await self._gate.permit(_bearer(request), need, public=False)
            if endpoint is None:
                raise self._refusal(request)
            asked = Asked(
                request=request,
                by=grant.name or "somebody",
                query=_query(endpoint, request),
                body=await _body(endpoint, request),
            )
            return await endpoint.handler(self._api, asked)
        except LadingError as error:
            told = _told(error, endpoint)
            if told is None:
                raise
            raise told from error

    def _refusal(self, request: Request) -> ApiError:
        if not self._methods:
            return ApiError(404, "there is nothing at this address: see openapi.json")
        known = sorted({*self._methods, *(["HEAD"] if "GET" in self._methods else [])})
        allow = ", ".join(known)
        detail = f"{request.method} does nothing here: use {allow}"
        return ApiError(405, detail, headers={"Allow": allow})


def _bearer(request: Request) -> str | None:
    """The token of an `Authorization` header (https://www.rfc-editor.org/rfc/rfc6750)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _query(endpoint: Endpoint, request: Request) -> BaseModel:
    given = request.query_params.multi_items()
    names = [name for name, _ in given]
    for name in names:
        if names.count(name) > 1:
            raise ApiError(400, f"parameter `{name[:100]}` stands twice", parameter=name[:100])
    try:
        return endpoint.query.model_validate(dict(given))
    except ValidationError as error:
        raise invalid(400, error, where="parameter") from error


async def _body(endpoint: Endpoint, request: Request) -> BaseModel | None:
    if endpoint.body is None:
        return None
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > endpoint.body_limit:
            raise ApiError(413, f"the body is larger than {endpoint.body_limit // 1024} KiB")
    if not data and not endpoint.body_required:
        data += b"{}"
    elif _media_type(request) != "application/json":
        raise ApiError(415, "send the body as JSON, with `Content-Type: application/json`")
    try:
        parsed = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "the body is not JSON: send an object as in openapi.json") from error
    try:
        return endpoint.body.model_validate(parsed)
    except ValidationError as error:
        raise invalid(422, error, where="field") from error


def _media_type(request: Request) -> str:
    kind = request.headers.get("content-type", "application/json")
    return kind.partition(";")[0].strip().lower()


def _as(kind: type[M], value: BaseModel | None) -> M:
    if not isinstance(value, kind):  # pragma: no cover - a fault in the table
        message = f"the table gives {type(value).__name__} where {kind.__name__} is read"
        raise TypeError(message)
    return value


_STATUSES: tuple[tuple[type[LadingError], int, dict[str, str]], ...] = (
    (NotFoundError, 404, {}),
    (NoSuchSecretError, 404, {}),
    (NoOwnerError, 404, {}),
    (SecretRefusedError, 422, {}),
    (InputsError, 422, {}),
    (VaultError, 503, {}),
    (AwayError, 503, {"Retry-After": "30"}),
    (ConflictError, 409, {}),
)
"""What the errors of the rooms below are to a program; the first that fits."""


def _told(error: LadingError, endpoint: Endpoint | None) -> ApiError | None:
    """An error of the rooms below as the problem that the API answers with."""
    if isinstance(error, NotPermittedError):
        challenge = {"WWW-Authenticate": 'Bearer realm="lading"'}
        detail = f"{error}; send it as `Authorization: Bearer lading_…`"
        return ApiError(401, detail, headers=challenge)
    if isinstance(error, DatabaseBusyError):
        detail = f"{error}; try again in some seconds"
        return ApiError(503, detail, headers={"Retry-After": "5"})
    for kind, status, headers in _STATUSES:
        if isinstance(error, kind):
            parameter = _parameter(error, endpoint)
            return ApiError(status, str(error), parameter=parameter, headers=headers)
    return None


def _parameter(error: LadingError, endpoint: Endpoint | None) -> str | None:
    """Which part of the request an error speaks of."""
    if isinstance(error, NoOwnerError):
        return "repository"
    of_start = isinstance(error, InputsError) and endpoint is not None and endpoint.path == "/runs"
    return "inputs" if of_start else None
