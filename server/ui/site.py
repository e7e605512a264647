"""What every page shares: who may see it, its frame, its headers, and how faults are shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from pipelines.problems import LadingError
from pipelines.progress import State
from server.actions import Actions, AwayError, ConflictError, InputsError, NotFoundError
from server.artifacts import ArtifactStore
from server.auth import Gate, Grant, Need, NotPermittedError
from server.clock import Clock
from server.dockerfiles import Dockerfiles
from server.logs import LogStore
from server.operations import Operations
from server.releases import Releases
from server.secrets import NoOwnerError, NoSuchSecretError, SecretRefusedError
from server.store import Database, DatabaseBusyError
from server.store import pauses as pause_verbs
from server.store.rows import PauseRow
from server.ui import times
from server.ui.assets import Assets
from server.ui.origin import ForeignOriginError, FormError, check_origin
from server.ui.text import clean, coded, web_address
from server.vault import VaultError

TEMPLATES = Path(__file__).parent / "templates"
COOKIE = "lading_token"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATUSES: tuple[tuple[type[LadingError], int], ...] = (
    (NotFoundError, 404),
    (ConflictError, 409),
    (InputsError, 422),
    (NoSuchSecretError, 404),
    (NoOwnerError, 422),
    (SecretRefusedError, 422),
    (VaultError, 503),
    (NotPermittedError, 401),
    (ForeignOriginError, 403),
    (FormError, 400),
    (AwayError, 503),
    (DatabaseBusyError, 503),
)


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request for a page, by somebody who may see it."""

    request: Request
    grant: Grant

    def path(self, name: str) -> str:
        """A text from the path."""
        return str(self.request.path_params[name])

    def number(self, name: str, what: str) -> int:
        """A number from the path; whatever cannot be one names nothing.

        Raises:
            NotFoundError: It is no number a row can have.
        """
        number = positive(self.path(name))
        if number is None:
            raise NotFoundError(f"there is no {what} {self.path(name)[:40]!r}")
        return number


def positive(text: str) -> int | None:
    """A number that a row can have; None for any other text."""
    if text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0:  # noqa: PLR2004
        return int(text)
    return None


Handler = Callable[[Visit], Awaitable[Response]]


class Site:
    """Renders pages and guards them."""

    def __init__(
        self,
        *,
        database: Database,
        logs: LogStore,
        artifacts: ArtifactStore,
        actions: Actions,
        clock: Clock,
        base_url: str,
        public: bool,
        stopping: asyncio.Event,
        operations: Operations,
        releases: Releases,
        dockerfiles: Dockerfiles,
    ) -> None:
        self.dockerfiles = dockerfiles
        self.database = database
        self.logs = logs
        self.artifacts = artifacts
        self.actions = actions
        self.clock = clock
        self.base_url = base_url
        self.public = public
        self.stopping = stopping
        self.operations = operations
        self.releases = releases
        self.gate = Gate(database=database, clock=clock)
        self.assets = Assets()
        self._templates = _environment(self.assets, clock)

    def resource(
        self, path: str, *, get: Handler | None = None, post: Handler | None = None
    ) -> Route:
        """A path that needs permission: to read for GET, to change for POST."""
        handlers = {"GET": get, "POST": post}
        known = {method: handler for method, handler in handlers.items() if handler is not None}
        return Route(path, endpoint=_Resource(self, known))

    async def grant(self, request: Request, need: Need) -> Grant:
        """Who asks, if they may.

        Raises:
            NotPermittedError: They may not.
        """
        token = request.cookies.get(COOKIE)
        try:
            return await self.gate.permit(token, need, public=self.public)
        except NotPermittedError:
            if token is None or not self.public:
                raise
            # An old cookie must not lock somebody out of what is open to all.
            return await self.gate.permit(None, need, public=True)

    async def pauses(self, grant: Grant) -> Sequence[PauseRow]:
        """Hosts that are left alone; what they say of their repositories is not for everybody."""
        if not grant.name:
            return ()
        return await self.database.read(pause_verbs.all_pauses, now=self.clock())

    def page(
        self, template: str, *, grant: Grant | None, status: int = 200, **values: object
    ) -> Response:
        """A rendered page."""
        text = self._templates.get_template(template).render(
            grant=grant,
            now=self.clock(),
            base_url=self.base_url,
            notices=self.operations.notices,
            **values,
        )
        return HTMLResponse(text, status, HEADERS)

    def fault(self, status: int, message: str, *, grant: Grant | None) -> Response:
        """A page that says what went wrong."""
        title = HTTPStatus(status).phrase
        return self.page(
            "fault.html", grant=grant, status=status, code=status, title=title, message=message
        )

    def refused(self, request: Request, error: NotPermittedError) -> Response:
        """Where somebody without permission goes: for a page to the form that asks who they are."""
        if request.method == "POST":
            return self.fault(401, str(error), grant=None)
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(here, safe='')}", 303, HEADERS)


class Rest(Route):
    """Takes what no other route takes.

    It matches only in part, so that a wrong method at another room's address is told as such there.
    """

    def __init__(self, site: Site) -> None:
        super().__init__("/{path:path}", endpoint=_Resource(site, {}))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Never fully."""
        match, child = super().matches(scope)
        return (Match.NONE if match is Match.NONE else Match.PARTIAL), child


class _Resource:
    """Everything that can be done at one path, as an ASGI application."""

    def __init__(self, site: Site, handlers: dict[str, Handler]) -> None:
        self._site = site
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        site = self._site
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._handlers.get(method)
        need = Need.CHANGE if method == "POST" else Need.READ
        grant = None
        try:
            grant = await site.grant(request, need)
            if handler is None:
                return self._nothing(request, grant)
            if need is Need.CHANGE:
                check_origin(request, base_url=site.base_url)
            return await handler(Visit(request=request, grant=grant))
        except NotPermittedError as error:
            return site.refused(request, error)
        except LadingError as error:
            for kind, status in _STATUSES:
                if isinstance(error, kind):
                    return site.fault(status, str(error), grant=grant)
            raise

    def _nothing(self, request: Request, grant: Grant) -> Response:
        if not self._handlers:
            return self._site.fault(404, "there is no page at this address", grant=grant)
        message = f"{request.method} does nothing at this address"
        response = self._site.fault(405, message, grant=grant)
        response.headers["Allow"] = ", ".join(self._handlers)
        return response


def _environment(assets: Assets, clock: Clock) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        # Every text that reaches a page, whoever wrote it.
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    environment.filters.update(
        ago=lambda at: times.ago(at, clock()),
        instant=times.instant,
        web_address=web_address,
        coded=coded,
    )
    environment.globals.update(asset=assets.address, State=State)
    return environment
