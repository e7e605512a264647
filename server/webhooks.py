"""The door: a delivery's bytes are verified, checked and on disk before the answer is given."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pipelines.crashing import reach
from server.clock import Clock
from server.hosts.port import (
    Host,
    PayloadInvalidError,
    RepositoryRef,
    SignatureInvalidError,
    Verified,
)
from server.store import Database, DatabaseBusyError
from server.store import deliveries as delivery_verbs
from server.store import runs as run_verbs
from server.store.rows import DeliveryRow, DeliveryState, Found, NewDelivery

log = structlog.get_logger(__name__)

MAX_BODY = 25 * 1024 * 1024
"""Bytes; GitHub and GitLab send nothing larger."""
BODY_SECONDS = 30.0
ON_LOOP = 256 * 1024  # bytes; a larger body is checked in a thread
NEVER_STORED = frozenset({"authorization", "cookie", "x-gitlab-token", "proxy-authorization"})


class RefusedError(Exception):
    """A delivery that is not taken, with the answer its sender gets."""

    def __init__(self, status: HTTPStatus, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


class Pressure:
    """How fast deliveries come in, so that what can wait gives way to them.

    Their rate alone does not tell: on a machine that is busy otherwise they come no faster than
    they are answered. So the crowd that waits for the disk counts as well; only authentic
    deliveries get that far.
    """

    WINDOW = 0.1  # seconds
    BUSY = 50  # deliveries in one window: 500 a second
    CROWD = 8  # deliveries that wait for the disk at the same time

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._window = 0.0
        self._count = 0
        self._previous = 0
        self._storing = 0
        self._crowd = 0
        self._previous_crowd = 0

    def arrived(self) -> None:
        """One more has come."""
        self._turn()
        self._count += 1

    @contextlib.contextmanager
    def storing(self) -> Iterator[None]:
        """While one is being stored."""
        self._turn()
        self._storing += 1
        self._crowd = max(self._crowd, self._storing)
        try:
            yield
        finally:
            self._storing -= 1

    def high(self) -> bool:
        """Whether more than 500 a second come now, or many wait to be stored."""
        self._turn()
        return (
            max(self._count, self._previous) >= self.BUSY
            or max(self._crowd, self._previous_crowd) >= self.CROWD
        )

    def _turn(self) -> None:
        now = self._monotonic()
        windows = (now - self._window) / self.WINDOW
        if windows >= 1:
            just_over = windows < 2  # noqa: PLR2004 - one window ago
            self._previous = self._count if just_over else 0
            self._previous_crowd = self._crowd if just_over else 0
            self._count, self._crowd = 0, self._storing
            self._window = now


class Webhooks:
    """The routes below `/webhooks`.

    Args:
        new_id: Gives each delivery its id, in the order they come.
        wake: Called when a delivery waits for intake.
        count: Called with (host, status code) for each answer.
        url: Lading's own address, without a slash at the end.
    """

    def __init__(
        self,
        *,
        hosts: Mapping[str, Host],
        database: Database,
        clock: Clock,
        pressure: Pressure,
        new_id: Callable[[], str],
        wake: Callable[[], None],
        count: Callable[[str, int], None],
        url: str,
    ) -> None:
        self._hosts = hosts
        self._database = database
        self._clock = clock
        self._pressure = pressure
        self._new_id = new_id
        self._wake = wake
        self._count = count
        self._url = url

    def routes(self) -> list[Route]:
        """The two routes: a delivery in, and what became of it for whoever can sign."""
        return [
            Route("/webhooks/{host}", self.receive, methods=["POST"]),
            Route("/webhooks/{host}/{delivery}", self.outcome, methods=["GET"]),
        ]

    async def receive(self, request: Request) -> Response:
        """Take one delivery: 202 when it is on disk."""
        name = request.path_params["host"]
        try:
            host = self._host(name)
            answer = _json(HTTPStatus.ACCEPTED, await self._take(host, request))
        except RefusedError as refused:
            answer = _refusal(refused)
            log.info("delivery refused", host=name, status=int(refused.status), why=refused.detail)
        except ClientDisconnect:
            answer = _refusal(RefusedError(HTTPStatus.BAD_REQUEST, "the connection broke off"))
        self._count(name if name in self._hosts else "unknown", answer.status_code)
        return answer

    async def _take(self, host: Host, request: Request) -> dict[str, Any]:
        headers = _headers(request)
        body = await _body(request)
        self._pressure.arrived()
        if len(body) <= ON_LOOP:
            verified, repository = self._check(host, headers, body)
        else:
            verified, repository = await asyncio.to_thread(self._check, host, headers, body)
        new = NewDelivery.model_construct(
            id=self._new_id(),
            host=host.name,
            delivery_id=_delivery_id(verified, body),
            event_type=verified.event_type[:100],
            headers={name: value for name, value in headers.items() if name not in NEVER_STORED},
            body=body,
            received_at=self._clock(),
            repository=repository.external_id if repository else None,
        )
        reach("webhooks.taken")
        try:
            with self._pressure.storing():
                stored = await self._database.write_batched(delivery_verbs.add_deliveries, new)
        except DatabaseBusyError as error:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{error}; send it again", retry_after=10
            ) from error
        reach("webhooks.stored")
        self._wake()
        return {
            "delivery": stored,
            "duplicate": stored != new.id,
            "url": f"{self._url}/deliveries/{stored}",
        }

    def _check(
        self, host: Host, headers: Mapping[str, str], body: bytes
    ) -> tuple[Verified, RepositoryRef | None]:
        try:
            verified = host.verify(headers, body, self._clock())
        except SignatureInvalidError as error:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, error.reason) from error
        try:
            repository = host.repository(host.payload(headers, body))
        except PayloadInvalidError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
        if verified.repository is not None and (
            repository is None or repository.full_name.lower() != verified.repository.lower()
        ):
            detail = (
                f"this secret belongs to {verified.repository}, and the delivery speaks of "
                f"{'no repository' if repository is None else 'another repository'}"
            )
            raise RefusedError(HTTPStatus.FORBIDDEN, detail)
        return verified, repository

    async def outcome(self, request: Request) -> Response:
        """What became of a delivery, for a sender who signs the question (plain git's hook)."""
        try:
            host = self._host(request.path_params["host"])
            headers = _headers(request)
            try:
                verified = host.verify(headers, b"", self._clock())
            except SignatureInvalidError as error:
                raise RefusedError(HTTPStatus.UNAUTHORIZED, error.reason) from error
            asked = request.path_params["delivery"]
            found = await self._database.read(delivery_verbs.delivery, asked)
            if found is None or found.host != host.name or not _may_ask(host, verified, found):
                raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such delivery")
            return _json(HTTPStatus.OK, await self._told(found))
        except RefusedError as refused:
            return _refusal(refused)

    async def _told(self, delivery: DeliveryRow) -> dict[str, Any]:
        decisions = await self._database.read(delivery_verbs.decisions_of, [delivery.id])
        decision = decisions.get(delivery.id)
        runs = []
        if decision is not None:
            origin = decision.duplicate_of or decision.id
            runs = await self._database.read(run_verbs.runs_of_decision, origin)
        return {
            "delivery": delivery.id,
            "state": "decided" if decision is not None else str(delivery.state),
            "reason": decision.reason if decision is not None else (delivery.error or ""),
            "final": delivery.state is not DeliveryState.WAITING,
            "runs": [
                {"run": run.id, "pipeline": run.pipeline, "url": f"{self._url}/runs/{run.id}"}
                for run in runs
            ],
            "url": f"{self._url}/deliveries/{delivery.id}",
        }

    def _host(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, "no host of that name is configured: see [hosts] in the file"
            )
        return host


def _may_ask(host: Host, verified: Verified, delivery: DeliveryRow) -> bool:
    """Whoever signs with a repository's secret learns of that repository alone."""
    if delivery.found is Found.HEADS:
        return False  # nobody sent it
    if verified.repository is None:
        return True
    repository = host.repository(host.payload(delivery.headers, delivery.body))
    return repository is not None and repository.full_name == verified.repository


def _headers(request: Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers.raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _body(request: Request) -> bytes:
    """The raw body, refused as soon as it is known to be too large."""
    too_large = RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a delivery has at most {MAX_BODY} bytes"
    )
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > MAX_BODY:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError as error:
        raise RefusedError(
            HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {BODY_SECONDS:.0f} s"
        ) from error
    return b"".join(chunks)


def _delivery_id(verified: Verified, body: bytes) -> str:
    """The host's id; where it gives none, or an absurd one, the body names itself."""
    given = verified.delivery_id
    if given and len(given) <= 200:  # noqa: PLR2004 - the column's width, with room
        return given
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _json(status: HTTPStatus, content: dict[str, Any], *, kind: str = "json") -> Response:
    return Response(json.dumps(content), status_code=status, media_type=f"application/{kind}")


def _refusal(refused: RefusedError) -> Response:
    """Problem details (RFC 9457)."""
    response = _json(
        refused.status,
        {"title": refused.status.phrase, "status": int(refused.status), "detail": refused.detail},
        kind="problem+json",
    )
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(refused.retry_after)
    return response
