"""Schedules: which pipelines start at which times. The files on default branches set them."""

from __future__ import annotations

from pydantic import AwareDatetime, Field
from starlette.responses import Response

from pipelines.definition.fields import Missed
from server.api import views
from server.api.answers import json_answer
from server.api.models import Answer, Name, Page, Query, RepositoryName, RunBrief
from server.api.routing import Api, Asked, Endpoint
from server.store import timetable as timetable_verbs
from server.store.rows import RunRow, ScheduleRow


class Schedule(Answer):
    """A time at which a pipeline starts; to start it now, `POST /runs` with its `ref`."""

    repository: RepositoryName
    ref: str | None = Field(description="The default branch, whose head is run.")
    pipeline: str
    file: str = Field(description="The pipeline file that names it.")
    cron: str
    timezone: str
    missed: Missed = Field(description="What becomes of a time at which the server did not run.")
    next_at: AwareDatetime
    last_run: RunBrief | None = Field(description="The newest run that it started.")


class SchedulesQuery(Query):
    """Which schedules."""

    repository: Name | None = Field(None, description="Only those of this repository.")


async def list_schedules(api: Api, asked: Asked) -> Response:
    """Every schedule, the next one first."""
    wanted = asked.query_as(SchedulesQuery).repository
    rows = await api.database.read(timetable_verbs.all_schedules)
    shown = [row for row in rows if wanted in (None, row.full_name)]
    last = await api.database.read(timetable_verbs.last_runs, shown)
    items = [schedule(api.links, row, last.get(row.id)) for row in shown]
    return json_answer(Page[Schedule](items=items, next=None))


def schedule(links: views.Links, row: ScheduleRow, last: RunRow | None) -> Schedule:
    """A stored schedule, with the newest run that it started."""
    return Schedule(
        repository=RepositoryName(host=row.host, name=row.full_name),
        ref=row.default_branch,
        pipeline=row.pipeline,
        file=row.file,
        cron=row.cron,
        timezone=row.timezone,
        missed=row.missed,
        next_at=row.next_at,
        last_run=None if last is None else views.run_brief(links, last),
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/schedules",
        name="listSchedules",
        summary="Pipelines that start at a time, the next one first",
        handler=list_schedules,
        query=SchedulesQuery,
        answer=Page[Schedule],
    ),
)
