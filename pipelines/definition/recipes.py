"""What a recipe's parameters may hold: the kinds of value that templates are made of.

No value of these kinds holds a line's end but a command, and no word holds what the builder or a
shell would read as more than a word. Rendering relies on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from pipelines import references
from pipelines.definition import fields as f
from pipelines.values import Value

MAX_LIST = 200
"""Words of one list of a template's parameters."""
MAX_LINE = 4096
"""Characters of one text of a template's parameters."""
MAX_PATH = 255
"""Characters of a path that a template is told."""
MAX_PORT = 65535
MAX_ID = 2**31 - 2
"""The largest number of a user; more than any engine takes is a mistake."""

_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9+._:~=-]{0,126}[A-Za-z0-9+])?", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_.@](?:[A-Za-z0-9_.@+=,~/-]*)", re.ASCII)
_PLACE = re.compile(r"/[A-Za-z0-9_.@+=,~/-]*", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_.@](?:[A-Za-z0-9_.@+=,~/:-]*)", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9._/-]{0,126}[a-z0-9])?", re.ASCII)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}", re.ASCII)
_IDS = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?", re.ASCII)
_GET = re.compile(r"GET (/[A-Za-z0-9_.~!&=+,;:@/?%-]*)", re.ASCII)
_BAD = "P072"
_NO_ROOT = "programs do not run as root here: a name like `app`, or a number above 0"


def _fits(pattern: re.Pattern[str], what: str, hint: str) -> AfterValidator:
    def check(text: str) -> str:
        if len(text) > MAX_PATH or pattern.fullmatch(text) is None:
            raise f.failed(_BAD, f"`{f.shown(text)}` is no {what}", hint)
        return text

    return AfterValidator(check)


