"""Secrets by name: whose they are, where they may go, who changed them; never what they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from pipelines.definition.fields import SECRET_NAME
from pipelines.events import EventKind
from server.secrets import SecretRefusedError, Secrets, is_hidden
from server.store.rows import Bounds, SecretRow
from server.ui.origin import read_form
from server.ui.site import HEADERS, Site, Visit

_APART = re.compile(r"[\s,]+")


class SecretPages:
    """The page of secrets, with forms that set and remove one."""

    def __init__(self, site: Site, secrets: Secrets) -> None:
        self._site = site
        self._secrets = secrets

    def routes(self) -> list[BaseRoute]:
        """Their routes."""
        resource = self._site.resource
        return [
            resource("/secrets", get=self._list, post=self._set),
            resource("/secrets/{secret}/remove", post=self._remove),
        ]

    async def _list(self, visit: Visit) -> Response:
        # What secrets are called, and whose they are, is not for every visitor.
        if not visit.grant.name:
            return RedirectResponse("/login?next=%2Fsecrets", 303, HEADERS)
        rows = await self._secrets.all()
        short = visit.request.query_params.get("short", "")
        return self._page(visit, rows, short=short if SECRET_NAME.fullmatch(short) else "")

    def _page(
        self,
        visit: Visit,
        rows: list[SecretRow],
        *,
        short: str = "",
        fault: str = "",
        status: int = 200,
        given: Mapping[str, str] | None = None,
    ) -> Response:
        return self._site.page(
            "secrets.html",
            grant=visit.grant,
            status=status,
            secrets=rows,
            events=list(EventKind),
            short=short,
            fault=fault,
            # Never the value: it would stand in the page's text.
            given={name: (given or {}).get(name, "") for name in _FIELDS},
        )

    async def _set(self, visit: Visit) -> Response:
        form = await read_form(visit.request)
        name = form.get("name", "").strip()
        # Browsers send each line end of a text as CRLF (HTML, 4.10.21.4).
        value = form.get("value", "").replace("\r\n", "\n")
        try:
            await self._secrets.put(
                repository=form.get("repository", "").strip() or None,
                host=form.get("host", "").strip() or None,
                name=name,
                value=value,
                bounds=_bounds(form),
                by=visit.grant.name or "somebody",
            )
        except SecretRefusedError as error:
            rows = await self._secrets.all()
            return self._page(visit, rows, fault=str(error), status=422, given=form)
        query = "" if is_hidden(value) else f"?short={name}"
        return RedirectResponse(f"/secrets{query}", 303, HEADERS)

    async def _remove(self, visit: Visit) -> Response:
        form = await read_form(visit.request)
        await self._secrets.remove(
            repository=form.get("repository") or None,
            host=form.get("host") or None,
            name=visit.path("secret"),
            by=visit.grant.name or "somebody",
        )
        return RedirectResponse("/secrets", 303, HEADERS)


_FIELDS = ("name", "repository", "host", "events", "branches", "steps")


def _bounds(form: Mapping[str, str]) -> Bounds:
    """Where a secret may go, from the form's lists.

    Raises:
        SecretRefusedError: An event is none.
    """
    listed = {name: _APART.split(form.get(name, "").strip()) for name in _FIELDS[3:]}
    events, branches, steps = ([one for one in each if one] for each in listed.values())
    unknown = [event for event in events if event not in tuple(EventKind)]
    if unknown:
        raise SecretRefusedError(f"{unknown[0][:100]!r} is no event: one of {', '.join(EventKind)}")
    return Bounds(
        events=tuple(EventKind(event) for event in events),
        branches=tuple(branches),
        steps=tuple(steps),
    )
