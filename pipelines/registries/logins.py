"""Who we are at a registry."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.values import Value


class Login(Value):
    """A login for one registry."""

    username: str
    password: str

    def __repr__(self) -> str:
        """Without the password: values end up in logs."""
        return f"Login(username={self.username!r})"

    __str__ = __repr__

    @property
    def auth_config(self) -> dict[str, str]:
        """As the engine's API wants it."""
        return {"username": self.username, "password": self.password}


Logins = Mapping[str, Login]
"""By registry host: `ghcr.io`, `registry.example:5000`, `docker.io`."""
