"""What builds leave on an engine for the next build, and taking away what nobody has used lately.

The classic builder's cache is images: those without a name, and the `latest` of each build, which
keeps its layers. BuildKit has a store of its own. Whatever a container or an attempt still needs is
kept by the engine or by its tag.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from docker.errors import APIError, NotFound

from pipelines.engine.client import Client
from pipelines.engine.containers import Attempt, image_repository
from pipelines.engine.leftovers import quietly
from pipelines.engine.old_caches import OldCache, old_caches, remove_caches
from pipelines.values import Value

_NOT_THERE = (400, 404, 405, 500, 501)
"""What engines without BuildKit answer when asked to prune its cache."""


class OldImage(Value):
    """An image that only the next build might want."""

    id: str
    names: tuple[str, ...]
    """None: it is nobody's any more."""
    size: int
    """Bytes that are in no other image."""
    used_at: float
    """Seconds since 1970: when it was made, or got its name anew from a later build."""

    def __str__(self) -> str:
        """Its name, or its id."""
        return ", ".join(self.names) or self.id.removeprefix("sha256:")[:12]


class Unused(Value):
    """What may go."""

    images: tuple[OldImage, ...]
    cache: int
    """Bytes of BuildKit's cache."""
    caches: tuple[OldCache, ...] = ()
    """Of steps."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        images = sum(image.size for image in self.images)
        return self.cache + images + sum(cache.size for cache in self.caches)


def find_unused(
    client: Client,
    repositories: Collection[str],
    *,
    before: float,
    room: int,
    server: str = "",
) -> Unused:
    """What nobody has used since `before`, and what is too much for `room`. Blocking.

    Args:
        client: The engine's client.
        repositories: Full names of the repositories whose builds are ours to remove.
        before: Seconds since 1970.
        room: Bytes that may stay; the oldest go first.
        server: Whose steps' caches are looked at; empty: nobody's.
    """
    ours = tuple(_prefix(name) for name in repositories)
    usage = client.df()
    images = sorted(_images(client, usage, ours), key=lambda image: -image.used_at)
    old, kept = [], 0
    for image in images:
        kept += image.size
        if image.used_at < before or kept > room:
            old.append(image)
    caches = old_caches(usage.get("Volumes") or (), server, before=before, room=room)
    cache = _unused_cache(usage, before=before, room=room)
    return Unused(images=tuple(old), cache=cache, caches=caches)


def remove_unused(client: Client, unused: Unused, *, seconds: float, room: int) -> None:
    """Take it away; what is in use by now stays. Blocking.

    Args:
        client: The engine's client.
        unused: What was found.
        seconds: How long ago BuildKit's cache must have been used last.
        room: Bytes of it that may stay.
    """
    for image in reversed(unused.images):
        # Without its name it goes, and so do the unnamed layers that only it was made of.
        for name in image.names or (image.id,):
            quietly(partial(client.remove_image, name))
    remove_caches(client, unused.caches)
    if unused.cache:
        _prune(lambda: client.prune_builds({"until": f"{max(seconds, 1):.0f}s"}, all=True))
        _prune(lambda: client.prune_builds(keep_storage=room, all=True))


def _prefix(repository: str) -> str:
    """How the names of a repository's built images begin: `lading/acme-web-1f2e3d/`."""
    attempt = Attempt(server="", run="", attempt=1, repository=repository)
    return image_repository(attempt, "x").removesuffix("x")


def _images(client: Client, usage: Mapping[str, Any], ours: tuple[str, ...]) -> Iterator[OldImage]:
    for image in usage.get("Images") or ():
        names = tuple(name for name in image.get("RepoTags") or () if name != "<none>:<none>")
        if names and not all(_is_cache(name, ours) for name in names):
            continue
        shared = max(int(image.get("SharedSize") or 0), 0)
        used_at = float(image["Created"])
        if names:
            used_at = max(used_at, _tagged_at(client, str(image["Id"])))
        size = max(int(image["Size"]) - shared, 0)
        yield OldImage(id=str(image["Id"]), names=names, size=size, used_at=used_at)


def _is_cache(name: str, ours: tuple[str, ...]) -> bool:
    """Whether a name only keeps a build's layers; another tag keeps an image for its attempt."""
    return name.startswith(ours) and name.endswith(":latest")


def _tagged_at(client: Client, image: str) -> float:
    try:
        found = client.inspect_image(image)  # type: ignore[no-untyped-call]
        return datetime.fromisoformat(found["Metadata"]["LastTagTime"]).timestamp()
    except (NotFound, KeyError, TypeError, ValueError, OverflowError):
        return 0.0  # gone meanwhile, or an engine that does not tell


def _unused_cache(usage: Mapping[str, Any], *, before: float, room: int) -> int:
    entries = [entry for entry in usage.get("BuildCache") or () if not entry.get("InUse")]
    ages = [(_used(entry), int(entry.get("Size") or 0)) for entry in entries]
    unused, kept = 0, 0
    for used_at, size in sorted(ages, reverse=True):
        kept += size
        if used_at < before or kept > room:
            unused += size
    return unused


def _used(entry: Mapping[str, Any]) -> float:
    at = entry.get("LastUsedAt") or entry.get("CreatedAt")
    return datetime.fromisoformat(str(at)).timestamp() if at else 0.0


def _prune(prune: Callable[[], object]) -> None:
    try:
        prune()
    except APIError as error:
        if error.status_code not in _NOT_THERE:
            raise
