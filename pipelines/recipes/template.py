"""A template: its description, its parameters, and the text that a Dockerfile is rendered of."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Self

from pydantic import Field, create_model, model_validator

from pipelines import references
from pipelines.definition import fields as f
from pipelines.definition import recipes as r
from pipelines.recipes.parameters import KINDS, SHARED, Kind, Shared, one_of
from pipelines.values import Value

VERSION = "{version}"
"""Stands in names of images for the version that the file asks for."""


class LockRule(Value):
    """A lock file that the template knows."""

    kind: str
    """What the text calls it: `lock.kind == "pip"`."""
    file: str
    """Its usual name."""
    like: str | None = None
    """Pattern of the names that `dependencies` may give it. Default: the usual name."""
    also: tuple[str, ...] = ()
    """Files beside it that are needed too."""
    read: bool = False
    """Whether its text matters: `lock.hashes` says whether it holds hashes."""

    def takes(self, path: str) -> bool:
        """Whether a path may be such a lock file."""
        return fnmatchcase(path.rpartition("/")[2], self.like or self.file)


class OwnParameter(Value):
    """A parameter of the template's own."""

    type: Kind
    description: str
    default: Any = None
    """None where it may be left out, and is then nothing. `{version}` in an image stands for it."""
    options: tuple[str, ...] = ()
    """Of a choice."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.type is Kind.CHOICE) != bool(self.options):
            raise ValueError("`options` and the type `choice` go together")
        return self


class Template(Value):
    """One folder of templates, as `template.toml` describes it."""

    name: str
    summary: str
    """What it makes, in a sentence."""
    base: str | None = None
    """The image that `version` means, with `{version}` in it; None: `base` must be given."""
    version: str | None = None
    """Where neither is given; None: one of them must be."""
    version_like: str = "1.0"
    """A version as an example for the hint."""
    takes: tuple[Shared, ...] = tuple(Shared)
    lock: tuple[LockRule, ...] = ()
    """In the order they are looked for."""
    look_for: tuple[str, ...] = ()
    """Other files that the text asks for: `has("vendor/modules.txt")`."""
    read: tuple[str, ...] = ()
    """Those of them whose text it asks for: `holds("Cargo.toml", "[workspace]")`."""
    command: tuple[str, ...] = ()
    """What is run where the file says nothing."""
    http_check: tuple[str, ...] = ("wget", "-q", "-O", "/dev/null", "{url}")
    """How `healthcheck: GET /path` asks; `{url}` stands for the address."""
    parameters: dict[str, OwnParameter] = {}
    text: str = ""
    """Of `Dockerfile.j2`."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        taken = {*Shared, "base", "version", "template", "context"} & set(self.parameters)
        if taken:
            raise ValueError(f"`{min(taken)}` means the same in every template")
        if self.base is not None and not references.is_image(self.base.replace(VERSION, "1")):
            raise ValueError(f"base: {self.base} names no image")
        return self

    @cached_property
    def model(self) -> type[Value]:
        """The model of its parameters, for parsing and for the schema."""
        fields: dict[str, Any] = dict(self._bases())
        for name, own in self.parameters.items():
            kind: Any = KINDS.get(own.type) or one_of(own.options)
            if own.default is None or VERSION in str(own.default):
                kind, default = kind | None, None
            else:
                default = tuple(own.default) if own.type is Kind.WORDS else own.default
            fields[name] = (kind, Field(default=default, description=own.description))
        fields.update({each.value: (SHARED[each].annotation, SHARED[each]) for each in self.takes})
        return create_model(f"Template_{self.name}", __base__=_model_base(self), **fields)

    def _bases(self) -> Iterator[tuple[str, tuple[Any, Any]]]:
        if self.base is not None:
            what = f"Version of the base, which is then `{self.base}`."
            default = f" Default: `{self.version}`." if self.version else ""
            yield "version", (r.Version | None, Field(default=None, description=what + default))
        whole = "The base image in full, in place of a version." if self.base else "The base image."
        yield "base", (r.Image | None, Field(default=None, description=whole))

    def image(self, base: str | None, version: str | None) -> str:
        """The base image that a file's keys mean."""
        return base or (self.base or "").replace(VERSION, version or self.version or "")

    def lock_names(self) -> str:
        """Its lock files in a sentence."""
        return ", ".join(rule.file for rule in self.lock)


def _model_base(template: Template) -> type[Value]:
    class Parameters(Value):
        @model_validator(mode="after")
        def _based(self) -> Self:
            base, version = getattr(self, "base", None), getattr(self, "version", None)
            if base and version:
                raise f.failed(
                    "P071", "`base` and `version` both say which base", "take one of the two out"
                )
            if not (base or version or template.version):
                wanted = f'`version: "{template.version_like}"`' if template.base else "`base: …`"
                message = f"the template {template.name} is not told which base"
                raise f.failed("P012", message, f"add {wanted}, or `base` with an image")
            whole = template.image(base, version)
            if not references.is_image(whole):
                raise f.failed("P025", f"`{f.shown(whole)}` is no image name", "mend `version`")
            return self

    return Parameters
