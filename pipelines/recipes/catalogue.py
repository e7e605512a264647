"""The templates there are: those that come with Lading, and those of an organisation's folder."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from pipelines.problems import LadingError
from pipelines.recipes.rendering import check
from pipelines.recipes.template import Template
from pipelines.values import Value

BUILT_IN = Path(__file__).parent / "templates"
ABOUT = "template.toml"
TEXT = "Dockerfile.j2"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)


class TemplateError(LadingError):
    """A template's folder cannot be used; the message says which, why, and what to do."""


class Catalogue:
    """Templates by name; a catalogue never changes."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._templates = dict(sorted(templates.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self._templates)

    def parameters(self, name: str) -> type[Value]:
        """See `Templates.parameters`."""
        return self._templates[name].model

    def template(self, name: str) -> Template:
        """The template of that name.

        Raises:
            KeyError: There is none.
        """
        return self._templates[name]


@functools.cache
def built_in() -> Catalogue:
    """The templates that come with Lading."""
    return Catalogue(dict(_read_all(BUILT_IN)))


def catalogue(folder: Path | None = None) -> Catalogue:
    """The templates that come with Lading, and those of a folder, which win over these.

    Raises:
        TemplateError: The folder or one of its templates cannot be used.
    """
    if folder is None:
        return built_in()
    shipped = {name: built_in().template(name) for name in built_in().names}
    return Catalogue({**shipped, **dict(_read_all(folder))})


def _read_all(folder: Path) -> Iterator[tuple[str, Template]]:
    try:
        places = sorted(place for place in folder.iterdir() if (place / ABOUT).is_file())
    except OSError as error:
        raise TemplateError(
            f"the folder of templates {folder} cannot be read ({error.strerror}): make it, with a "
            f"folder for each template, or take the setting out"
        ) from error
    for place in places:
        yield place.name, _read(place)


def _read(place: Path) -> Template:
    if _NAME.fullmatch(place.name) is None:
        raise TemplateError(
            f"{place}: a template's folder is named in lower case with letters, digits and `-`"
        )
    try:
        about = tomllib.loads((place / ABOUT).read_text(encoding="utf-8"))
        text = (place / TEXT).read_text(encoding="utf-8")
        template = Template.model_validate({**about, "name": place.name, "text": text})
        template.model.model_json_schema()
        check(template)
    except (OSError, ValueError) as error:
        raise TemplateError(f"{place}: {_told(error)}") from error
    return template


def _told(error: OSError | ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{ABOUT}: {where}: {first['msg']}".replace(": :", ":")
    if isinstance(error, OSError):
        return f"{error.filename} cannot be read: {error.strerror}"
    if isinstance(error, tomllib.TOMLDecodeError | UnicodeDecodeError):
        return f"{ABOUT} is no TOML: {error}"
    return str(error)
