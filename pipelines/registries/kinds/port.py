"""What a kind of registry has to say besides the OCI distribution API. Blocking."""

from __future__ import annotations

from datetime import datetime

from pipelines.problems import LadingError
from pipelines.registries.logins import Login
from pipelines.values import Value


class KindError(LadingError):
    """A registry's own service did not do what was asked; the message says what to do."""


class Account(Value):
    """What is stored about us at a registry."""

    host: str
    username: str = ""
    password: str = ""
    create: bool = False
    """Whether repositories that are not there shall be made."""

    def __repr__(self) -> str:
        """Without the password: values end up in logs."""
        return f"Account(host={self.host!r}, username={self.username!r})"

    __str__ = __repr__


class Pass(Value):
    """A login, and until when it is good."""

    login: Login
    until: datetime | None = None
    """None: until somebody takes it back."""


class Kind:
    """Any OCI registry: what is stored is the login, and nothing has to be made before a push."""

    name = "oci"
    title = "OCI registry"
    login_is = "a user and a password or token that may push"
    """What to give, for people."""
    pulls_probe: str | None = None
    """A repository and tag of which a HEAD tells the rate limit without counting."""

    def is_at(self, host: str) -> bool:  # noqa: ARG002 - other kinds look
        """Whether a host's name alone tells that it is of this kind."""
        return False

    def fault(self, account: Account) -> str | None:
        """What is wrong with an account at first sight; None: nothing."""
        return None if account.username and account.password else f"give {self.login_is}"

    def enter(self, account: Account) -> Pass:
        """The login as the registry wants it.

        Raises:
            KindError: Whoever gives it out refuses, or cannot be reached.
        """
        return Pass(login=Login(username=account.username, password=account.password))

    def make(self, account: Account, path: str) -> bool:  # noqa: ARG002 - other kinds do
        """Make a repository that a push missed; False: this kind makes them by itself.

        Raises:
            KindError: Refused, or it cannot be reached.
        """
        return False


GENERIC = Kind()
