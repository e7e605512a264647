"""The types of the pipeline file's values: each turns text into a value, or says what is wrong.

Errors are pydantic's own with a code of `pipelines.codes` as their type, and a hint beside them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Literal, LiteralString

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from pipelines import cron, placeholders, references
from pipelines.durations import parse_duration, parse_size
from pipelines.events import EventKind

MIN_TIMEOUT = 1.0
MAX_TIMEOUT = 7 * 86400.0
MAX_COMMANDS = 100_000
"""Bytes of one step's commands."""
MAX_PATTERN = 200
MAX_SHORT = 500
"""Characters of an input's value or description."""
MIN_MEMORY = 6 * 2**20
"""Bytes; what container engines want at the least."""
MAX_AXES = 3
MAX_AXIS = 32
"""Values of one axis of a matrix."""
MAX_GROUP = 100
MIN_EXPIRY = 60.0
MAX_EXPIRY = 365 * 86400.0
MAX_KEPT = 50
"""Paths of one list of files to keep."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_PIPELINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
SECRET_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_AXIS = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_AXIS_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,23}", re.ASCII)
NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
"""What an input of type `number` takes."""
_CPUS = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,3})?", re.ASCII)
_STAGE_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_FOREIGN_EVENTS = {
    "merge_request": "pull_request",
    "merge_requests": "pull_request",
    "merge_request_event": "pull_request",
    "workflow_dispatch": "manual",
    "cron": "schedule",
    "scheduled": "schedule",
    "web": "manual",
    "release": "tag",
    "tags": "tag",
    "branch": "push",
}
_FLAGS = {"true": True, "false": False}


class Empty:
    """What stands in the file where nothing does: not None, which is a model's own "not given"."""


EMPTY = Empty()


def shown(text: str, limit: int = 60) -> str:
    """A stranger's text for a sentence: on one line, and not longer than the sentence."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def failed(code: LiteralString, message: str, hint: str | None = None) -> PydanticCustomError:
    """An error that parsing turns into a problem of that code."""
    return PydanticCustomError(code, "{text}", {"text": message, "hint": hint})


def near(text: str, known: Iterable[str]) -> str | None:
    """A hint naming what is spelled alike; None where nothing is."""
    found = get_close_matches(text[:64], list(known), n=1, cutoff=0.6)
    return f"did you mean `{found[0]}`?" if found else None


class End(StrEnum):
    """The words of `when: status:`."""

    SUCCESS = "success"
    FAILURE = "failure"


def _end(value: object) -> object:
    if not isinstance(value, str) or value in tuple(End):
        return value
    hint = "`[success, failure]` is both" if value in ("always", "any") else "success or failure"
    raise failed("P054", f"unknown status `{shown(value)}`", near(value, End) or hint)


def listed(value: object) -> object:
    """One text is a list of one."""
    return [value] if isinstance(value, str) else value


def filled_list(value: tuple[str, ...]) -> tuple[str, ...]:
    """The list, which has something in it."""
    if not value:
        raise failed("P014", "the list is empty")
    return value


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise failed("P020", shown(str(error), 120)) from None
    if not MIN_TIMEOUT <= seconds <= MAX_TIMEOUT:
        raise failed("P020", f"`{shown(value)}` is not between 1s and 7d")
    return seconds


def _expiry(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise failed("P086", shown(str(error), 120), "write it like `14d` or `12h`") from None
    if not MIN_EXPIRY <= seconds <= MAX_EXPIRY:
        raise failed("P086", f"`{shown(value)}` is not between 1m and 365d", "`14d` is two weeks")
    return seconds


def _memory(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        size = parse_size(value)
    except ValueError as error:
        raise failed("P050", shown(str(error), 120)) from None
    if size < MIN_MEMORY:
        raise failed("P050", f"`{shown(value)}` is too little to start a container", "`64MiB`")
    return size


def _cpus(value: object) -> object:
    if not isinstance(value, str):
        return value
    if _CPUS.fullmatch(value) is None or not float(value):
        raise failed("P051", f"`{shown(value)}` is no number of CPUs", "write it like `2` or `0.5`")
    return float(value)


def _axis(text: str) -> str:
    if _AXIS.fullmatch(text) is None:
        hint = "lower-case letters, digits and `_`, at most 32, a letter first"
        raise failed("P053", f"`{shown(text)}` cannot be a key here", hint)
    return text


def _axis_value(text: str) -> str:
    if _AXIS_VALUE.fullmatch(text) is None:
        hint = "letters, digits, `.`, `_`, `+` and `-`, at most 24: it becomes part of a name"
        raise failed("P053", f"`{shown(text)}` cannot be a matrix value", hint)
    return text


def _axis_values(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(values) > MAX_AXIS:
        raise failed("P053", f"{len(values)} values; a matrix key may have {MAX_AXIS}")
    double = next((value for value in values if values.count(value) > 1), None)
    if double is not None:
        raise failed("P053", f"`{double}` stands twice in one matrix key", "take one out")
    return values


def _axes(matrix: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if not matrix:
        raise failed("P014", "the matrix is empty", '`matrix: {python: ["3.12", "3.13"]}`')
    if len(matrix) > MAX_AXES:
        raise failed("P053", f"{len(matrix)} matrix keys; there may be {MAX_AXES}")
    return matrix


def _cron(text: str) -> str:
    try:
        cron.check(text)
    except ValueError as error:
        hint = 'minute, hour, day of month, month, day of week: `"0 3 * * *"` is 03:00 every day'
        raise failed("P056", shown(str(error), 160), hint) from None
    return " ".join(text.split())


def _timezone(text: str) -> str:
    try:
        cron.zone(text)
    except ValueError as error:
        raise failed("P057", shown(str(error), 120), "a name like `Europe/Berlin`") from None
    return text


class Missed(StrEnum):
    """The words of `when: missed:`."""

    LATEST = "latest"
    SKIP = "skip"


class InputKind(StrEnum):
    """The words of an input's `type`."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"


