"""Which pipelines start at which times, and a button that starts one now."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from server.actions import ConflictError, NotFoundError
from server.store import timetable as timetable_verbs
from server.ui.site import HEADERS, Site, Visit


class SchedulePages:
    """The page of schedules."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """Their routes."""
        return [
            self._site.resource("/schedules", get=self._list),
            self._site.resource("/schedules/{schedule}/start", post=self._start),
        ]

    async def _list(self, visit: Visit) -> Response:
        read = self._site.database.read
        rows = await read(timetable_verbs.all_schedules)
        return self._site.page(
            "schedules.html",
            grant=visit.grant,
            schedules=rows,
            last=await read(timetable_verbs.last_runs, rows),
        )

    async def _start(self, visit: Visit) -> Response:
        """Start what a schedule would start, as a run by hand."""
        number = visit.number("schedule", "schedule")
        row = await self._site.database.read(timetable_verbs.schedule, number)
        if row is None:
            raise NotFoundError(f"there is no schedule {number}: a push may have changed it")
        if row.default_branch is None:
            raise ConflictError(
                f"the default branch of {row.full_name} is not known yet: it comes with the next "
                "delivery"
            )
        decided = await self._site.actions.start(
            repository=row.full_name,
            host=row.host,
            ref=row.default_branch,
            pipeline=row.pipeline,
            by=visit.grant.name or "somebody",
        )
        run = next((one.run for one in decided.pipelines if one.run is not None), None)
        if run is None:
            raise ConflictError(f"nothing was started: {decided.reason}")
        return RedirectResponse(f"/runs/{run}", 303, HEADERS)
