"""Logins that change while a step goes on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from pipelines.registries.logins import Login
from pipelines.registries.refusals import Refusal


class MendingLogins(Mapping[str, Login]):
    """Logins by host, and a way to mend what a registry refused."""

    @abstractmethod
    def mend(self, repository: str, refusal: Refusal) -> bool:
        """Renew the login, or make the repository; whether it is worth another try. Blocking.

        Args:
            repository: What was pushed to: `ghcr.io/acme/web`.
            refusal: Why it was refused.
        """
