"""GitLab's container registry: https://docs.gitlab.com/user/packages/container_registry/."""

from __future__ import annotations

from pipelines.registries.kinds.port import Kind


class GitLab(Kind):
    """Gives tokens at `…/jwt/auth`, as the challenge says; the rest is any registry's."""

    name = "gitlab"
    title = "GitLab's registry"
    login_is = "a deploy token's user name and the token, with `read_registry` and `write_registry`"

    def is_at(self, host: str) -> bool:
        """On gitlab.com; one of your own may be at any name."""
        return host == "registry.gitlab.com"


KIND = GitLab()
