"""Docker Hub: https://docs.docker.com/docker-hub/."""

from __future__ import annotations

from pipelines.registries.kinds.port import Kind
from pipelines.registries.names import DOCKER_HUB


class DockerHub(Kind):
    """Counts pulls; a HEAD is none."""

    name = "docker-hub"
    title = "Docker Hub"
    login_is = "the user's name and an access token with read and write permission (`dckr_pat_…`)"
    # https://docs.docker.com/docker-hub/usage/pulls/#view-pull-rate-and-limit
    pulls_probe = "ratelimitpreview/test:latest"

    def is_at(self, host: str) -> bool:
        """It is at one name only."""
        return host == DOCKER_HUB


KIND = DockerHub()
