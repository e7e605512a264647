"""The pipeline file as models: the one source of parsing, JSON schema and reference."""

from pipelines.definition.models import (
    Build,
    Definition,
    FromBuild,
    Paths,
    Push,
    Test,
    When,
)
from pipelines.definition.schema import json_schema

__all__ = [
    "Build",
    "Definition",
    "FromBuild",
    "Paths",
    "Push",
    "Test",
    "When",
    "json_schema",
]
