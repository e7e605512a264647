"""An image version made once more from its lock record, and compared with what the registry has."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from typing import IO, Any

from docker.errors import APIError

from pipelines.images.build import Building, place_of_failure
from pipelines.images.context import OUTSIDE_DOCKERFILE, BuildContext, read_context
from pipelines.images.exact.bases import find_base, repository_of
from pipelines.images.exact.comparing import (
    Difference,
    config_differences,
    file_differences,
    held,
)
from pipelines.images.exact.compression import decompressed
from pipelines.images.exact.configuration import Layer
from pipelines.images.exact.making import Made, NotExactError
from pipelines.images.exact.recording import recipe_digest
from pipelines.images.exact.shelf import Shelf
from pipelines.images.exact.tars import content_of
from pipelines.images.instructions import renamed
from pipelines.images.pull import ensure_image
from pipelines.images.registry import registry_client
from pipelines.images.session import ImageSession
from pipelines.locks import Base, Exact, Level, Lock
from pipelines.plan import BuildWork
from pipelines.registries.client import RegistryClient
from pipelines.registries.names import Repository
from pipelines.source import Source
from pipelines.values import Value


class Verdict(Value):
    """What came of making a version once more."""

    digest: str
    """Of the manifest that came out now."""
    level: Level
    """What is known of the version from now on."""
    differences: tuple[Difference, ...] = ()
    inputs: tuple[str, ...] = ()
    """Sentences on what went into it and is not as recorded."""

    @property
    def same(self) -> bool:
        """Whether it is the same to the bit."""
        return self.level in (Level.SAME, Level.SAME_ELSEWHERE)


async def verify(
    session: ImageSession,
    shelf: Shelf,
    version: Exact,
    *,
    repository: str,
    source: Source,
    labels: dict[str, str],
    memory: int,
) -> Verdict:
    """Build a version again without cache, on the bases of its record, and compare.

    Args:
        session: The engine, logins and output.
        shelf: An empty one, so that nothing of before is taken for what is made now.
        version: Its digest and record.
        repository: Where the registry has it.
        source: The commit of the record.
        labels: That the image was given.
        memory: Bytes that each container of the build may use.

    Raises:
        NotExactError: It cannot be made again; the message says what is missing.
        RegistryError: A base or the version itself cannot be had.
        SourceError: The commit cannot be read.
        ExecutorUnavailableError: The engine is gone.
    """
    lock = version.lock
    work = BuildWork(
        dockerfile=lock.dockerfile, context=lock.context, target=lock.target, args=lock.args
    )
    context = await session.engine.call(read_context, source, work)
    pinned = {base.name: await _pinned(session, base) for base in lock.bases}
    building = Building(
        session, work, source, _with_bases(context, pinned), memory=memory, fresh=True
    )
    image = await _built(building, work, context)
    try:
        now, made = await building.record(shelf, image, labels)
        differences: tuple[Difference, ...] = ()
        if now.digest != version.digest:
            differences = await _differences(session, shelf, version, repository, made)
    finally:
        with contextlib.suppress(APIError):
            await session.engine.call(session.engine.client.remove_image, image)
    return Verdict(
        digest=now.digest,
        level=_level(version, now, differences),
        differences=differences,
        inputs=tuple(_inputs(lock, now.lock, recipe_digest(work, context))),
    )


async def _built(building: Building, work: BuildWork, context: BuildContext) -> str:
    """The engine's id of what is built anew.

    Raises:
        NotExactError: It does not build.
    """
    await building.prepare()
    log = await building.run()
    if log.error or log.image_id is None:
        told = f"{place_of_failure(work, context, log)}: {' '.join((log.error or '').split())}"
        raise NotExactError(f"it does not build any more: {told}")
    return log.image_id


def _level(version: Exact, now: Exact, differences: Sequence[Difference]) -> Level:
    if now.digest == version.digest:
        alike = now.lock.engine == version.lock.engine
        return Level.SAME if alike else Level.SAME_ELSEWHERE
    return version.lock.level if differences else Level.ALIKE


def _inputs(before: Lock, now: Lock, recipe: str) -> Iterator[str]:
    """What is not as it was: the first place to look where digests differ."""
    if recipe != before.recipe_digest:
        yield "the recipe is not the one recorded: a template may have changed since"
    others = zip(before.bases, now.bases, strict=False)
    for old, new in others:
        if old.image != new.image:
            was, now_is = (each.digest or each.image for each in (old, new))
            yield f"base {old.name} was {was}, and is now {now_is}"
        if (old.layers_from is None) != (new.layers_from is None):
            here, there = ("compressed here", "its registry's own")
            was, now_is = (there, here) if old.layers_from else (here, there)
            yield f"the layers of base {old.name} were {was}, and are now {now_is}"
    if now.normaliser != before.normaliser:
        yield f"layers were written by {before.normaliser}, and are now by {now.normaliser}"
    if now.builder != before.builder:
        yield f"it was built by {before.builder}, and is now by {now.builder}"
    if now.platform != before.platform:
        yield f"it was built for {before.platform}, and is now for {now.platform}"


async def _pinned(session: ImageSession, base: Base) -> str:
    """A name by which the builder gets the very base of the record.

    Raises:
        NotExactError: It is nowhere.
        RegistryError: It cannot be pulled.
    """
    found = await find_base(session, base.name)
    if found is not None and found.base.image == base.image:
        return base.name
    if base.digest is not None:
        name = f"{repository_of(base.name)}@{base.digest}"
        await ensure_image(session, name)
        return name
    if await find_base(session, base.image) is not None:
        return base.image
    raise NotExactError(
        f"its base {base.name} was on the engine alone, as {base.image}, and is there no more: "
        "push bases to a registry, so that their digest can be pulled"
    )


def _with_bases(context: BuildContext, pinned: dict[str, str]) -> BuildContext:
    """The context, with a Dockerfile that names its bases as they are to be had."""
    if all(name == other for name, other in pinned.items()):
        return context
    text = renamed(context.text.decode("utf-8", "surrogateescape"), pinned)
    return context.model_copy(
        update={
            "text": text.encode("utf-8", "surrogateescape"),
            "dockerfile": OUTSIDE_DOCKERFILE,
        }
    )


async def _differences(
    session: ImageSession, shelf: Shelf, version: Exact, repository: str, made: Made
) -> tuple[Difference, ...]:
    """What differs between the registry's image and the one made now."""
    async with registry_client(session, Repository.parse(repository)) as client:
        return await session.ask(lambda: _compared(client, shelf, version, made))


