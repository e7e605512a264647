"""A pipeline file's text to a definition, or every problem of it at once with line and column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipelines.codes import CODES
from pipelines.definition import tree, words
from pipelines.definition.checks import check
from pipelines.definition.fields import EMPTY, shown
from pipelines.definition.models import DEFAULT_NAME, Definition
from pipelines.definition.recipes import Templates
from pipelines.definition.templated import TEMPLATES
from pipelines.definition.tree import MAX_PROBLEMS, Entries, Items, Mark, Node, Scalar
from pipelines.plan import STAGE_ORDER
from pipelines.problems import Problem, Severity
from pipelines.recipes import built_in
from pipelines.values import Value

SINGLE_FILE = ".lading.yml"
FOLDER = ".lading"
_Place = tuple[int | str, ...]
_SHAPES = {
    "string_type": "a text",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "float_type": "a duration like `30m`",
    "bool_type": "`true` or `false`",
    "int_type": "a size like `512MiB`",
}


class Parsed(Value):
    """What a file says; a definition only where no problem is an error."""

    definition: Definition | None
    problems: tuple[Problem, ...] = ()


def is_pipeline_file(path: str) -> bool:
    """Whether a path of the repository is read as a pipeline: `.lading.yml`, `.lading/*.yml`."""
    parts = PurePosixPath(path)
    return path == SINGLE_FILE or (str(parts.parent) == FOLDER and parts.suffix == ".yml")


def default_name(file: str) -> str:
    """The name of a pipeline that sets none: `web` for `.lading/web.yml`."""
    path = PurePosixPath(file)
    if path.name == SINGLE_FILE:
        return DEFAULT_NAME
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:63] or DEFAULT_NAME


def parse(text: str | bytes, file: str, templates: Templates | None = None) -> Parsed:
    """Read a pipeline file written by a stranger.

    Args:
        text: The whole file; bytes are read as UTF-8.
        file: Its path in the repository, for problems and for the pipeline's name.
        templates: What `template` may name. Default: those that come with Lading.

    Never raises for anything in the text.
    """
    definition, problems = _parse(text, file, templates or built_in())
    told = problems[:MAX_PROBLEMS]
    if any(each.severity is Severity.ERROR for each in told):
        definition = None
    return Parsed(
        definition=definition,
        problems=tuple(each.model_copy(update={"file": file}) for each in told),
    )


def _parse(
    text: str | bytes, file: str, templates: Templates
) -> tuple[Definition | None, list[Problem]]:
    if len(text) > tree.MAX_BYTES:
        hint = "put long commands into a script in the repository"
        return None, [tree.problem("P002", f"more than {tree.MAX_BYTES // 1024} KiB", None, hint)]
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text.lstrip("\ufeff")
    except UnicodeDecodeError as error:
        return None, [_not_utf8(error)]
    root, problems = tree.compose(decoded)
    if root is None:
        return None, problems
    definition, faults = _validate(root, default_name(file), templates)
    # What is wrong between steps comes last: often it only follows from a mistyped key.
    return definition, [*_in_order([*problems, *faults]), *_in_order(check(root))]


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda each: (each.line or 0, each.column or 0))


def _not_utf8(error: UnicodeDecodeError) -> Problem:
    before = error.object[: error.start]
    mark = Mark(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
    return tree.problem("P004", "the file is not UTF-8 text", mark, "save it as UTF-8")


def _validate(
    root: Node, name: str, templates: Templates
) -> tuple[Definition | None, list[Problem]]:
    data = tree.plain(root)
    if data is EMPTY:
        return None, []  # an empty file: the checks say so
    if not isinstance(data, dict):
        return None, [
            tree.problem("P013", "a pipeline is made of keys", root.mark, "`build: {web: {}}`")
        ]
    try:
        return Definition.model_validate({"name": name, **data}, context={TEMPLATES: templates}), []
    except ValidationError as error:
        details = _without_echoes(error.errors(include_url=False))
        placed = sorted(((_mark(root, each), each) for each in details), key=lambda pair: pair[0])
        return None, [_problem(mark, each) for mark, each in placed[:MAX_PROBLEMS]]


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without the keys that are missing only because they stand there in another spelling."""
    unknown = [each["loc"] for each in details if each["type"] == "extra_forbidden"]
    there = {(*loc[:-1], words.meant(_where(loc[:-1]), str(loc[-1]))) for loc in unknown}
    return [each for each in details if each["type"] != "missing" or each["loc"] not in there]


