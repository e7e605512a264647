"""The JSON schema that editors use for pipeline files."""

from __future__ import annotations

from typing import Any

from pipelines.definition.models import Definition


def json_schema() -> dict[str, Any]:
    """The schema of a pipeline file, JSON Schema draft 2020-12."""
    schema = Definition.model_json_schema(by_alias=True, mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Lading pipeline",
    }
