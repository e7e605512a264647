"""Images in their one form into registries, by our own hands."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import IO

from docker.errors import NotFound

from pipelines.crashing import reach
from pipelines.images.exact.bases import base_layers, repository_of
from pipelines.images.exact.configuration import MANIFEST, Blob, config_blob
from pipelines.images.exact.making import Image, Made, NotExactError, layer_again, make
from pipelines.images.exact.shelf import Shelf
from pipelines.images.registry import registry_client
from pipelines.images.retries import again
from pipelines.images.session import ImageSession
from pipelines.locks import Base, Exact
from pipelines.plan import PushWork
from pipelines.progress import Pushed
from pipelines.registries.client import RegistryClient
from pipelines.registries.names import Repository
from pipelines.registries.refusals import RegistryError


async def push_exact(
    session: ImageSession, shelf: Shelf, work: PushWork, exact: Exact, labels: Mapping[str, str]
) -> Pushed:
    """Push an image under each tag; its digest is the one that the build told.

    Raises:
        RegistryError: It was refused.
        NotExactError: What the engine has gives another digest now.
        ExecutorUnavailableError: The engine is gone.
        StoppedError: The step was asked to stop.
    """
    image = await image_of(session, shelf, exact)
    lock = exact.lock
    made = await make(
        session,
        shelf,
        image,
        times=lambda _: lock.layer_times,
        created=lock.created,
        labels=labels,
    )
    if made.digest != exact.digest:
        raise NotExactError(
            f"the image that was built as {exact.digest} would be pushed as {made.digest}: "
            "Lading was upgraded in between, or its base's registry has changed; run again"
        )
    carry = partial(_carry, session, shelf, work, image=image, made=made, base=_base(exact))
    try:
        await carry()
    except RegistryError as error:
        if not await session.mended(work.repository, error):
            raise
        await carry()
    session.say(f"{work.repository}@{exact.digest}")
    return Pushed(
        repository=work.repository,
        digest=exact.digest,
        size=exact.size,
        tags=work.tags,
        lock=lock,
    )


async def _carry(
    session: ImageSession,
    shelf: Shelf,
    work: PushWork,
    *,
    image: Image,
    made: Made,
    base: Base | None,
) -> None:
    """Push under each tag, with the login as it is now."""
    target = Repository.parse(work.repository)
    async with registry_client(session, target) as client:
        if base is not None and repository_of(base.name).host == target.host:
            client.takes_from(repository_of(base.name))
        errand = _Errand(session, shelf, client, image=image, made=made, base=base)
        for tag in work.tags:
            session.interruption.check()
            session.say(f"Pushing {work.repository}:{tag}")
            await again(
                partial(errand.push, target, tag),
                backoff=session.backoff,
                say=session.say,
                sleep=session.interruption.sleep,
                endless=True,
            )


async def image_of(session: ImageSession, shelf: Shelf, exact: Exact) -> Image:
    """What the engine has of an image that was made before.

    Raises:
        NotExactError: Nothing any more.
    """
    try:
        told = await session.engine.call(session.engine.client.inspect_image, exact.image)
    except NotFound as error:
        message = f"image {exact.image} is on the engine no more: run again with its build"
        raise NotExactError(message) from error
    diff_ids = tuple(told["RootFS"].get("Layers") or ())
    below = len(diff_ids) - len(exact.lock.layer_times)
    base, platform = _base(exact), exact.lock.platform
    layers = None
    if base is not None and base.layers_from is not None:
        layers = await base_layers(session, shelf, base, diff_ids[:below], platform)
    return Image(image=exact.image, diff_ids=diff_ids, below=below, base_layers=layers)


def _base(exact: Exact) -> Base | None:
    """The base whose layers are the lowest."""
    return next((each for each in exact.lock.bases if each.name == exact.lock.base), None)


class _Errand:
    """One image on its way to one registry; remembers what has arrived."""

    def __init__(
        self,
        session: ImageSession,
        shelf: Shelf,
        client: RegistryClient,
        *,
        image: Image,
        made: Made,
        base: Base | None,
    ) -> None:
        self._session = session
        self._shelf = shelf
        self._client = client
        self._image = image
        self._made = made
        self._base = base
        self._arrived: set[str] = set()

    async def push(self, target: Repository, tag: str) -> None:
        """Send what the registry lacks, and put the manifest under a tag.

        Raises:
            RegistryError: It was refused, or broke off.
        """
        self._client.doing(f"push of {target}:{tag}")
        made = self._made
        config = config_blob(made.config)
        for number, layer in enumerate(made.layers):
            await self._layer(target, layer.blob, of_base=number < self._image.below)
        if not await self._there(config):
            await self._send(config, io.BytesIO(made.config))
        await self._session.ask(partial(self._client.put_manifest, tag, made.manifest, MANIFEST))

    async def _layer(self, target: Repository, blob: Blob, *, of_base: bool) -> None:
        if await self._there(blob):
            return
        if of_base and self._image.base_layers is not None and self._base is not None:
            await self._from_base(target, blob, repository_of(self._base.name))
            return
        file = self._shelf.blob(blob.digest)
        if file is None:
            await layer_again(self._session, self._shelf, self._image, self._made, blob)
            file = self._shelf.blob(blob.digest)
        if file is None:
            raise NotExactError(f"no room is left for layer {blob.digest}: run again")
        with file:
            await self._send(blob, file)

    async def _from_base(self, target: Repository, blob: Blob, origin: Repository) -> None:
        """A base's layer: by name within a registry, else through us."""
        session = self._session
        mount = partial(self._client.mount_blob, blob.digest, origin)
        if origin.host == target.host and await session.ask(mount):
            self._tell(blob, f"Mounted from {origin.path}")
            return
        async with registry_client(session, origin) as other:

            def copy() -> None:
                check = session.interruption.check
                with other.blob(blob.digest) as file:
                    self._client.put_blob(blob.digest, blob.size, file, check)

            await session.ask(copy)
        self._tell(blob, f"Copied from {origin}")

    async def _there(self, blob: Blob) -> bool:
        if blob.digest in self._arrived:
            return True
        if await self._session.ask(partial(self._client.has_blob, blob.digest)):
            self._tell(blob, "Already there")
            return True
        return False

    async def _send(self, blob: Blob, file: IO[bytes]) -> None:
        check = self._session.interruption.check
        file.seek(0)
        await self._session.ask(partial(self._client.put_blob, blob.digest, blob.size, file, check))
        self._tell(blob, "Pushed")

    def _tell(self, blob: Blob, what: str) -> None:
        self._arrived.add(blob.digest)
        self._session.say(f"{blob.digest[7:19]}: {what}")
        reach("push.sent")
