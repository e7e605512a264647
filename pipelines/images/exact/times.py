"""Which time the files of each layer carry.

It must follow from the commit alone: what a layer's files were given while it was built tells when
somebody built it. The commit's own time would do, but then every layer would be another one with
every commit, and a hundred megabytes of dependencies would be pushed and pulled each time. So a
layer carries the time of the last commit that changed something it is made from: the Dockerfile, or
what has been copied from the context so far. That is when its content came to be, no matter from
whose cache the builder takes it, and a layer that stays the same stays the same in the registry.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pipelines.images.instructions import Instruction, Recipe, origins

Changed = Callable[[Sequence[str]], int]
"""Seconds since 1970 at which one of these paths was changed last, as of the commit."""
_ALL = ("/.",)
"""The whole commit, where what a layer is made from cannot be told."""
_WILD = frozenset("*?[$\\")


def layer_times(
    recipe: Recipe,
    target: str | None,
    *,
    history: Sequence[dict[str, Any]],
    below: int,
    dockerfile: str,
    folder: str,
    changed: Changed,
) -> tuple[int, ...]:
    """The time of each layer that the recipe adds, the lowest first.

    Args:
        recipe: The Dockerfile.
        target: The stage that was built; None: the last.
        history: Of the image, the oldest entry first.
        below: How many layers the base has.
        dockerfile: Its path from the repository's root.
        folder: The context, from the repository's root.
        changed: Is asked once for each set of paths.
    """
    made = [entry for entry in history if not entry.get("empty_layer")]
    added = max(0, len(made) - below)
    if not added:
        return ()
    inputs = _inputs(recipe, target, history, added) or [_ALL] * added
    sets = [
        (".",) if some == _ALL else _sorted((dockerfile, *(_place(folder, p) for p in some)))
        for some in inputs
    ]
    known = {some: changed(some) for some in dict.fromkeys(sets)}
    return tuple(known[some] for some in sets)


def _inputs(
    recipe: Recipe, target: str | None, history: Sequence[dict[str, Any]], added: int
) -> list[tuple[str, ...]] | None:
    """What of the context each added layer is made from; None where it cannot be told.

    Each instruction of a builder's has one entry in the history, those of the base come first.
    """
    number = recipe.number(target)
    if number is None:
        return None
    whole = _whole(recipe)
    steps: list[tuple[Instruction, tuple[str, ...]]] = []
    seen: dict[str, None] = {}
    for one in recipe.chain(number):
        for instruction in recipe.stages[one].instructions:
            seen |= dict.fromkeys(_taken(recipe, one, instruction, whole))
            steps.append((instruction, tuple(seen)))
    entries = history[len(history) - len(steps) :] if len(steps) <= len(history) else []
    found = []
    for (instruction, some), entry in zip(steps, entries, strict=False):
        if not _tells_of(entry, instruction):
            return None
        if not entry.get("empty_layer"):
            found.append(some)
    return found if len(found) == added else None


def _tells_of(entry: dict[str, Any], instruction: Instruction) -> bool:
    """Whether a line of the history may be that instruction's."""
    told = str(entry.get("created_by") or "")
    if instruction.word == "RUN":
        return "#(nop)" not in told
    return instruction.word in told.upper()


def _whole(recipe: Recipe) -> list[tuple[str, ...]]:
    """What each stage is made from, with all that it stands on and takes from."""
    whole: list[tuple[str, ...]] = []
    for number, stage in enumerate(recipe.stages):
        below = recipe.earlier(number, stage.base)
        seen = dict.fromkeys(() if below is None else whole[below])
        for instruction in stage.instructions:
            seen |= dict.fromkeys(_taken(recipe, number, instruction, whole))
        whole.append(tuple(seen))
    return whole


def _taken(
    recipe: Recipe, number: int, instruction: Instruction, whole: Sequence[tuple[str, ...]]
) -> Iterator[str]:
    """Paths in the context that an instruction of a stage takes something from."""
    sources = list(origins(instruction))
    for name in sources:
        earlier = recipe.earlier(number, name)
        if earlier is not None:
            yield from whole[earlier]
    if instruction.word in ("COPY", "ADD") and not sources:
        yield from instruction.words[:-1]
    if instruction.word == "RUN" and _binds_context(instruction):
        yield "."


def _binds_context(instruction: Instruction) -> bool:
    mounts = [value.split(",") for name, value in instruction.flags if name == "mount"]
    return any(
        ("type=bind" in each or not any(part.startswith("type=") for part in each))
        and not any(part.startswith("from=") for part in each)
        for each in mounts
    )


def _place(folder: str, path: str) -> str:
    """A path in the context from the repository's root; one with a pattern is its folder."""
    parts = []
    for part in posixpath.normpath("/" + path).strip("/").split("/"):
        if _WILD & set(part):
            break
        parts.append(part)
    return posixpath.normpath(posixpath.join(folder, *parts)) if parts else folder


def _sorted(paths: Iterable[str]) -> tuple[str, ...]:
    found = set(paths)
    return (".",) if "." in found else tuple(sorted(found))
