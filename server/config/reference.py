"""The settings written out: the reference for people, and the example file to start from.

`scripts/docs` writes both; tests see to it that they are current.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from pipelines.durations import format_duration, format_size
from server.config import shape
from server.config.environment import variable
from server.config.fields import Section
from server.config.models import Settings

_WIDTH = 96

_REFERENCE_INTRO = """\
# Configuration

`lading serve --config config.toml` reads a TOML file. `config.example.toml` holds every setting;
this page is the same as a table. All faults are told at once at start, each with the setting, the
place it came from, what is wrong and what would be right.

A setting comes, the later before the earlier, from

1. its default,
2. the file,
3. the environment: `LADING_`, then the tables and the name in capitals with two underscores
   between them, and one for every character that is no letter or digit:
   `LADING_SERVER__PORT`, `LADING_HOSTS__GITHUB__TOKEN`, `LADING_REGISTRIES__GHCR_IO__PASSWORD`;
   or the same name with `_FILE` behind it, which names a file that holds the value (a line's end
   at its end is dropped): `LADING_HOSTS__GITHUB__TOKEN_FILE=/run/secrets/github-token`.

Tables that you name yourself (hosts, repositories, registries) must stand in the file for the
environment to reach them; an empty one, `[hosts.github]`, is enough. An unknown `LADING_`
variable is a fault, so that a slip of the pen is never silent; only `LADING_CONFIG`, the path of
the file, names no setting.

Durations are written like `90s`, `30m` or `1h30m`, sizes like `512MiB` or `2GiB`; a bare number
means seconds or bytes.
"""

_EXAMPLE_INTRO = """\
# Lading's configuration: every setting there is, with its default or an example behind `#`.
#
# Copy it to config.toml, take away the `#` in front of what you want to set, and start with
# `lading serve --config config.toml`. Faults are told all at once, with what would be right.
#
# Each setting can also come from the environment, which goes before this file:
# LADING_SERVER__PORT=9000, or LADING_SERVER__PORT_FILE=/path/of/a/file/that/holds/it.
# Keep secrets out of this file that way: LADING_HOSTS__GITHUB__TOKEN_FILE=/run/secrets/github
"""


def reference() -> str:
    """`docs/reference/configuration.md`."""
    parts = [_REFERENCE_INTRO]
    for heading, path, table in _tables():
        parts.append(f"## {heading}\n\n{_doc(table)}\n\n{_markdown_table(path, table)}")
    return "\n".join(parts)


def example() -> str:
    """`config.example.toml`: it loads as it is; its secrets are refused, since all know them."""
    parts = [_EXAMPLE_INTRO]
    for _, path, table in _tables():
        # The tables that a person names are examples too; an empty one would be a fault.
        header = f"{'# ' if len(path) > 1 else ''}[{shape.dotted(path)}]"
        settings = "\n".join(_example_setting(key) for key in shape.keys(table).values())
        parts.append(f"{_comment(_doc(table))}\n{header}\n{settings}\n")
    return "\n".join(parts)


def _tables() -> Iterator[tuple[str, shape.Path, type[Section]]]:
    """Heading, place in an example, and class of every table there is."""
    for name, table in shape.tables(Settings).items():
        yield f"`[{name}]`", (name,), table
    for kind, table in shape.KINDS.items():
        yield f'`[hosts.<name>]`, `kind = "{kind}"`', ("hosts", kind), table
        below = shape.named_tables(table)["repositories"]
        if below is not None:
            full = "web" if kind == "git" else "acme/web"
            path = ("hosts", kind, "repositories", full)
            yield f'`[hosts.<name>.repositories."{full}"]`, `kind = "{kind}"`', path, below
    registry = shape.named_tables(Settings)["registries"]
    if registry is not None:
        yield '`[registries."<host>"]`', ("registries", "ghcr.io"), registry


def _doc(table: type[Section]) -> str:
    return " ".join((table.__doc__ or "").split())


def _markdown_table(path: shape.Path, table: type[Section]) -> str:
    rows = ["| setting | what it is | default | variable |", "|---|---|---|---|"]
    for key in shape.keys(table).values():
        default = "must be given" if key.required else _default(key) or "none"
        what = _what(key).replace("|", "\\|")
        rows.append(f"| `{key.name}` | {what} | {default} | `{variable((*path, key.name))}` |")
    return "\n".join(rows) + "\n"


def _what(key: shape.Key) -> str:
    """What it is, and what it may hold where that says more than "a text"."""
    holds = key.expected
    if holds == "a text":
        return key.description
    return f"{key.description} {holds[:1].upper()}{holds[1:]}."


def _default(key: shape.Key) -> str | None:
    return None if key.default is None else f"`{_toml(key, key.default)}`"


def _example_setting(key: shape.Key) -> str:
    value = key.default if key.default is not None else _example_value(key)
    return f"{_comment(_what(key))}\n# {key.name} = {_toml(key, value)}"


def _example_value(key: shape.Key) -> object:
    return key.schema["const"] if "const" in key.schema else key.schema["examples"][0]


def _toml(key: shape.Key, value: object) -> str:
    if isinstance(value, (int, float)) and key.schema.get("format") == "duration":
        return f'"{format_duration(value)}"'.replace(" ", "").replace("min", "m")
    if isinstance(value, int) and key.schema.get("format") == "size":
        return f'"{format_size(value)}"'.replace(" ", "")
    return json.dumps(value, ensure_ascii=False)  # texts, numbers and booleans are as in TOML


def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="#   ")
