"""The JSON schema of a pipeline file with the templates that it may name."""

from __future__ import annotations

from typing import Any

from pipelines.definition import json_schema as plain_schema
from pipelines.recipes.catalogue import Catalogue, built_in

_DEFS = "$defs"
_AT = "#/$defs/{model}"


def json_schema(catalogue: Catalogue | None = None) -> dict[str, Any]:
    """The schema of a pipeline file, JSON Schema draft 2020-12.

    Args:
        catalogue: The templates. Default: those that come with Lading.
    """
    schema, templates = plain_schema(), catalogue or built_in()
    builds = schema["properties"]["build"]["additionalProperties"]
    choices = builds.setdefault("anyOf", [])
    for name in templates.names:
        own = templates.parameters(name).model_json_schema(by_alias=True, ref_template=_AT)
        schema[_DEFS].update(own.pop(_DEFS, {}))
        schema[_DEFS][f"Template_{name}"] = _with_name(own, name, templates)
        choices.append({"$ref": _AT.format(model=f"Template_{name}")})
    return schema


def _with_name(own: dict[str, Any], name: str, templates: Catalogue) -> dict[str, Any]:
    context = {"type": "string", "default": ".", "description": "Folder of the sources."}
    properties = {"template": {"const": name}, "context": context, **own["properties"]}
    about = templates.template(name).summary
    return {
        **own,
        "title": f"template {name}",
        "description": about,
        "properties": properties,
        "required": ["template", *own.get("required", ())],
    }
