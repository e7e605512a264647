"""What several handlers share: answers as JSON, and what a path names."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.responses import Response

from server.api.problems import ApiError
from server.api.routing import Api, Asked
from server.store import runs as run_verbs
from server.store.rows import RunRow, StepRow


def json_answer(
    answer: BaseModel,
    *,
    status: int = 200,
    link: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """An answer; `link` is where the next page is."""
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
