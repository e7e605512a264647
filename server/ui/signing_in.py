"""Signing in: a token, kept in a cookie that scripts and other sites cannot use."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from pipelines.problems import LadingError
from server.auth import Need, NotPermittedError
from server.ui.origin import FormError, check_origin, read_form
from server.ui.site import COOKIE, HEADERS, Site
from server.ui.text import local_path

COOKIE_SECONDS = 30 * 24 * 3600


class SigningIn:
    """The pages that anybody may open."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """`/login` and `/logout`."""
        return [
            Route("/login", self._form, methods=["GET"]),
            Route("/login", self._sign_in, methods=["POST"]),
            Route("/logout", self._sign_out, methods=["POST"]),
        ]

    async def _form(self, request: Request) -> Response:
        return self._page(local_path(request.query_params.get("next")), fault="")

    async def _sign_in(self, request: Request) -> Response:
        """Trade a token for a cookie.

        The origin is checked here too: else another site could sign a visitor in as somebody.
        """
        try:
            check_origin(request, base_url=self._site.base_url)
            form = await read_form(request)
        except LadingError as error:
            return self._site.fault(
                400 if isinstance(error, FormError) else 403, str(error), grant=None
            )
        target = local_path(form.get("next"))
        token = form.get("token", "").strip()
        try:
            await self._site.gate.permit(token, Need.READ, public=False)
        except NotPermittedError as error:
            return self._page(target, fault=str(error), status=401)
        response = RedirectResponse(target, 303, HEADERS)
        response.set_cookie(
            COOKIE,
            token,
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="lax",
            secure=self._site.base_url.startswith("https://"),
        )
        return response

    async def _sign_out(self, request: Request) -> Response:
        try:
            check_origin(request, base_url=self._site.base_url)
        except LadingError as error:
            return self._site.fault(403, str(error), grant=None)
        response = RedirectResponse("/login", 303, HEADERS)
        response.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return response

    def _page(self, target: str, *, fault: str, status: int = 200) -> Response:
        return self._site.page("login.html", grant=None, status=status, target=target, fault=fault)
