"""The pipeline file as models: the one source of parsing, JSON schema and reference."""

from pipelines.definition.models import (
    Build,
    Concurrency,
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
    "Concurrency",
    "Definition",
    "FromBuild",
    "Paths",
    "Push",
    "Test",
    "When",
    "json_schema",
]
