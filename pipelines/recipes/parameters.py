"""What templates may be told: the parameters that many share, and the kinds of their own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic.fields import FieldInfo

from pipelines.definition import fields as f
from pipelines.definition import recipes as r
from pipelines.values import Value


class Shared(StrEnum):
    """Parameters that mean the same in every template that takes them."""

    PACKAGES = "packages"
    BUILD_PACKAGES = "build_packages"
    DEPENDENCIES = "dependencies"
    FILES = "files"
    STEPS = "steps"
    ENV = "env"
    LABELS = "labels"
    RUN = "run"


class Kind(StrEnum):
    """What a parameter of a template's own may hold."""

    WORD = "word"
    WORDS = "words"
    PATH = "path"
    IMAGE = "image"
    VERSION = "version"
    LINE = "line"
    FLAG = "flag"
    CHOICE = "choice"


KINDS: dict[Kind, Any] = {
    Kind.WORD: r.Word,
    Kind.WORDS: r.Words,
    Kind.PATH: r.Path,
    Kind.IMAGE: r.Image,
    Kind.VERSION: r.Version,
    Kind.LINE: r.Line,
    Kind.FLAG: f.Flag,
}
"""The type of each kind; of a choice it is made of its options."""


class AllShared(Value):
    """The parameters that many templates take; each template's model has some of them."""

    packages: r.Packages = Field(
        default=(),
        description="System packages of the image, by the base's own names: `libpq5`, or "
        "`libpq5=15.3-1`. Installed with `apk` on Alpine, else with `apt-get`.",
    )
    build_packages: r.Packages = Field(
        default=(),
        description="System packages for building alone; the image does not have them.",
    )
    dependencies: r.Path | None = Field(
        default=None,
        description="The lock file of what the program needs, from the context. Default: the "
        "first of the template's that is there.",
    )
    files: r.Paths = Field(
        default=(),
        description="The files and folders that go into the image, from the context; nothing "
        "else is sent to the builder. Default: all that `.dockerignore` leaves.",
    )
    steps: r.Commands = Field(
        default=(),
        description="Commands run once the sources are there, each in a layer of its own.",
    )
    env: r.Environment = Field(
        default={},
        description="Environment of the image. It holds no secrets: whoever has the image can "
        "read it.",
    )
    labels: r.Labels = Field(
        default={},
        description="Labels of the image. Those of the OCI specification Lading sets itself.",
    )
    run: r.Run = Field(default=r.Run(), description="How the image's program is run.")


SHARED: dict[Shared, FieldInfo] = {each: AllShared.model_fields[each] for each in Shared}
"""What the reference says of each."""


def one_of(options: tuple[str, ...]) -> object:
    """The type of a choice."""

    def check(text: str) -> str:
        if text not in options:
            told = ", ".join(options)
            hint = f.near(text, options) or "write one of them"
            raise f.failed("P072", f"`{f.shown(text)}` is none of {told}", hint)
        return text

    return Annotated[str, AfterValidator(check), WithJsonSchema({"enum": list(options)})]
