"""Parts of an image's name."""

from __future__ import annotations

from docker.auth import INDEX_NAME, resolve_repository_name
from docker.errors import InvalidRepository
from docker.utils import parse_repository_tag

DOCKER_HUB = INDEX_NAME
"""`docker.io`: the registry of names that tell none."""


def registry_of(name: str) -> str:
    """The registry host a name points to: `ghcr.io`, `127.0.0.1:5000`, `docker.io`."""
    repository, _ = split(name)
    try:
        host, _ = resolve_repository_name(repository)
    except InvalidRepository:
        return DOCKER_HUB
    return str(host)


def split(name: str) -> tuple[str, str]:
    """Repository and tag (or digest) of a name; the tag is `latest` where none is told."""
    repository, tag = parse_repository_tag(name)
    return str(repository), str(tag or "latest")
