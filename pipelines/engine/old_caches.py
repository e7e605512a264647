"""Caches of steps that go: for their age, or because all of them together are too large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from pipelines.engine.caches import LABEL
from pipelines.engine.client import Client
from pipelines.engine.leftovers import quietly
from pipelines.values import Value


class OldCache(Value):
    """One volume of a cache."""

    volume: str
    name: str
    """For people: `pip of acme/web`."""
    size: int
    """Bytes; 0 where the engine does not tell."""
    written_at: float
    """Seconds since 1970."""

    def __str__(self) -> str:
        """What people know it by."""
        return self.name


def old_caches(
    volumes: Iterable[Mapping[str, Any]], server: str, *, before: float, room: int
) -> tuple[OldCache, ...]:
    """The caches of a server that may go, the youngest first.

    Args:
        volumes: As the engine's list or its account of disk usage has them.
        server: Whose.
        before: Seconds since 1970; what was written earlier goes.
        room: Bytes that may stay; the oldest go first.
    """
    ours = [_read(volume) for volume in volumes if _is_of(volume, server)]
    old, kept = [], 0
    for cache in sorted(ours, key=lambda cache: -cache.written_at):
        kept += cache.size
        if cache.written_at < before or kept > room:
            old.append(cache)
    return tuple(old)


def remove_caches(client: Client, caches: Iterable[OldCache]) -> None:
    """Take them away; one that a step reads or writes just now stays. Blocking."""
    for cache in caches:
        quietly(partial(client.remove_volume, cache.volume))


def remove_old_caches(client: Client, servers: str, *, before: float) -> None:
    """Take away what servers whose names begin so wrote before that time. Blocking."""
    found: list[dict[str, Any]] = client.volumes(filters={"label": LABEL})["Volumes"] or []
    named = {str((volume.get("Labels") or {}).get("lading.server", "")) for volume in found}
    for server in sorted(name for name in named if name.startswith(servers)):
        remove_caches(client, old_caches(found, server, before=before, room=2**63))


def _is_of(volume: Mapping[str, Any], server: str) -> bool:
    labels = volume.get("Labels") or {}
    return LABEL in labels and labels.get("lading.server") == server


def _read(volume: Mapping[str, Any]) -> OldCache:
    labels, usage = volume["Labels"], volume.get("UsageData") or {}
    key, repository = labels.get(f"{LABEL}.key", ""), labels.get("lading.repository", "")
    return OldCache(
        volume=str(volume["Name"]),
        name=f"{key} of {repository}",
        size=max(int(usage.get("Size") or 0), 0),
        written_at=_when(volume.get("CreatedAt")),
    )


def _when(created: object) -> float:
    """Engines write the time with seconds or finer; one that cannot be read counts as old."""
    try:
        return datetime.fromisoformat(str(created)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
