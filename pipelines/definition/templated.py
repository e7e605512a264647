"""`build.<name>` with a template: its keys, read as that template's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from pipelines.definition import fields as f
from pipelines.definition.recipes import Path, Templates
from pipelines.values import Value

TEMPLATES = "templates"
"""Under which name validation is given the templates."""
_OWN = frozenset({"template", "context"})
_DOCKERFILES = frozenset({"dockerfile", "target", "args"})


class _Where(Value):
    context: Path = "."


def read(value: Mapping[str, Any], context: Mapping[str, Any] | None) -> tuple[str, Value]:
    """The folder of the sources, and the parameters as the template's model has them.

    Args:
        value: The keys of the build, `template` among them.
        context: Validation's, with the templates there are.

    Raises:
        ValidationError: Everything that is wrong, each with its place.
    """
    templates: Templates = (context or {})[TEMPLATES]
    name = value["template"]
    if not isinstance(name, str) or name not in templates.names:
        raise _all([_unknown(name, templates)])
    model = templates.parameters(name)
    given = {key: each for key, each in value.items() if key not in _OWN}
    wrong = [
        _stray(key, each, name, model) for key, each in given.items() if key not in _known(model)
    ]
    given = {key: each for key, each in given.items() if key in _known(model)}
    folder, faults = _tried(_Where, {k: v for k, v in value.items() if k == "context"})
    parameters, more = _tried(model, given)
    wrong += [*faults, *more]
    if wrong or parameters is None or not isinstance(folder, _Where):
        raise _all(wrong)
    return folder.context, parameters


def _known(model: type[Value]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _unknown(name: object, templates: Templates) -> InitErrorDetails:
    told = f"there are {', '.join(templates.names)}"
    if not isinstance(name, str):
        error = f.failed("P070", "`template` is no name", told)
    else:
        hint = f.near(name, templates.names) or told
        error = f.failed("P070", f"there is no template `{f.shown(name)}`", hint)
    return InitErrorDetails(type=error, loc=("template",), input=name)


def _stray(key: str, value: object, name: str, model: type[Value]) -> InitErrorDetails:
    if key in _DOCKERFILES:
        message = f"`{key}` goes with a Dockerfile, and `template` writes one"
        error = f.failed("P071", message, "take one of the two out")
    else:
        known = _known(model)
        hint = f.near(key, known) or f"the template {name} takes {', '.join(known)}"
        error = f.failed("P010", f"unknown key `{f.shown(key)}`", hint)
    return InitErrorDetails(type=error, loc=(key, "[key]"), input=value)


def _tried(
    model: type[Value], given: Mapping[str, Any]
) -> tuple[Value | None, list[InitErrorDetails]]:
    try:
        return model.model_validate(given), []
    except ValidationError as error:
        return None, [_again(each) for each in error.errors(include_url=False)]


def _again(error: ErrorDetails) -> InitErrorDetails:
    """An error as it can be raised anew, with code and hint or with pydantic's own words."""
    told = error.get("ctx", {})
    kind: str | PydanticCustomError = error["type"]
    if "hint" in told:
        words = {"text": error["msg"], "hint": told["hint"]}
        kind = PydanticCustomError(error["type"], "{text}", words)
    details = InitErrorDetails(type=kind, loc=error["loc"], input=error["input"])
    if isinstance(kind, str) and told:
        details["ctx"] = told
    return details


def _all(errors: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("build", errors)
