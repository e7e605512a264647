"""Labels on a built image, put on behind the Dockerfile's own steps.

The classic builder makes a step with a container of its own out of each label it is given, some
70 ms apiece, and none is cached once the first has changed. A `FROM` and a `LABEL` would be one
step, but would also run the `ONBUILD` triggers of the image. So a container that never runs is
made of the finished image and committed with the image's own configuration and the labels: no
layer is added.
"""

from __future__ import annotations

import contextlib
from typing import Any

from docker.errors import NotFound

from pipelines.engine.client import Client


def add_labels(client: Client, image_id: str, labels: dict[str, str], *, name: str) -> str:
    """The id of the same image with these labels; what was made before is found again. Blocking.

    Args:
        client: The engine's client.
        image_id: `sha256:…` of the image.
        labels: They win over the image's own.
        name: For the container that is there meanwhile.

    Raises:
        docker.errors.APIError: The engine refused, or the image is gone.
    """
    found: dict[str, Any] = client.inspect_image(image_id)  # type: ignore[no-untyped-call]
    config = found["Config"]
    wanted = {**(config.get("Labels") or {}), **labels}
    return _earlier(client, image_id, wanted) or _commit(client, image_id, config, wanted, name)


def _earlier(client: Client, image_id: str, wanted: dict[str, str]) -> str | None:
    """The same image with the same labels, from an earlier build of the same commit."""
    filters = {"label": [f"{key}={value}" for key, value in wanted.items()]}
    for image in client.images(all=True, filters=filters):
        if image["ParentId"] == image_id and image["Labels"] == wanted:
            return str(image["Id"])
    return None


def _commit(
    client: Client, image_id: str, config: dict[str, Any], labels: dict[str, str], name: str
) -> str:
    container = client.create_container(
        image_id,
        entrypoint=["never-started"],
        name=name,
        host_config=client.create_host_config(network_mode="none"),
        use_config_proxy=False,
    )["Id"]
    try:
        # An empty entrypoint is not the same as none: the container's own would take its place.
        whole = {**config, "Entrypoint": config.get("Entrypoint") or [], "Labels": labels}
        return str(client.commit(container, pause=False, conf=whole)["Id"])
    finally:
        with contextlib.suppress(NotFound):
            client.remove_container(container, force=True, v=True)
