"""A repository's name, taken apart for the distribution API."""

from __future__ import annotations

from pipelines.values import Value

DOCKER_HUB = "docker.io"
_HUB_NAMES = frozenset({DOCKER_HUB, "index.docker.io"})
_HUB_API = "registry-1.docker.io"


class Repository(Value):
    """Registry host and path, as `references.is_repository` has checked them."""

    host: str
    """As people write it and the configuration names it: `docker.io`."""
    path: str

    @classmethod
    def parse(cls, name: str) -> Repository:
        """`ghcr.io/acme/web` taken apart."""
        host, _, path = name.partition("/")
        if host in _HUB_NAMES:
            # What Docker Hub itself publishes is spelled without its folder.
            return cls(host=DOCKER_HUB, path=path if "/" in path else f"library/{path}")
        return cls(host=host, path=path)

    @property
    def api(self) -> str:
        """Where the API of the registry is."""
        return _HUB_API if self.host == DOCKER_HUB else self.host

    def __str__(self) -> str:
        """As it stands in front of a tag."""
        return f"{self.host}/{self.path}"
