"""What is wrong with a configuration, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipelines.problems import LadingError
from pipelines.values import Value
from server.config import shape

_SHOWN_CHARACTERS = 60


class Fault(Value):
    """One thing to mend before Lading can start. Never holds the value of a secret."""

    setting: str
    """`hosts.github.webhook_secret`, or the variable or file that cannot be read."""
    source: str
    """Where it came from: `config.toml:12`, `LADING_SERVER__PORT`; or `configuration`."""
    wrong: str
    """What is wrong, to be read behind the setting's name: `is missing`."""
    right: str
    """What would be right."""

    def __str__(self) -> str:
        """`server.port` (config.toml:3) is 99999; give a whole number from 0 to 65535."""
        return f"`{self.setting}` ({self.source}) {self.wrong}; {self.right}"


class ConfigInvalidError(LadingError):
    """Lading cannot start with this configuration; `faults` tells every reason."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def close_to(wanted: str, known: Sequence[str]) -> str | None:
    """The known name that was probably meant."""
    return next(iter(difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)), None)


def of_validation(
    error: ValidationError, data: Mapping[str, Any], source: Callable[[shape.Path], str]
) -> Iterator[Fault]:
    """Each of pydantic's errors over `data`, in words of ours."""
    for detail in error.errors(include_url=False):
        path, wrong, right = _words(detail, data)
        yield Fault(setting=shape.dotted(path), source=source(path), wrong=wrong, right=right)


def _words(detail: ErrorDetails, data: Mapping[str, Any]) -> tuple[shape.Path, str, str]:
    path = _path(detail["loc"])
    context = detail.get("ctx", {})
    key = _key(path, data)
    match detail["type"]:
        case "setting":
            return path, context["wrong"], context["right"]
        case "value_error":  # of parse_duration and parse_size: "'x' is no size; write …"
            wrong, _, right = str(context["error"]).partition("; ")
            return path, f"is wrong: {wrong}", right
        case "missing":
            return path, "is missing", f"give {key.expected if key else 'it'}{_purpose(key)}"
        case "union_tag_not_found":
            return (*path, "kind"), "is missing", _kinds()
        case "union_tag_invalid":
            return (*path, "kind"), f"is {_shown(context['tag'])}", _kinds()
        case "extra_forbidden":
            return path, *_unknown(path, data)
        case "model_type" | "model_attributes_type" | "dict_type":
            return path, "is no table", f"write it as `[{shape.dotted(path)}]`"
        case _ if key is None or key.is_secret:
            return path, "cannot be used", f"give {_bound(key, detail)}"
        case _:
            return path, f"is {_shown(_value(path, data))}", f"give {_bound(key, detail)}"


def _path(location: tuple[int | str, ...]) -> shape.Path:
    """Where the value stands in the file: pydantic also names the kind of host, and keys."""
    parts = [str(part) for part in location if part != "[key]"]
    if parts[:1] == ["hosts"]:
        del parts[2:3]
    return tuple(parts)


def _key(path: shape.Path, data: Mapping[str, Any]) -> shape.Key | None:
    table = shape.table_at(path[:-1], data)
    return shape.keys(table).get(path[-1]) if table else None


def _purpose(key: shape.Key | None) -> str:
    return f": {key.description[:1].lower()}{key.description[1:].rstrip('.')}" if key else ""


def _kinds() -> str:
    return f"give one of {', '.join(f'`{kind}`' for kind in shape.KINDS)}"


def _unknown(path: shape.Path, data: Mapping[str, Any]) -> tuple[str, str]:
    table = shape.table_at(path[:-1], data)
    if table is None:
        return "is no setting", "take it out"
    known = [*shape.keys(table), *shape.tables(table), *shape.named_tables(table)]
    near = close_to(path[-1], known)
    if near:
        return "is no setting", f"did you mean `{near}`?"
    return "is no setting", f"known here: {', '.join(sorted(known))}"


def _bound(key: shape.Key | None, detail: ErrorDetails) -> str:
    """What would be right; the bound itself where the schema, a text, cannot say it."""
    right = key.expected if key else "another value"
    written = key.schema.get("format") if key else None
    context = detail.get("ctx", {})
    if written == "size" and "ge" in context:
        return f"{right}, at least {context['ge'] // 2**20}MiB"
    if written == "duration" and {"ge", "gt"} & set(context):
        bound = "at least" if "ge" in context else "more than"
        return f"{right}, {bound} {_written(context[min({'ge', 'gt'} & set(context))])}"
    return right


def _written(seconds: float) -> str:
    return f"{seconds / 86400:g}d" if seconds and seconds % 86400 == 0 else f"{seconds:g}s"


def _value(path: shape.Path, data: object) -> object:
    """The value as it was written: pydantic tells it as it was read."""
    for name in path:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