def _mark(root: Node, error: ErrorDetails) -> Mark:
    """Where a person looks: at the key of what is unknown, lacking or large, else at the value."""
    at_key = error["type"] in ("extra_forbidden", "missing") or error["loc"][-1:] == ("[key]",)
    node, key = root, root.mark
    for part in error["loc"]:
        if isinstance(node, Entries) and part in node.entries:
            key, node = node.entries[str(part)]
        elif isinstance(node, Items) and isinstance(part, int):
            node = node.items[part]
            key = node.mark
        # Else the part is pydantic's own ("[key]", a union's tag), or an index into one text.
    return key if at_key or not isinstance(node, Scalar) or node.text is None else node.mark


def _problem(mark: Mark, error: ErrorDetails) -> Problem:
    kind, place, value = error["type"], error["loc"], error["input"]
    if kind in CODES:
        return tree.problem(kind, error["msg"], mark, error.get("ctx", {}).get("hint"))
    if kind == "extra_forbidden":
        return _unknown(mark, place)
    if kind == "missing":
        hint = words.lacking(str(place[-1]))
        return tree.problem("P012", f"{_owner(place)} has no `{place[-1]}`", mark, hint)
    hint = f"it wants {_SHAPES.get(kind, 'a text')}"
    if value is EMPTY:
        return tree.problem("P014", f"{_label(place)} is empty", mark, hint)
    got = "a list" if isinstance(value, list) else "keys" if isinstance(value, dict) else "a text"
    return tree.problem("P013", f"{_label(place)} is {got}", mark, hint)


def _unknown(mark: Mark, place: _Place) -> Problem:
    key = str(place[-1])
    where = _where(place[:-1])
    if words.is_not_yet(where, key):
        return tree.problem("P011", f"`{key}` is not supported yet", mark, "take it out")
    return tree.problem("P010", f"unknown key `{shown(key)}`", mark, words.hint(where, key))


def _where(owner: _Place) -> str:
    """Which of `words.PLACES` the keys below that path belong to."""
    stage = str(owner[0]) if owner and owner[0] in tuple(STAGE_ORDER) else "pipeline"
    within = owner[2:] if stage != "pipeline" else owner
    key = str(within[0]) if within else ""
    if key == "when":
        return _in_when(stage, within)
    if key == "services":
        return _INSIDE_SERVICE.get(str(within[2]), "service") if len(within) > _OWN else "service"
    if key == "run" and stage != "build":
        return stage
    return _INSIDE.get(key, stage)


def _in_when(stage: str, within: _Place) -> str:
    if "path" in within:
        return "path"
    return "step_when" if stage != "pipeline" else "input" if "inputs" in within else "when"


_INSIDE = {
    "approval": "approval",
    "artifacts": "artifacts",
    "cache": "cache",
    "concurrency": "concurrency",
    "env": "secret",
    "image": "image",
    "reports": "reports",
    "resources": "resources",
    "run": "run",
}
"""What the keys below a key of the pipeline or of a step belong to."""
_INSIDE_SERVICE = {"ready": "ready", "env": "secret"}
"""What the keys below a service's own keys belong to."""
_OWN = 2
"""Parts of a path to a service: `services` and its name."""


def _named(place: _Place) -> Sequence[str]:
    return [str(part) for part in place if isinstance(part, str) and part not in _PYDANTICS]


_PYDANTICS = ("[key]", "text", "mapping")
"""Parts that pydantic puts into a path itself. A step of such a name loses a part of its label."""


def _label(place: _Place) -> str:
    return f"`{shown('.'.join(_named(place)))}`"


def _owner(place: _Place) -> str:
    return _label(place[:-1]) if len(place) > 1 else "the pipeline"
