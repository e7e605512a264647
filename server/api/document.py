"""The OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1.html), from the same table.

pydantic makes the schemas; what is left is to put them where OpenAPI wants them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server.api.models import ProblemDetails
from server.api.problems import MEDIA_TYPE
from server.api.routing import Endpoint
from server.version import VERSION

Object = dict[str, Any]

_REF = "#/components/schemas/{model}"
_ALWAYS = (400, 401, 405, 503)
_PATH_PARAMETERS: dict[str, Object] = {
    "run": {"schema": {"type": "integer", "minimum": 1}, "description": "Number of a run."},
    "attempt": {"schema": {"type": "integer", "minimum": 1}, "description": "From 1."},
    "key": {"schema": {"type": "string"}, "description": "A step's key: `test.unit`."},
    "secret": {"schema": {"type": "string"}, "description": "A secret's name."},
    "delivery": {"schema": {"type": "string"}, "description": "Id of a delivery."},
    "registry": {"schema": {"type": "string"}, "description": "A registry's host: `ghcr.io`."},
}


def document(endpoints: Sequence[Endpoint], *, base_url: str) -> Object:
    """The document that describes every endpoint of the table."""
    schemas = _Schemas(endpoints)
    paths: Object = {}
    for endpoint in endpoints:
        operations = paths.setdefault(endpoint.path, {})
        operations[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lading",
            "version": VERSION,
            "description": "Runs, their output, deliveries and image versions. Lists are newest "
            "first; `next` (and a `Link` header) leads to the following page.",
        },
        "servers": [{"url": f"{base_url}/api/v1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "From `lading token create NAME`.",
                }
            },
        },
    }


class _Schemas:
    """The schemas of all models: bodies and answers as components, queries apart."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        answers: list[type[BaseModel]] = [ProblemDetails]
        answers += [one.answer for one in endpoints if one.answer is not None]
        bodies = [one.body for one in endpoints if one.body is not None]
        queries = [one.query for one in endpoints]
        self._refs, rest = models_json_schema(
            [
                *((model, "serialization") for model in dict.fromkeys(answers)),
                *((model, "validation") for model in dict.fromkeys([*bodies, *queries])),
            ],
            ref_template=_REF,
        )
        self.components: Object = rest["$defs"]
        names = {query: self._name((query, "validation")) for query in queries}
        known = {name: self.components.pop(name) for name in dict.fromkeys(names.values())}
        self._queries = {query: known[name] for query, name in names.items()}

    def answer(self, model: type[BaseModel]) -> Object:
        return dict(self._refs[model, "serialization"])

    def body(self, model: type[BaseModel]) -> Object:
        return dict(self._refs[model, "validation"])

    def query(self, model: type[BaseModel]) -> list[Object]:
        found = []
        for name, schema in self._queries[model].get("properties", {}).items():
            needed = name in self._queries[model].get("required", ())
            parameter = {"name": name, "in": "query", "required": needed, "schema": schema}
            if "description" in schema:
                parameter["description"] = schema["description"]
            found.append(parameter)
        return found

    def _name(self, key: tuple[type[BaseModel], Any]) -> str:
        return str(self._refs[key]["$ref"]).rpartition("/")[2]


def _operation(endpoint: Endpoint, schemas: _Schemas) -> Object:
    names = re.findall(r"{(\w+)}", endpoint.path)
    in_path = [{"name": n, "in": "path", "required": True, **_PATH_PARAMETERS[n]} for n in names]
    in_headers = [
        {"name": n, "in": "header", "schema": {"type": "string"}, "description": text}
        for n, text in endpoint.headers.items()
    ]
    operation: Object = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [*in_path, *schemas.query(endpoint.query), *in_headers],
        "responses": _responses(endpoint, schemas),
    }
    if endpoint.body is not None:
        content = {"application/json": {"schema": schemas.body(endpoint.body)}}
        operation["requestBody"] = {"required": endpoint.body_required, "content": content}
    return operation


def _responses(endpoint: Endpoint, schemas: _Schemas) -> Object:
    if endpoint.answer is None:
        # Bytes have no schema: https://spec.openapis.org/oas/v3.1.1.html#working-with-binary-data
        text = endpoint.media.startswith("text/")
        content: Object = {endpoint.media: {"schema": {"type": "string"}} if text else {}}
    else:
        content = {"application/json": {"schema": schemas.answer(endpoint.answer)}}
    good = [endpoint.status, *([206] if "Range" in endpoint.headers else [])]
    answers = {
        str(status): {"description": HTTPStatus(status).phrase, "content": content}
        for status in good
    }
    problem = {MEDIA_TYPE: {"schema": schemas.answer(ProblemDetails)}}
    body_errors = () if endpoint.body is None else (413, 415, 422)
    for status in sorted({*_ALWAYS, *endpoint.errors, *body_errors}):
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": problem}
    return answers
