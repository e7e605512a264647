"""Deliveries: what came, what was decided, and why nothing ran."""

from __future__ import annotations

import json

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from server.actions import NotFoundError
from server.redact import clean_headers
from server.store import deliveries as delivery_verbs
from server.store.rows import DeliveryRow
from server.ui.site import HEADERS, Site, Visit

PAGE = 40
PRETTY = 256 * 1024  # bytes of a body that is indented before it is shown
SHOWN = 256 * 1024  # characters of a body


class DeliveryPages:
    """Pages about deliveries."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """Their routes."""
        return [
            self._site.resource("/deliveries", get=self._list),
            self._site.resource("/deliveries/{delivery}", get=self._show),
            self._site.resource("/deliveries/{delivery}/redeliver", post=self._redeliver),
        ]

    async def _list(self, visit: Visit) -> Response:
        before = visit.request.query_params.get("before", "")[:24]
        read = self._site.database.read
        rows = await read(delivery_verbs.deliveries_page, before=before or None, limit=PAGE + 1)
        shown = rows[:PAGE]
        return self._site.page(
            "deliveries.html",
            grant=visit.grant,
            deliveries=shown,
            decisions=await read(delivery_verbs.decisions_of, [row.id for row in shown]),
            older=f"/deliveries?before={shown[-1].id}" if len(rows) > PAGE else "",
            newer=bool(before),
            pauses=await self._site.pauses(visit.grant),
            live=any(row.state == "waiting" for row in shown),
        )

    async def _show(self, visit: Visit) -> Response:
        read = self._site.database.read
        id_ = visit.path("delivery")
        row = await read(delivery_verbs.delivery, id_)
        if row is None:
            raise NotFoundError(f"there is no delivery {id_[:40]!r}")
        decision = (await read(delivery_verbs.decisions_of, [row.id])).get(row.id)
        earlier = None
        if decision is not None and decision.duplicate_of is not None:
            earlier = await read(delivery_verbs.decision, decision.duplicate_of)
        return self._site.page(
            "delivery.html",
            grant=visit.grant,
            delivery=row,
            decision=decision,
            earlier=earlier,
            # What a host tells of people and private repositories is not for every visitor.
            headers=clean_headers(row.headers) if visit.grant.name else None,
            body=_body(row) if visit.grant.name else "",
            live=row.state == "waiting",
        )

    async def _redeliver(self, visit: Visit) -> Response:
        by = visit.grant.name or "somebody"
        row = await self._site.actions.redeliver(visit.path("delivery"), by=by)
        return RedirectResponse(f"/deliveries/{row.id}", 303, HEADERS)


def _body(row: DeliveryRow) -> str:
    text = row.body[:SHOWN].decode("utf-8", "replace")
    if len(row.body) > PRETTY:
        return text + "\n…"
    try:
        return json.dumps(json.loads(row.body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
