"""Removing what attempts left on the engine, found by label."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from docker.errors import APIError, NotFound

from pipelines.engine.client import Client
from pipelines.engine.containers import Attempt, attempt_tag, label_prefix, tag_prefix

_CONFLICT = 409
_LABELLING = 60.0
"""Seconds."""


def remove_attempt(client: Client, attempt: Attempt) -> None:
    """Remove containers, volumes and image tags of one attempt. Blocking; quiet if all is gone."""
    filters = attempt.filters()
    for container in client.containers(all=True, filters=filters):
        _remove_container(client, str(container["Id"]))
    for volume in client.volumes(filters=filters)["Volumes"] or []:
        quietly(partial(client.remove_volume, volume["Name"], force=True))
    _untag(client, lambda tag: tag == attempt_tag(attempt))


def remove_leftovers(client: Client, server: str, keep: set[tuple[str, int]]) -> int:
    """Remove what attempts of this server left, but for those to keep. Blocking.

    Args:
        client: The engine's client.
        server: The server's id; what other servers made on the engine stays.
        keep: Attempts that still run, as (run, attempt).

    Returns:
        How many containers, volumes and tags were removed.
    """
    filters = {"label": [f"lading.server={server}"]}

    def left(labels: dict[str, str] | None) -> bool:
        run, attempt = (labels or {}).get("lading.run"), (labels or {}).get("lading.attempt", "")
        return run is not None and attempt.isdigit() and (run, int(attempt)) not in keep

    containers = [c for c in client.containers(all=True, filters=filters) if left(c["Labels"])]
    for container in containers:
        _remove_container(client, str(container["Id"]))
    unlabelled = _forgotten(client, server)
    for container in unlabelled:
        _remove_container(client, container)
    found: list[dict[str, Any]] = client.volumes(filters=filters)["Volumes"] or []
    volumes = [volume for volume in found if left(volume["Labels"])]
    for volume in volumes:
        quietly(partial(client.remove_volume, volume["Name"], force=True))
    kept = {
        attempt_tag(Attempt(server=server, run=run, attempt=attempt, repository=""))
        for run, attempt in keep
    }
    tags = _untag(client, lambda tag: tag.startswith(tag_prefix(server)) and tag not in kept)
    return len(containers) + len(unlabelled) + len(volumes) + tags


def _forgotten(client: Client, server: str) -> list[str]:
    """Containers for labelling that are older than any labelling takes."""
    latest = time.time() - _LABELLING
    found = client.containers(all=True, filters={"name": f"^/{label_prefix(server)}"})
    return [str(container["Id"]) for container in found if container["Created"] < latest]


def _untag(client: Client, wanted: Callable[[str], bool]) -> int:
    """Take away the tags of built images that are wanted gone; their build cache stays."""
    names = [
        name
        for image in client.images(filters={"reference": "lading/*/*"})
        for name in image["RepoTags"] or []
        if wanted(name.rpartition(":")[2])
    ]
    for name in names:
        quietly(partial(client.remove_image, name, noprune=True))
    return len(names)


def _remove_container(client: Client, container: str) -> None:
    quietly(partial(client.remove_container, container, force=True, v=True))


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
