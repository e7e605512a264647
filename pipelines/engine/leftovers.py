"""What attempts have on the engine, found by label: to go on with, or to remove."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from docker.errors import APIError, NotFound

from pipelines.crashing import reach
from pipelines.engine.client import Client
from pipelines.engine.containers import Attempt, attempt_tag, label_prefix, tag_prefix
from pipelines.values import Value

_CONFLICT = 409
_FORBIDDEN = 403
"""What engines say of a network that a container is in."""
_NOT_FOUND = 404
_LABELLING = 60.0
"""Seconds."""


def remove_attempt(client: Client, attempt: Attempt, *, keep_images: bool = False) -> None:
    """Remove all that one attempt made, perhaps but its images. Blocking; quiet if it is gone."""
    filters = attempt.filters()
    for container in client.containers(all=True, filters=filters):
        _remove_container(client, str(container["Id"]))
    reach("engine.clearing")
    for volume in client.volumes(filters=filters)["Volumes"] or []:
        quietly(partial(client.remove_volume, volume["Name"], force=True))
    for network in client.networks(filters=filters):
        remove_network(client, str(network["Id"]))
    if not keep_images:
        _untag(client, _tags(client, lambda tag: tag == attempt_tag(attempt)))


def started_steps(
    client: Client, attempt: Attempt, tries: Mapping[str, int] = MappingProxyType({})
) -> dict[str, str]:
    """The containers, by step, of one attempt that were started, or are about to be. Blocking.

    Args:
        client: The engine's client.
        attempt: Whose steps.
        tries: By step, at which try it is; 1 where it is not named. What is left of another try
            is none that goes on.
    """
    found = client.containers(all=True, filters=attempt.filters())
    return {
        container["Labels"]["lading.step"]: str(container["Id"])
        for container in found
        if _is_of(container["Labels"], tries) and _was_started(client, container)
    }


def _is_of(labels: Mapping[str, str], tries: Mapping[str, int]) -> bool:
    """Whether a container is that of a step's commands, at their present try."""
    step = labels.get("lading.step")
    if step is None or "lading.service" in labels:
        return False
    return labels.get("lading.try", "1") == str(tries.get(step, 1))


def _was_started(client: Client, listed: Mapping[str, Any]) -> bool:
    """Whether a container was started; the engine's list may still call one `created` that runs.

    The look at the container itself waits for a start that an earlier process has asked for.
    """
    if listed["State"] != "created":
        return True
    try:
        found = client.inspect_container(str(listed["Id"]))
    except NotFound:
        return False
    return bool(found["State"]["Status"] != "created")


class OnEngine(Value):
    """What attempts of a server have on the engine, whether they run or are over."""

    containers: Mapping[str, tuple[str, int]]
    """Ids, and whose they are: (run, attempt)."""
    volumes: Mapping[str, tuple[str, int]]
    networks: Mapping[str, tuple[str, int]]
    tags: tuple[str, ...]
    unlabelled: tuple[str, ...]
    """Containers in which images got their labels, long ago."""


def find_leftovers(client: Client, server: str) -> OnEngine:
    """Look for what may have to be removed. Blocking.

    Args:
        client: The engine's client.
        server: The server's id; what other servers made on the engine is not looked at.
    """
    filters = {"label": [f"lading.server={server}"]}
    volumes: list[dict[str, Any]] = client.volumes(filters=filters)["Volumes"] or []
    return OnEngine(
        containers=_owned("Id", client.containers(all=True, filters=filters)),
        volumes=_owned("Name", volumes),
        networks=_owned("Id", client.networks(filters=filters)),
        tags=tuple(_tags(client, lambda tag: tag.startswith(tag_prefix(server)))),
        unlabelled=tuple(_forgotten(client, server)),
    )


def _owned(name: str, found: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, int]]:
    owned = {}
    for one in found:
        labels = one["Labels"] or {}
        run, attempt = labels.get("lading.run"), labels.get("lading.attempt", "")
        if run is not None and attempt.isdigit():
            owned[str(one[name])] = (run, int(attempt))
    return owned


def remove_leftovers(
    client: Client,
    server: str,
    keep: set[tuple[str, int]],
    keep_images: Collection[tuple[str, int]] = (),
    found: OnEngine | None = None,
) -> int:
    """Remove what attempts of this server left, but for those to keep. Blocking.

    Args:
        client: The engine's client.
        server: The server's id.
        keep: Attempts that still run, as (run, attempt).
        keep_images: Attempts whose images somebody may still want.
        found: What was on the engine before `keep` was known; an attempt that begins in between
            would lose its container otherwise. None: look now.

    Returns:
        How many containers, volumes, networks and tags were removed.
    """
    found = found or find_leftovers(client, server)
    containers = [one for one, owner in found.containers.items() if owner not in keep]
    containers += found.unlabelled
    for container in containers:
        _remove_container(client, container)
    volumes = [one for one, owner in found.volumes.items() if owner not in keep]
    for volume in volumes:
        quietly(partial(client.remove_volume, volume, force=True))
    networks = [one for one, owner in found.networks.items() if owner not in keep]
    for network in networks:
        remove_network(client, network)
    kept = {
        attempt_tag(Attempt(server=server, run=run, attempt=attempt, repository=""))
        for run, attempt in {*keep, *keep_images}
    }
    tags = [name for name in found.tags if name.rpartition(":")[2] not in kept]
    _untag(client, tags)
    return len(containers) + len(volumes) + len(networks) + len(tags)


def _forgotten(client: Client, server: str) -> list[str]:
    """Containers for labelling that are older than any labelling takes."""
    latest = time.time() - _LABELLING
    found = client.containers(all=True, filters={"name": f"^/{label_prefix(server)}"})
    return [str(container["Id"]) for container in found if container["Created"] < latest]


def _tags(client: Client, wanted: Callable[[str], bool]) -> list[str]:
    """The names of built images whose tags are wanted."""
    return [
        name
        for image in client.images(filters={"reference": "lading/*/*"})
        for name in image["RepoTags"] or []
        if wanted(name.rpartition(":")[2])
    ]


def _untag(client: Client, names: Iterable[str]) -> None:
    """Take names away from images; their build cache stays."""
    for name in names:
        quietly(partial(client.remove_image, name, noprune=True))


def _remove_container(client: Client, container: str) -> None:
    quietly(partial(client.remove_container, container, force=True, v=True))


def remove_network(client: Client, network: str) -> None:
    """Remove a network; one that somebody is still in stays. Blocking."""
    try:
        client.remove_network(network)
    except APIError as error:
        if error.status_code not in (_FORBIDDEN, _NOT_FOUND, _CONFLICT):
            raise


def quietly(remove: Callable[[], object]) -> None:
    """Remove something; that it is gone already, or in use by somebody else, is fine."""
    try:
        remove()
    except NotFound:
        pass
    except APIError as error:
        # Somebody else is removing it right now, or it is in use by somebody else.
        if error.status_code != _CONFLICT:
            raise
