"""The base's layers as its own registry has them, so that nobody needs a second copy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from docker.errors import NotFound
from docker.utils import parse_repository_tag

from pipelines.images.exact.configuration import LAYER, Blob, Layer
from pipelines.images.exact.shelf import Shelf
from pipelines.images.names import registry_of
from pipelines.images.registry import registry_client
from pipelines.images.retries import again
from pipelines.images.session import ImageSession
from pipelines.locks import Base
from pipelines.registries.client import RegistryClient
from pipelines.registries.names import Repository
from pipelines.registries.refusals import RegistryError
from pipelines.values import Value

PATIENCE = 10.0
"""Seconds for which a base's registry is asked again."""
_MEDIA_TYPES = {
    LAYER: LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER,
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
"""What registries have, and how an OCI manifest names it. Others are not for pushing."""


class BaseLayers(Value):
    """What is known of a base's layers, the lowest first."""

    layers: tuple[Layer, ...]


class Found(Value):
    """A base as the engine has it."""

    base: Base
    diff_ids: tuple[str, ...]


async def find_base(session: ImageSession, name: str) -> Found | None:
    """The image that a name means on the engine now; None: it has none of that name."""
    engine = session.engine
    try:
        told = await engine.call(engine.client.inspect_image, name)
    except NotFound:
        return None
    base = Base(name=name, image=str(told["Id"]), digest=_digest(name, told))
    return Found(base=base, diff_ids=tuple(told["RootFS"].get("Layers") or ()))


def repository_of(name: str) -> Repository:
    """Where an image of that name comes from."""
    repository = str(parse_repository_tag(name)[0])
    host = registry_of(name)
    path = repository.removeprefix(f"{host}/").removeprefix("index.docker.io/")
    return Repository.parse(f"{host}/{path}")


def _digest(name: str, told: dict[str, Any]) -> str | None:
    """The digest that it was pulled by from where its name points to."""
    wanted = repository_of(name)
    for each in told.get("RepoDigests") or ():
        repository, _, digest = str(each).partition("@")
        if repository_of(repository) == wanted:
            return digest
    return None


async def base_layers(
    session: ImageSession, shelf: Shelf, base: Base, diff_ids: Sequence[str], platform: str
) -> tuple[Layer, ...] | None:
    """The layers of a base in its registry; None: they cannot be had there.

    A registry that is away must stop no build that the engine could do without it: then they are
    compressed here, and the record says so.

    Raises:
        StoppedError: The step was asked to stop.
    """
    if base.digest is None:
        return None
    key = f"{base.name} {base.digest} {base.image}"
    known = await session.ask(lambda: shelf.noted("bases", key, BaseLayers))
    if known is not None:
        return known.layers
    repository = repository_of(base.name)
    async with registry_client(session, repository) as client:
        try:
            found = await again(
                partial(session.ask, partial(_ask, client, base.digest, diff_ids, platform)),
                backoff=session.backoff.model_copy(update={"within": PATIENCE}),
                say=session.say,
                sleep=session.interruption.sleep,
            )
        except RegistryError as error:
            session.say(f"The layers of {base.name} are compressed here: {error}")
            return None
    if found is not None:
        layers = BaseLayers(layers=found)
        await session.ask(lambda: shelf.note("bases", key, layers))
    return found


def _ask(
    client: RegistryClient, digest: str, diff_ids: Sequence[str], platform: str
) -> tuple[Layer, ...] | None:
    """Read a base's manifest and configuration; None where they are not of those layers."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        manifest = _manifest(client, digest, platform)
        if manifest is None:
            return None
        config = json.loads(client.small_blob(manifest["config"]["digest"]))
        if list(diff_ids) != config["rootfs"]["diff_ids"]:
            return None
        return tuple(
            Layer(
                blob=Blob(
                    media_type=_MEDIA_TYPES[each["mediaType"]],
                    digest=each["digest"],
                    size=each["size"],
                ),
                diff_id=diff_id,
            )
            for each, diff_id in zip(manifest["layers"], diff_ids, strict=True)
        )
    return None


def _manifest(client: RegistryClient, digest: str, platform: str) -> dict[str, Any] | None:
    found = client.manifest(digest)
    told: dict[str, Any] = {} if found is None else json.loads(found[0])
    if "manifests" not in told:
        return told or None
    for each in told["manifests"]:
        its = each.get("platform") or {}
        if "/".join(filter(None, (its.get("os"), its.get("architecture")))) == platform:
            inner = client.manifest(each["digest"])
            return None if inner is None else json.loads(inner[0])
    return None
