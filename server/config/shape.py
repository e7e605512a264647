"""What the settings look like: which tables and keys there are, and what a key may hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args, get_origin

from server.config.fields import Section
from server.config.models import GitHubSettings, GitLabSettings, GitSettings, Settings

Path = tuple[str, ...]
"""A place in the configuration: `("hosts", "github", "token")`."""

KINDS: Mapping[str, type[Section]] = {
    "github": GitHubSettings,
    "gitlab": GitLabSettings,
    "git": GitSettings,
}


class Key(NamedTuple):
    """One setting of a table, as a person may be told of it."""

    name: str
    schema: Mapping[str, Any]
    """Its JSON schema, without the choice of having none."""
    required: bool
    default: Any
    """As JSON; `None` where there is none."""

    @property
    def is_secret(self) -> bool:
        """Whether its value may be shown to nobody."""
        return self.schema.get("format") == "password"

    @property
    def description(self) -> str:
        """What it is for."""
        return str(self.schema.get("description", ""))

    @property
    def expected(self) -> str:
        """What it may hold: `a whole number from 0 to 65535`."""
        return expected(self.schema)


def dotted(path: Path) -> str:
    """The path as it stands in TOML: `registries."ghcr.io".password`."""
    return ".".join(
        part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part) for part in path
    )


def expected(schema: Mapping[str, Any]) -> str:
    """In words, what a value of this JSON schema looks like."""
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return ("one of " if len(values) > 1 else "") + ", ".join(f"`{value}`" for value in values)
    match schema.get("type"), schema.get("format"):
        case "integer", _:
            return "a whole number" + _bounds(schema)
        case "number", _:
            return "a number" + _bounds(schema)
        case "boolean", _:
            return "`true` or `false`"
        case _, "duration":
            return "a duration like `90s`, `30m` or `1h30m`"
        case _, "size":
            return "a size like `512MiB` or `2GiB`"
        case _, "room":
            return "room on a disk like `1GiB`, `2%` or `1GiB or 2%` (the less of the two)"
        case _, "path":
            return "a path"
        case ("object" | "array") as kind, _:
            return "a table" if kind == "object" else "a list of texts"
        case _:
            return "a text"


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    if (above := schema.get("exclusiveMinimum")) is not None:
        return f" above {above:g}"
    return ""


def keys(table: type[Section]) -> dict[str, Key]:
    """The settings that stand in a table itself, not in tables below it."""
    schema = table.model_json_schema(mode="validation")
    return {
        name: Key(name, _only(part), name in schema.get("required", ()), part.get("default"))
        for name, part in schema["properties"].items()
        if _is_key(table, name)
    }


def tables(table: type[Section]) -> dict[str, type[Section]]:
    """The tables with a fixed name below a table: `[server]`, `[worker]`."""
    return {
        name: field.annotation
        for name, field in table.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def named_tables(table: type[Section]) -> dict[str, type[Section] | None]:
    """The tables below a table that a person names: hosts, registries, repositories.

    The value is what such a table holds, or `None` where its `kind` tells.
    """
    return {
        name: _held(get_args(field.annotation)[1])
        for name, field in table.model_fields.items()
        if get_origin(field.annotation) is dict
    }


def places(data: Mapping[str, Any]) -> Iterator[tuple[Path, Key]]:
    """Every setting that a file with these tables could set."""
    yield from _places(Settings, data, ())


def table_at(path: Path, data: Mapping[str, Any]) -> type[Section] | None:
    """What the table at this place may hold, or `None` where there can be none."""
    table: type[Section] | None = Settings
    rest = list(path)
    here: object = data
    while table is not None and rest:
        name = rest.pop(0)
        here = _below(here, name)
        if name in tables(table):
            table = tables(table)[name]
        elif name in named_tables(table) and rest:
            held = named_tables(table)[name]
            here = _below(here, rest.pop(0))
            table = held or KINDS.get(str(_below(here, "kind")))
        else:
            table = None
    return table


def _places(table: type[Section], data: object, above: Path) -> Iterator[tuple[Path, Key]]:
    for key in keys(table).values():
        yield (*above, key.name), key
    for name, below in tables(table).items():
        yield from _places(below, _below(data, name), (*above, name))
    for name, held in named_tables(table).items():
        named = _below(data, name)
        for own in named if isinstance(named, Mapping) else ():
            yield from _held_places(held, _below(named, own), (*above, name, own))


def _held_places(
    held: type[Section] | None, data: object, above: Path
) -> Iterator[tuple[Path, Key]]:
    if held is not None:
        yield from _places(held, data, above)
        return
    kind = KINDS.get(str(_below(data, "kind")))
    for table in [kind] if kind else KINDS.values():
        yield from _places(table, data, above)


def _below(data: object, name: str) -> object:
    return data.get(name) if isinstance(data, Mapping) else None


def _is_key(table: type[Section], name: str) -> bool:
    hidden = table.model_fields[name].exclude
    return not hidden and name not in tables(table) and name not in named_tables(table)


def _held(annotation: object) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return None


def _only(schema: dict[str, Any]) -> dict[str, Any]:
    """`X` of a schema that says `X or null`."""
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return {**schema, **choice}
    return schema
