"""Answers as JSON, and pages of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel
from starlette.responses import Response

from server.api.routing import Api, Asked

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
    """An answer that nobody keeps."""
    more = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})}
    if link is not None:
        more["Link"] = f'<{link}>; rel="next"'
    return Response(answer.model_dump_json(), status, more, "application/json")
