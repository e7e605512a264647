"""The types of values of what goes with a step's commands: services, a cache, more than one try."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from pipelines import placeholders
from pipelines.definition import fields as f

MAX_SERVICES = 8
MAX_TRIES_MORE = 5
MAX_CACHE_PATHS = 16
MAX_CACHE_KEY = 100
MAX_PORT = 65535
MAX_PROBE = 1000
"""Characters of the command that tells whether a service is ready."""

_SERVICE = re.compile(r"[a-z](?:[a-z0-9-]{0,29}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)


def _service(text: str) -> str:
    if _SERVICE.fullmatch(text) is None or text == "localhost":
        hint = "lower-case letters, digits and `-`, at most 31, a letter first: it is a host's name"
        raise f.failed("P080", f"`{f.shown(text)}` cannot be a service's name", hint)
    return text


def _services(value: object) -> object:
    if isinstance(value, list):
        hint = "write each under the name it is reached by: `services: {db: {image: postgres:16}}`"
        raise f.failed("P013", "`services` is a list", hint)
    if isinstance(value, dict) and len(value) > MAX_SERVICES:
        message = f"{len(value)} services; a step may have {MAX_SERVICES}"
        raise f.failed("P085", message, "give the step less, or divide it")
    return value


def _port(value: object) -> object:
    if not isinstance(value, str):
        return value
    if _NUMBER.fullmatch(value) is None or not 1 <= int(value) <= MAX_PORT:
        hint = "the number that the service listens on in its own container, from 1 to 65535"
        raise f.failed("P081", f"`{f.shown(value)}` is no port", hint)
    return int(value)


def _probe(text: str) -> str:
    if not text.strip():
        raise f.failed("P014", "the command is empty", "`ready: {command: pg_isready}`")
    if len(text) > MAX_PROBE:
        raise f.failed("P081", f"the command is longer than {MAX_PROBE} characters")
    return text


def _tries(value: object) -> object:
    if isinstance(value, str) and _NUMBER.fullmatch(value) and int(value) <= MAX_TRIES_MORE:
        return int(value)
    if isinstance(value, int):
        return value
    shown = f"`{f.shown(value)}`" if isinstance(value, str) else "this"
    hint = f"how often it is tried again, from 0 to {MAX_TRIES_MORE}: `retry: 2` is three tries"
    raise f.failed("P084", f"{shown} is no number of tries", hint)


def _key(text: str) -> str:
    if not text.strip():
        raise f.failed("P014", "the key is empty", "`cache: {key: pip, paths: [.cache]}`")
    if len(text) > MAX_CACHE_KEY or not text.isprintable():
        hint = f"one line of at most {MAX_CACHE_KEY} characters"
        raise f.failed("P082", f"`{f.shown(text)}` cannot be a cache's key", hint)
    plain = placeholders.fill(text, dict.fromkeys(placeholders.names(text), "")) or ""
    if "$" in plain:
        hint = "placeholders are written `${branch}`; the reference lists them"
        raise f.failed("P082", f"`{f.shown(text)}` holds a variable, which is not looked up", hint)
    names = placeholders.names(f.with_placeholders(text, matrix=True))
    for name in ("run", "sha", "short_sha"):
        if name in names:
            hint = "name what later runs shall find again, like `pip`"
            message = f"with `${{{name}}}` no later run would find the cache"
            raise f.failed("P082", message, hint)
    return text


def _folder(text: str) -> str:
    if text.startswith("~") or "$" in text:
        hint = "only files below the workspace are kept: point the tool there"
        raise f.failed("P083", f"`{f.shown(text)}` is not looked up", hint)
    if text in (".", ".git") or text.startswith(".git/"):
        hint = "name the folder that the tool keeps its files in, like `.cache`"
        raise f.failed("P083", f"`{f.shown(text)}` cannot be kept", hint)
    return text


def _folders(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) > MAX_CACHE_PATHS:
        raise f.failed("P085", f"{len(value)} paths; a cache may have {MAX_CACHE_PATHS}")
    return tuple(dict.fromkeys(value))


_Words = str | float | bool

ServiceName = Annotated[str, AfterValidator(_service)]
NamedServices = BeforeValidator(_services)
Port = Annotated[
    int,
    BeforeValidator(_port, json_schema_input_type=Annotated[int, Field(ge=1, le=MAX_PORT)]),
]
Probe = Annotated[str, AfterValidator(_probe)]
Arguments = Annotated[
    tuple[f.Text, ...],
    BeforeValidator(f.listed, json_schema_input_type=_Words | list[_Words]),
]
Tries = Annotated[
    int,
    BeforeValidator(_tries, json_schema_input_type=Annotated[int, Field(ge=0, le=MAX_TRIES_MORE)]),
]
CacheKey = Annotated[str, AfterValidator(_key)]
CachePaths = Annotated[
    tuple[Annotated[f.RepositoryPath, AfterValidator(_folder)], ...],
    AfterValidator(_folders),
    AfterValidator(f.filled_list),
    BeforeValidator(f.listed, json_schema_input_type=str | list[str]),
]
