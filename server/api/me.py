"""Who asks, and what answers."""

from __future__ import annotations

from pydantic import Field
from starlette.responses import Response

from server.api.answers import json_answer
from server.api.models import Answer
from server.api.routing import Api, Asked, Endpoint
from server.version import VERSION


class Me(Answer):
    """The token that was sent, and the server."""

    name: str = Field(description="The token's name, which stands in records.")
    version: str = Field(description="The server's version.")


async def show_me(api: Api, asked: Asked) -> Response:  # noqa: ARG001 - a handler's shape
    """Whose token it is."""
    return json_answer(Me(name=asked.by, version=VERSION))


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/me",
        name="showMe",
        summary="Whose token this is, and which Lading answers",
        handler=show_me,
        answer=Me,
    ),
)
