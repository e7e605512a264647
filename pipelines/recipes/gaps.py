"""The gaps of a template's text, filled.

Jinja in its sandbox, and stricter: what `{{ … }}` gives must be a value that was checked to be one
plain word, or an instruction that `spelling` and `instructions` have written. So a template cannot
put a stranger's text where it would be read as more than a text, even by mistake.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipelines.recipes.spelling import Plain, array, joined, quoted, shell


def fill(text: str, names: Mapping[str, object]) -> str:
    """The text with its gaps filled; errors that the names' own functions raise go through.

    Raises:
        ValueError: It is no template, or wants to fill a gap with what nobody has checked.
    """
    try:
        return _compiled(text).render(names)
    except (jinja2.TemplateError, TypeError, OverflowError) as error:
        raise ValueError(f"Dockerfile.j2{_line(error)}: {error}") from error


def check(text: str) -> None:
    """Read a template's text, so that what is none is told before anybody uses it.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        _environment().parse(text)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"Dockerfile.j2 line {error.lineno}: {error.message}") from error


@functools.lru_cache(maxsize=64)
def _compiled(text: str) -> jinja2.Template:
    return _environment().from_string(text)


def _line(error: Exception) -> str:
    return f" line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        finalize=_checked,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        keep_trailing_newline=True,
    )
    environment.filters.update({"shell": shell, "array": array, "quoted": quoted, "joined": joined})
    return environment


def _checked(value: object) -> object:
    if isinstance(value, jinja2.Undefined | Plain) or type(value) is int:
        return value
    raise TypeError(
        "a text that nobody has checked: give it through `shell`, `array`, `quoted` or `joined`"
    )
