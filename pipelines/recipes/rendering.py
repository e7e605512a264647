"""A template's text and its parameters to a Dockerfile: pure, and the same on every machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NoReturn

from pipelines.definition.recipes import Run
from pipelines.problems import LadingError
from pipelines.recipes import instructions
from pipelines.recipes.parameters import Kind, Shared
from pipelines.recipes.spelling import Plain, pairs
from pipelines.recipes.template import VERSION, Template
from pipelines.values import Value

_WORDS = (Kind.WORD, Kind.PATH, Kind.IMAGE, Kind.VERSION, Kind.CHOICE)
_FROM = re.compile(r"FROM\s", re.IGNORECASE)


class BuilderFeatures(Value):
    """What the builder can do that not every builder can."""

    cache_mounts: bool = False
    """`RUN --mount=type=cache`."""


class LockView(Value):
    """The lock file as a template sees it."""

    kind: str
    file: str
    also: tuple[str, ...] = ()
    hashes: bool = False


class Given(Value):
    """Everything that a rendering depends on."""

    parameters: dict[str, Any]
    """By name, as the template's model has them."""
    lock: LockView | None = None
    there: frozenset[str] = frozenset()
    """Files of the context that the template has looked for."""
    texts: dict[str, str] = {}
    features: BuilderFeatures = BuilderFeatures()


class CannotRenderError(LadingError):
    """The template itself says that it cannot; the message is a problem's, with its hint."""

    def __init__(self, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.hint = hint


def render(template: Template, given: Given) -> str:
    """The Dockerfile.

    Raises:
        CannotRenderError: The template says why not.
        ValueError: The template is broken.
    """
    # Jinja takes its time to load, and most pipelines have no template.
    from pipelines.recipes.gaps import fill

    return tidy(fill(template.text, _names(template, given)))


def tidy(text: str) -> str:
    """One empty line before each stage but the first, and none elsewhere."""
    lines: list[str] = []
    for line in (each.rstrip() for each in text.splitlines()):
        if not line:
            continue
        if _FROM.match(line) and any(_FROM.match(each) for each in lines):
            at = len(lines)
            while lines[at - 1].startswith("#"):
                at -= 1
            lines.insert(at, "")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _names(template: Template, given: Given) -> dict[str, Any]:
    """Everything that the text may name."""
    known = given.parameters
    run = known.get(Shared.RUN) or Run()
    base = template.image(known.get("base"), known.get("version"))
    names = {name: _own(template, name, known) for name in template.parameters}
    names |= _shared(template, known, run)
    return {
        **names,
        "base": Plain(base),
        "lock": _lock(given.lock),
        "workdir": Plain(run.workdir),
        "enter_user": instructions.user_entry(run),
        "has": lambda name: name in given.there,
        "holds": lambda name, part: part in given.texts.get(name, ""),
        "install": instructions.install,
        "cached": given.features.cache_mounts,
        "cache": _cache(given.features),
        "fail": _fail,
    }


def _own(template: Template, name: str, known: dict[str, Any]) -> object:
    own, value = template.parameters[name], known.get(name)
    if value is None and isinstance(own.default, str) and VERSION in own.default:
        version = known.get("version") or template.version
        if version is None:
            message = f"`{name}` follows the `version`, and there is none beside `base`"
            raise CannotRenderError(message, f"add `{name}: …`")
        value = own.default.replace(VERSION, version)
    if own.type is Kind.WORDS:
        return tuple(map(Plain, value or ()))
    return Plain(value) if own.type in _WORDS and value is not None else value


def _shared(template: Template, known: dict[str, Any], run: Run) -> dict[str, Any]:
    env = known.get(Shared.ENV) or {}
    files = tuple(map(Plain, known.get(Shared.FILES) or ()))
    steps = tuple(known.get(Shared.STEPS) or ())
    return {
        "packages": tuple(map(Plain, known.get(Shared.PACKAGES) or ())),
        "build_packages": tuple(map(Plain, known.get(Shared.BUILD_PACKAGES) or ())),
        "steps": steps,
        "asks_http": run.asks is not None,
        "copy_sources": instructions.copies(files),
        "run_steps": instructions.runs(steps),
        "set_env": pairs("ENV", env),
        "end": instructions.end(
            run, known.get(Shared.LABELS) or {}, template.http_check, template.command
        ),
    }


def _lock(lock: LockView | None) -> object:
    if lock is None:
        return MappingProxyType({"kind": "", "file": Plain(""), "also": (), "hashes": False})
    return MappingProxyType(
        {
            "kind": lock.kind,
            "file": Plain(lock.file),
            "also": tuple(map(Plain, lock.also)),
            "hashes": lock.hashes,
        }
    )


def _cache(features: BuilderFeatures) -> Callable[..., Plain]:
    def cache(*places: str) -> Plain:
        if not features.cache_mounts:
            return Plain("")
        return Plain("".join(f"--mount=type=cache,target={place} " for place in places))

    return cache


def _fail(message: str, hint: str | None = None) -> NoReturn:
    raise CannotRenderError(message, hint)