def _bounded(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(values) > MAX_LIST:
        raise f.failed(_BAD, f"{len(values)} values; there may be {MAX_LIST}")
    return values


def _one_line(text: str) -> str:
    if len(text) > MAX_LINE or not text.isprintable():
        hint = f"printable characters, at most {MAX_LINE}"
        raise f.failed(_BAD, f"`{f.shown(text)}` is no single line", hint)
    return text


def _commands(commands: tuple[str, ...]) -> tuple[str, ...]:
    for text in commands:
        if any(not each.isprintable() and each not in "\n\t" for each in text):
            hint = "printable characters, line ends and tabs"
            raise f.failed(_BAD, f"`{f.shown(text)}` holds a control character", hint)
    return _bounded(tuple(text.strip() for text in commands))


def _image(text: str) -> str:
    if not references.is_image(text):
        hint = "a name in lower case like `docker.io/library/python:3.13-slim`; no placeholders"
        raise f.failed("P025", f"`{f.shown(text)}` is no image name", hint)
    return text


def _port(value: object) -> object:
    if isinstance(value, str) and not (
        value.isascii() and value.isdigit() and 0 < len(value) < 6 and 0 < int(value) <= MAX_PORT  # noqa: PLR2004 (65535 has five digits)
    ):
        raise f.failed(_BAD, f"`{f.shown(value)}` is no port", f"a number from 1 to {MAX_PORT}")
    return int(value) if isinstance(value, str) else value


def _user(text: str) -> str:
    if text == "root":
        raise f.failed("P074", "`user: root` would run the program as root", _NO_ROOT)
    if found := _IDS.fullmatch(text):
        ids = [int(each) for each in found.groups() if each is not None]
        if not all(0 < each <= MAX_ID for each in ids):
            raise f.failed("P074", f"`user: {f.shown(text)}` is no user for a program", _NO_ROOT)
        return ":".join(map(str, ids))
    if _USER.fullmatch(text) is None:
        hint = "a name in lower case, or numbers like `1000` or `1000:1000`"
        raise f.failed(_BAD, f"`{f.shown(text)}` is no user", hint)
    return text


def _healthcheck(text: str) -> str:
    if text.upper().startswith("GET ") and _GET.fullmatch(text) is None:
        hint = "write `GET /healthz`: a path from the root, without spaces or quotes"
        raise f.failed(_BAD, f"`{f.shown(text)}` asks for no path", hint)
    return text


def _no_secret(value: object) -> object:
    if isinstance(value, Mapping) and "from_secret" in value:
        hint = "whoever has the image could read it: give it to the container where it runs"
        raise f.failed("P075", "a secret in the environment of an image", hint)
    return value


def _filled(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values or not values[0]:
        raise f.failed("P014", "the command is empty", "`[python, -m, web]`")
    return values


_Many = BeforeValidator(f.listed, json_schema_input_type=str | list[str])

Version = Annotated[str, _fits(_VERSION, "version", "write it as the base's tag does: `3.13`")]
Image = Annotated[str, AfterValidator(_image)]
Package = Annotated[
    str, _fits(_PACKAGE, "package", "a name like `libpq5`, or with a version: `libpq5=15.3-1`")
]
Packages = Annotated[tuple[Package, ...], AfterValidator(_bounded), _Many]
Path = Annotated[
    f.RepositoryPath,
    _fits(_PATH, "path that can be copied", "letters, digits, `.`, `_`, `-`, `+`, `@` and `/`"),
]
Paths = Annotated[tuple[Path, ...], AfterValidator(_bounded), _Many]
Place = Annotated[str, _fits(_PLACE, "folder of an image", "an absolute path like `/app`")]
Word = Annotated[str, _fits(_WORD, "plain word", "letters, digits, `.`, `_`, `-`, `:` and `/`")]
Words = Annotated[tuple[Word, ...], AfterValidator(_bounded), _Many]
Line = Annotated[f.Text, AfterValidator(_one_line), BeforeValidator(_no_secret)]
Commands = Annotated[f.Commands, AfterValidator(_commands)]
Port = Annotated[int, BeforeValidator(_port, json_schema_input_type=int)]
User = Annotated[str, AfterValidator(_user)]
Label = Annotated[str, _fits(_LABEL, "label", "lower case like `org.example.team`")]
Environment = dict[f.Argument, Line]
Labels = dict[Label, Line]


def _shape(value: object) -> str:
    return "mapping" if isinstance(value, list | tuple) else "text"


_Exec = Annotated[tuple[Annotated[str, AfterValidator(_one_line)], ...], AfterValidator(_filled)]
Program = Annotated[
    Annotated[str, AfterValidator(_one_line), Tag("text")] | Annotated[_Exec, Tag("mapping")],
    Discriminator(_shape),
]
"""A program and its arguments, or one line for a shell."""
Check = Annotated[
    Annotated[str, AfterValidator(_one_line), AfterValidator(_healthcheck), Tag("text")]
    | Annotated[_Exec, Tag("mapping")],
    Discriminator(_shape),
]


class Run(Value):
    """How the image's program is run."""

    command: Program | None = Field(
        None,
        description="The program and its arguments as a list, or one line for a shell. Default: "
        "the template's, else the base's.",
    )
    port: Port | None = Field(None, description="The port that it listens on.")
    user: User = Field(
        "10001:10001",
        description="Who it runs as, never root: numbers like `1000:1000`, or a name, which is "
        "entered with the number 10001. Default: `10001:10001`.",
    )
    workdir: Place = Field(
        "/app", description="The folder of the sources, and where it starts. Default: `/app`."
    )
    healthcheck: Check | None = Field(
        None,
        description="How the engine sees that it works: `GET /healthz` asks the port, anything "
        "else is a command.",
    )

    @property
    def asks(self) -> str | None:
        """The path that the health check asks for, where it asks for one."""
        text = self.healthcheck if isinstance(self.healthcheck, str) else ""
        found = _GET.fullmatch(text)
        return found[1] if found else None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.asks and self.port is None:
            raise f.failed("P012", "`healthcheck: GET …` without a `port`", "`port: 8080`")
        return self


class Templates(Protocol):
    """The templates that a pipeline file may name."""

    @property
    def names(self) -> Sequence[str]:
        """Their names, in order."""

    def parameters(self, name: str) -> type[Value]:
        """The model of a template's parameters.

        Raises:
            KeyError: There is no such template.
        """
