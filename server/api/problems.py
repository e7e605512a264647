"""Errors as problem details: https://www.rfc-editor.org/rfc/rfc9457."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import ValidationError
from starlette.responses import Response

from pipelines.problems import LadingError
from server.api.models import ProblemDetails

MEDIA_TYPE = "application/problem+json"


class ApiError(LadingError):
    """A request that cannot be answered as hoped; becomes a problem document."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        parameter: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.headers = headers or {}

    def response(self) -> Response:
        """The problem as an answer."""
        details = ProblemDetails(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            parameter=self.parameter,
        )
        return Response(
            details.model_dump_json(exclude_none=True),
            self.status,
            {"Cache-Control": "no-store", **self.headers},
            MEDIA_TYPE,
        )


def invalid(status: int, error: ValidationError, *, where: str) -> ApiError:
    """The first fault of a parameter or body, told by its name.

    Args:
        status: 400 for parameters, 422 for a body.
        error: What the model said.
        where: "parameter" or "field".
    """
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        detail = f"{where} `{name[:100]}` is not known here: leave it out, or see openapi.json"
    elif fault["type"] == "missing":
        detail = f"{where} `{name}` is missing: see openapi.json for what belongs there"
    else:
        message = fault["msg"][0].lower() + fault["msg"][1:]
        what = f"{where} `{name}`" if name else "the body"
        detail = f"{what} cannot be used: {message}"
    return ApiError(status, detail, parameter=name[:100] or None)
