"""What several handlers share: answers as JSON, pages of them, and what a path names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel
from starlette.responses import Response

from server.api.problems import ApiError
from server.api.routing import Api, Asked
from server.store import runs as run_verbs
from server.store.rows import RunRow, StepRow

T = TypeVar("T")


def page(api: Api, asked: Asked, rows: Sequence[T], limit: int) -> tuple[Sequence[T], str | None]:
    """The rows to show of one more than asked for, and where the rest is."""
    if len(rows) <= limit:
        return rows, None
    shown = rows[:limit]
    query = dict(asked.request.query_params)
    query["before"] = str(getattr(shown[-1], "id"))  # noqa: B009 - rows share no base with an id
    path = asked.request.url.path.rpartition("/")[2]
    return shown, f"{api.links.api}/{path}?{urlencode(query)}"


def json_answer(
    answer: BaseModel,
    *,
    status: int = 200,
    link: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """An answer that nobody keeps; `link` is where the next page is."""
    more = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})}
    if link is not None:
        more["Link"] = f'<{link}>; rel="next"'
    return Response(answer.model_dump_json(), status, more, "application/json")


async def run_asked(api: Api, asked: Asked) -> RunRow:
    """The run that the path names.

    Raises:
        ApiError: 404.
    """
    number = asked.row_id("run", "run")
    row = await api.database.read(run_verbs.run, number)
    if row is None:
        raise ApiError(404, f"there is no run {number}")
    return row


async def step_asked(api: Api, run: RunRow, attempt: int, key: str) -> StepRow:
    """A step of an attempt.

    Raises:
        ApiError: 404, with the steps there are.
    """
    step = await api.database.read(run_verbs.step, run.id, attempt, key)
    if step is not None:
        return step
    rows = await api.database.read(run_verbs.steps_of, run.id, attempt)
    known = ", ".join(row.key for row in rows) or "none"
    raise ApiError(
        404, f"attempt {attempt} of run {run.id} has no step {key[:150]!r}: it has {known}"
    )
