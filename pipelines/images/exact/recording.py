"""The lock record of a build, and its image in the one form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.images.context import BuildContext
from pipelines.images.exact.bases import Found, base_layers, find_base
from pipelines.images.exact.making import Image, Made, make, normaliser
from pipelines.images.exact.shelf import Shelf
from pipelines.images.exact.times import layer_times
from pipelines.images.instructions import Recipe, read_recipe
from pipelines.images.session import ImageSession
from pipelines.locks import Base, Exact, Lock
from pipelines.plan import BuildWork
from pipelines.source import Source
from pipelines.values import Value


class Build(Value):
    """A build that went well, and what went into it."""

    image: str
    """The engine's id of what came out."""
    work: BuildWork
    context: BuildContext
    context_digest: str
    sha: str
    created: int
    """Seconds since 1970: the commit's own time."""
    bases: tuple[Found, ...]
    """As they were when the build began, the order of the Dockerfile."""


class Counted:
    """Bytes on their way, and their digest once they are through."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._told = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._told.update(piece)
            yield piece

    @property
    def digest(self) -> str:
        """Of all that came through."""
        return f"sha256:{self._told.hexdigest()}"


async def find_bases(session: ImageSession, recipe: Recipe) -> tuple[Found, ...]:
    """The images that a recipe names, as far as the engine has them."""
    found = [await find_base(session, name) for name in recipe.images()]
    return tuple(each for each in found if each is not None)


async def record(
    session: ImageSession,
    shelf: Shelf,
    build: Build,
    source: Source,
    labels: Mapping[str, str],
) -> tuple[Exact, Made]:
    """Bring what was built into its one form, and write down what it was made from.

    Raises:
        NotExactError: It cannot be brought there.
        SourceError: The commit cannot be read.
        StoppedError: The step was asked to stop.
    """
    recipe = read_recipe(build.context.text.decode(errors="replace"), build.work.args)
    image, below, platform = await _found(session, shelf, build, recipe)

    def times(config: Mapping[str, Any]) -> Sequence[int]:
        return layer_times(
            recipe,
            build.work.target,
            history=config.get("history") or (),
            below=image.below,
            dockerfile=build.work.dockerfile,
            folder=build.context.folder,
            changed=lambda paths: int(source.changed_at(paths).timestamp()),
        )

    made = await make(session, shelf, image, times=times, created=build.created, labels=labels)
    theirs = below.base.name if below is not None and image.base_layers is not None else None
    lock = Lock(
        commit=build.sha,
        created=build.created,
        dockerfile=build.work.dockerfile,
        context=build.context.folder,
        target=build.work.target,
        args=build.work.args,
        recipe_digest=recipe_digest(build.work, build.context),
        context_digest=build.context_digest,
        bases=tuple(_with_layers(each.base, theirs) for each in build.bases),
        base=None if below is None else below.base.name,
        platform=platform,
        builder=await _builder(session),
        engine=session.engine.identity,
        normaliser=normaliser(),
        layer_times=made.times,
    )
    size = len(made.manifest)
    return Exact(digest=made.digest, size=size, image=build.image, lock=lock), made


async def _found(
    session: ImageSession, shelf: Shelf, build: Build, recipe: Recipe
) -> tuple[Image, Found | None, str]:
    """What the builder left on the engine, the base below it, and its platform."""
    engine = session.engine
    told = await engine.call(engine.client.inspect_image, build.image)
    platform = f"{told['Os']}/{told['Architecture']}"
    diff_ids = tuple(told["RootFS"].get("Layers") or ())
    below = _below(build, recipe, diff_ids)
    layers = None
    if below is not None:
        layers = await base_layers(session, shelf, below.base, below.diff_ids, platform)
    image = Image(
        image=build.image,
        diff_ids=diff_ids,
        below=0 if below is None else len(below.diff_ids),
        base_layers=layers,
    )
    return image, below, platform


def _below(build: Build, recipe: Recipe, diff_ids: Sequence[str]) -> Found | None:
    """The base whose layers are the image's lowest."""
    name = recipe.base(build.work.target)
    for each in build.bases:
        if each.base.name == name and diff_ids[: len(each.diff_ids)] == each.diff_ids:
            return each
    return None


def _with_layers(base: Base, theirs: str | None) -> Base:
    """The base, with where its layers are from if it is the one whose are the registry's own."""
    return base.model_copy(update={"layers_from": base.name}) if base.name == theirs else base


def recipe_digest(work: BuildWork, context: BuildContext) -> str:
    """Of the Dockerfile's text, the arguments and the target."""
    text = context.text.decode(errors="replace")
    whole = json.dumps([text, sorted(work.args.items()), work.target])
    return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"


async def _builder(session: ImageSession) -> str:
    client = session.engine.client
    told = await session.engine.call(client.version)
    return f"engine {told.get('Version', 'unknown')}, classic builder"