def _compared(
    client: RegistryClient, shelf: Shelf, version: Exact, made: Made
) -> tuple[Difference, ...]:
    found = client.manifest(version.digest)
    if found is None:
        raise NotExactError(f"the registry has no {version.digest} any more to compare with")
    manifest = json.loads(found[0])
    config = client.small_blob(manifest["config"]["digest"])
    ours = {layer.blob.digest for layer in made.layers}
    theirs = {each["digest"] for each in manifest["layers"]}
    with contextlib.ExitStack() as stack:
        before = [
            _theirs(client, shelf, stack, each)
            for each in manifest["layers"]
            if each["digest"] not in ours
        ]
        now = [_ours(shelf, stack, each) for each in made.layers if each.blob.digest not in theirs]
        return (
            *config_differences(config, made.config),
            *file_differences(held(before), held(now)),
        )


def _theirs(
    client: RegistryClient, shelf: Shelf, stack: contextlib.ExitStack, layer: dict[str, Any]
) -> IO[bytes]:
    """A layer of the registry's as a tar."""
    packed, file = (stack.enter_context(shelf.scratch()) for _ in range(2))
    with client.blob(layer["digest"]) as blob:
        shutil.copyfileobj(blob, packed)
    told = hashlib.sha256()
    for piece in content_of(packed):
        told.update(piece)
    if f"sha256:{told.hexdigest()}" != layer["digest"]:
        raise NotExactError(f"the registry gives other bytes for {layer['digest']}")
    file.writelines(decompressed(content_of(packed)))
    return file


def _ours(shelf: Shelf, stack: contextlib.ExitStack, layer: Layer) -> IO[bytes]:
    """A layer made now as a tar."""
    file, packed = stack.enter_context(shelf.scratch()), shelf.blob(layer.blob.digest)
    if packed is None:
        raise NotExactError("the disk has no room for the layers to compare")
    with packed:
        file.writelines(decompressed(content_of(packed)))
    return file