def _word(kind: type[StrEnum], what: str) -> Callable[[object], object]:
    """Takes the words of an enumeration, and teaches them."""

    def check(value: object) -> object:
        if not isinstance(value, str) or value in tuple(kind):
            return value
        message = f"unknown {what} `{shown(value)}`"
        raise failed("P058", message, near(value, kind) or f"one of {', '.join(kind)}")

    return check


def _named(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            hint = (
                "start with a letter or digit, go on with letters, digits, `-` and `_`, at most 63"
            )
            raise failed("P015", f"`{shown(text)}` cannot be {what}", hint)
        return text

    return check


def _event(value: object) -> object:
    if not isinstance(value, str) or value in tuple(EventKind):
        return value
    hint = f"here it is `{_FOREIGN_EVENTS[value]}`" if value in _FOREIGN_EVENTS else None
    choice = "one of push, pull_request, tag, schedule, manual"
    raise failed(
        "P021", f"unknown event `{shown(value)}`", hint or near(value, EventKind) or choice
    )


def _retry(value: object) -> object:
    if isinstance(value, str) and value not in ("never", "safe"):
        hint = "`safe` where pushing it twice does no harm, else `never`"
        raise failed("P016", f"a push knows no `retry: {shown(value)}`", hint)
    return value


def _pattern(text: str) -> str:
    if not text:
        raise failed("P014", "the pattern is empty")
    if len(text) > MAX_PATTERN:
        raise failed("P022", f"the pattern is longer than {MAX_PATTERN} characters")
    if text.startswith("!"):
        raise failed("P022", f"pattern `{shown(text)}` cannot start with `!`", "use `exclude`")
    if text.startswith(("/", "./")):
        hint = f"write `{shown(text.lstrip('./'))}`"
        raise failed("P022", f"pattern `{shown(text)}` can never match", hint)
    return text


def _variable(text: str) -> str:
    if _VARIABLE.fullmatch(text) is None:
        raise failed("P023", f"`{shown(text)}` cannot be a variable's name", "letters, digits, `_`")
    return text


def _own_variable(text: str) -> str:
    if text == "CI" or text.startswith(("CI_", "LADING_")):
        hint = "names that start with CI_ or LADING_ are Lading's"
        raise failed("P023", f"`{shown(text)}` is set by Lading", hint)
    return text


def _text(value: object) -> object:
    """Nothing is the empty text."""
    return "" if value is EMPTY else value


def _no_secret(value: object) -> object:
    if isinstance(value, dict) and "from_secret" in value:
        hint = "name it in the `env` of each step that needs it"
        raise failed("P062", "a secret for every step", hint)
    return value


def _secret_name(text: str) -> str:
    if SECRET_NAME.fullmatch(text) is None:
        hint = "lower-case letters, digits and `_`, at most 63, a letter first"
        raise failed("P061", f"`{shown(text)}` cannot be a secret's name", hint)
    return text


def _short(text: str) -> str:
    if len(text) > MAX_SHORT:
        raise failed("P059", f"the text is longer than {MAX_SHORT} characters")
    return text


def _path(text: str) -> str:
    if text.startswith("/") or ".." in text.split("/"):
        hint = "a path from the repository's root, without `..`"
        raise failed("P024", f"`{shown(text)}` leaves the repository", hint)
    if not text or "\\" in text:
        raise failed("P024", f"`{shown(text)}` is no path", "a path from the repository's root")
    return posixpath.normpath(text)


def _kept(text: str) -> str:
    """A path or pattern of files to keep; of the placeholders only a matrix's are safe in one."""
    if text.startswith("/") or ".." in text.split("/"):
        hint = "a path from the repository's root, without `..`"
        raise failed("P024", f"`{shown(text)}` leaves the workspace", hint)
    if text in (".", "./") or "\\" in text or not text.isprintable():
        hint = "a file, a folder or a pattern: `htmlcov/`, `dist/*.whl`"
        raise failed("P087", f"`{shown(text)}` names nothing to keep", hint)
    for name in placeholders.names(text):
        if not name.startswith(placeholders.MATRIX):
            hint = "here only a matrix's own values can stand: `report-${matrix.python}.xml`"
            raise failed("P028", f"`${{{shown(name)}}}` cannot be part of a path", hint)
    return _pattern(text)


def _kept_list(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) > MAX_KEPT:
        hint = "name folders, or patterns like `reports/*.xml`"
        raise failed("P087", f"{len(value)} paths; a list may have {MAX_KEPT}", hint)
    return value


def _target(text: str) -> str:
    if _STAGE_TARGET.fullmatch(text) is None:
        raise failed(
            "P015", f"`{shown(text)}` cannot be a target", "a stage named in the Dockerfile"
        )
    return text


def with_placeholders(text: str, *, matrix: bool = False) -> str:
    """The text as it is, its placeholders all known; those of a matrix only where it may be."""
    for name in placeholders.names(text):
        if name.startswith(placeholders.INPUTS) or (
            name.startswith(placeholders.MATRIX) and matrix
        ):
            continue  # the checks know which inputs there are, and which keys the step's matrix has
        if name not in placeholders.PLACEHOLDERS:
            known = ", ".join(f"${{{known}}}" for known in placeholders.PLACEHOLDERS)
            hint = near(name, placeholders.PLACEHOLDERS) or f"there are {known}"
            raise failed("P028", f"unknown placeholder `${{{shown(name)}}}`", hint)
    return text


def _sample(text: str) -> str:
    """The text with something short and plain in place of each placeholder."""
    return placeholders.fill(text, dict.fromkeys(placeholders.names(text), "0")) or ""


def _image(text: str) -> str:
    if not references.is_image(_sample(with_placeholders(text, matrix=True))):
        hint = "a name in lower case like `python:3.12-slim`"
        raise failed("P025", f"`{shown(text)}` is no image name", hint)
    return text


def _repository(text: str) -> str:
    if references.is_repository(text):
        return text
    if "$" in text:
        hint = "`to` is fixed; placeholders go into `tags`"
    elif references.is_tagged_repository(text):
        hint = "leave the tag out; tags go into `tags`"
    elif references.is_repository(f"docker.io/{text}"):
        hint = f"name the registry too: `docker.io/{text}` is Docker Hub's"
    else:
        hint = "a registry and a path in lower case like `ghcr.io/acme/web`"
    raise failed("P026", f"`{shown(text)}` is no repository", hint)


def _tag(text: str) -> str:
    if not references.is_tag(_sample(with_placeholders(text))):
        hint = "letters, digits, `.`, `_` and `-`, at most 128"
        raise failed("P027", f"`{shown(text)}` is no tag", hint)
    return text


def _channel(text: str) -> str:
    if "$" in text:
        hint = "a channel is fixed; give each place a deploy of its own, with a `when`"
        raise failed("P041", f"`{shown(text)}` is no channel", hint)
    if not references.is_tag(text):
        hint = "letters, digits, `.`, `_` and `-`, at most 128, like `production`"
        raise failed("P041", f"`{shown(text)}` is no channel", hint)
    if references.is_write_once(text):
        hint = "tags of commits and versions are never moved; name one like `production`"
        raise failed("P041", f"`{shown(text)}` cannot be a channel", hint)
    return text


def _group(text: str) -> str:
    if not text.strip():
        raise failed("P014", "the group is empty", "leave it out for one group for each ref")
    if len(text) > MAX_GROUP or not text.isprintable():
        hint = f"one line of at most {MAX_GROUP} characters"
        raise failed("P037", f"`{shown(text)}` cannot be a group", hint)
    if "run" in placeholders.names(with_placeholders(text)):
        hint = "name what the runs share, like `deploy-${branch}`"
        raise failed("P037", "`${run}` makes each run a group of its own", hint)
    return text


def _flag(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in _FLAGS:
        hint = "write one of the two"
        raise failed("P036", f"`{shown(value)}` is neither `true` nor `false`", hint)
    return _FLAGS[value]


def _command(text: str) -> str:
    if not text.strip():
        raise failed("P014", "the command is empty")
    return text


def _commands(value: tuple[str, ...]) -> tuple[str, ...]:
    if sum(len(command.encode()) for command in value) > MAX_COMMANDS:
        hint = "put them into a script in the repository and call it"
        raise failed("P029", f"the commands hold more than {MAX_COMMANDS // 1000} KB", hint)
    return value


_OneOrMany = BeforeValidator(listed, json_schema_input_type=str | list[str])
_Filled = AfterValidator(filled_list)
_Scalar = BeforeValidator(_text, json_schema_input_type=str | float | bool | None)

Seconds = Annotated[float, BeforeValidator(_duration, json_schema_input_type=str)]
PipelineName = Annotated[str, AfterValidator(_named(_PIPELINE, "a pipeline's name"))]
StepName = Annotated[str, AfterValidator(_named(_NAME, "a step's name"))]
EventWord = Annotated[EventKind, BeforeValidator(_event)]
Events = Annotated[
    tuple[EventWord, ...],
    _Filled,
    BeforeValidator(listed, json_schema_input_type=EventKind | list[EventKind]),
]
Retry = Annotated[Literal["never", "safe"], BeforeValidator(_retry)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], _Filled, _OneOrMany]
KeptPaths = Annotated[
    tuple[Annotated[str, AfterValidator(_kept)], ...],
    AfterValidator(_kept_list),
    _Filled,
    _OneOrMany,
]
Expiry = Annotated[float, BeforeValidator(_expiry, json_schema_input_type=str)]
Variable = Annotated[str, AfterValidator(_own_variable), AfterValidator(_variable)]
Argument = Annotated[str, AfterValidator(_variable)]
Text = Annotated[str, _Scalar]
PlainText = Annotated[Text, BeforeValidator(_no_secret)]
SecretName = Annotated[str, AfterValidator(_secret_name)]
ArgumentText = Annotated[str, AfterValidator(with_placeholders), _Scalar]
RepositoryPath = Annotated[str, AfterValidator(_path)]
BuildTarget = Annotated[str, AfterValidator(_target)]
ImageName = Annotated[str, AfterValidator(_image)]
Repository = Annotated[str, AfterValidator(_repository)]
Tags = Annotated[tuple[Annotated[str, AfterValidator(_tag)], ...], _Filled, _OneOrMany]
Group = Annotated[str, AfterValidator(_group)]
Channel = Annotated[str, AfterValidator(_channel)]
Flag = Annotated[bool, BeforeValidator(_flag, json_schema_input_type=bool)]
Command = Annotated[str, AfterValidator(_command)]
Commands = Annotated[tuple[Command, ...], AfterValidator(_commands), _Filled, _OneOrMany]
Needs = Annotated[tuple[str, ...], _OneOrMany]
Memory = Annotated[int, BeforeValidator(_memory, json_schema_input_type=str)]
Cpus = Annotated[float, BeforeValidator(_cpus, json_schema_input_type=float)]
AxisName = Annotated[str, AfterValidator(_axis)]
AxisValues = Annotated[
    tuple[Annotated[str, AfterValidator(_axis_value)], ...],
    AfterValidator(_axis_values),
    _Filled,
    _OneOrMany,
]
Matrix = Annotated[dict[AxisName, AxisValues], AfterValidator(_axes)]
ShortText = Annotated[str, AfterValidator(_short), _Scalar]
CronLine = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[str, AfterValidator(_timezone)]
MissedWord = Annotated[Missed, BeforeValidator(_word(Missed, "word for missed times"))]
InputWord = Annotated[InputKind, BeforeValidator(_word(InputKind, "type of an input"))]
InputName = Annotated[str, AfterValidator(_axis)]
Ends = Annotated[
    tuple[Annotated[End, BeforeValidator(_end)], ...],
    _Filled,
    BeforeValidator(listed, json_schema_input_type=End | list[End]),
]
