"""An answer's model as a response."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.responses import Response


def as_json(
    answer: BaseModel,
    *,
    status: int = 200,
    link: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """The model as JSON, which nobody keeps; `link` leads to the next page."""
    more = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})}
    if link is not None:
        more["Link"] = f'<{link}>; rel="next"'
    return Response(answer.model_dump_json(), status, more, "application/json")
