"""How the whole server is doing, in sentences."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import BaseRoute

from server import telling
from server.ui.site import Site, Visit


class OperationPages:
    """The page for whoever runs the server."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """Its route."""
        return [self._site.resource("/operations", get=self._show)]

    async def _show(self, visit: Visit) -> Response:
        report = await self._site.operations.report()
        return self._site.page(
            "operations.html", grant=visit.grant, told=telling.told(report), live=True
        )
