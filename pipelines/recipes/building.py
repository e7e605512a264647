"""The builds of a definition that name a template, rendered."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.definition.models import Definition, Templated
from pipelines.problems import DefinitionInvalidError, Problem
from pipelines.recipes.catalogue import Catalogue
from pipelines.recipes.looking import MAX_BUILDS, Files, Lock, beside, lock_of, templated
from pipelines.recipes.parameters import Kind
from pipelines.recipes.rendering import (
    BuilderFeatures,
    CannotRenderError,
    Given,
    LockView,
    render,
)
from pipelines.recipes.template import Template
from pipelines.values import Value


class Rendered(Value):
    """The Dockerfile of one build."""

    template: str
    text: str
    files: tuple[str, ...] = ()
    """The paths of the context that are sent to the builder; empty: all of it."""


def render_builds(
    definition: Definition,
    catalogue: Catalogue,
    files: Files,
    features: BuilderFeatures | None = None,
) -> Mapping[str, Rendered]:
    """The Dockerfile of each build that names a template, by the build's name.

    Raises:
        DefinitionInvalidError: One cannot be rendered for these files.
    """
    count = len(templated(definition))
    if count > MAX_BUILDS:
        message = f"{count} builds of templates; one pipeline may have {MAX_BUILDS}"
        hint = "split it into several files in `.lading/`"
        raise DefinitionInvalidError([Problem(code="P083", message=message, hint=hint)])
    usual = features or BuilderFeatures()
    made: dict[str, Rendered] = {}
    problems: list[Problem] = []
    for name, build in definition.build.items():
        if not isinstance(build, Templated):
            continue
        try:
            made[name] = _render(build, catalogue.template(build.template), files, usual)
        except (CannotRenderError, LookupError, ValueError) as error:
            problems.append(_problem(name, build, error))
    if problems:
        raise DefinitionInvalidError(problems)
    return made


def _render(
    build: Templated, template: Template, files: Files, features: BuilderFeatures
) -> Rendered:
    parameters = {
        name: getattr(build.parameters, name) for name in type(build.parameters).model_fields
    }
    lock = lock_of(build, template, files)
    asked = (*template.look_for, *template.read)
    given = Given(
        parameters=parameters,
        lock=_view(lock),
        there=frozenset(name for name in asked if beside(build.context, name) in files.paths),
        texts={name: files.texts.get(beside(build.context, name), "") for name in template.read},
        features=features,
    )
    text = f"# Written by Lading from the template {template.name}.\n" + render(template, given)
    return Rendered(
        template=template.name, text=text, files=_sent(template, parameters, lock, given)
    )


def _view(lock: Lock | None) -> LockView | None:
    if lock is None:
        return None
    return LockView(kind=lock.rule.kind, file=lock.file, also=lock.also, hashes=lock.hashes)


def _sent(
    template: Template, parameters: Mapping[str, object], lock: Lock | None, given: Given
) -> tuple[str, ...]:
    """What the Dockerfile copies, where `files` says that it is not all."""
    files = parameters.get("files")
    if not isinstance(files, tuple) or not files:
        return ()
    own = (
        str(parameters[name])
        for name, each in template.parameters.items()
        if each.type is Kind.PATH and parameters.get(name) is not None
    )
    locked = (lock.file, *lock.also) if lock else ()
    return tuple(dict.fromkeys((*files, *locked, *sorted(given.there), *own)))


def _problem(name: str, build: Templated, error: Exception) -> Problem:
    hint = error.hint if isinstance(error, CannotRenderError) else None
    message = f"`build.{name}` cannot be made of the template {build.template}: {error}"
    if isinstance(error, LookupError):
        named = getattr(build.parameters, "dependencies", None)
        message = f"`build.{name}`: `dependencies: {named}` {error.args[0]}"
        hint = "commit the lock file, and name it from the context"
    return Problem(code="P073", message=message, hint=hint)
