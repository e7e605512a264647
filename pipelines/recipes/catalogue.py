"""The templates there are: those that come with Lading, and those of an organisation's folder."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from pipelines.problems import LadingError
from pipelines.recipes.template import Template
from pipelines.values import Value

BUILT_IN = Path(__file__).parent / "templates"
ABOUT = "template.toml"
TEXT = "Dockerfile.j2"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)


class TemplateError(LadingError):
    """A template's folder cannot be used; the message says which, why, and what to do."""


class Catalogue:
    """Templates by name; a catalogue never changes.

    Args:
        places: The folder of each; it is read when somebody asks for the template.
    """

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = dict(sorted(places.items()))
        self._templates: dict[str, Template] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self._places)

    def parameters(self, name: str) -> type[Value]:
        """See `Templates.parameters`."""
        return self.template(name).model

    def template(self, name: str) -> Template:
        """The template of that name.

        Raises:
            KeyError: There is none.
        """
        if name not in self._templates:
            self._templates[name] = _read(self._places[name])
        return self._templates[name]


@functools.cache
def built_in() -> Catalogue:
    """The templates that come with Lading."""
    return Catalogue(_places(BUILT_IN))


def catalogue(folder: Path | None = None) -> Catalogue:
    """The templates that come with Lading, and those of a folder, which win over these.

    Raises:
        TemplateError: The folder or one of its templates cannot be used.
    """
    if folder is None:
        return built_in()
    own = _places(folder)
    both = Catalogue({**_places(BUILT_IN), **own})
    for name in own:
        _check(folder / name, both.template(name))
    return both


def _places(folder: Path) -> dict[str, Path]:
    try:
        places = sorted(place for place in folder.iterdir() if (place / ABOUT).is_file())
    except OSError as error:
        raise TemplateError(
            f"the folder of templates {folder} cannot be read ({error.strerror}): make it, with a "
            f"folder for each template, or take the setting out"
        ) from error
    return {place.name: place for place in places}


def _check(place: Path, template: Template) -> None:
    """Everything that can be wrong with somebody's template, before anybody uses it."""
    from pipelines.recipes.gaps import check

    try:
        template.model.model_json_schema()
        check(template.text)
    except ValueError as error:
        raise TemplateError(f"{place}: {_told(error)}") from error


def _read(place: Path) -> Template:
    if _NAME.fullmatch(place.name) is None:
        raise TemplateError(
            f"{place}: a template's folder is named in lower case with letters, digits and `-`"
        )
    try:
        about = tomllib.loads((place / ABOUT).read_text(encoding="utf-8"))
        text = (place / TEXT).read_text(encoding="utf-8")
        return Template.model_validate({**about, "name": place.name, "text": text})
    except (OSError, ValueError) as error:
        raise TemplateError(f"{place}: {_told(error)}") from error


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
