"""GitHub's container registry: https://docs.github.com/packages."""

from __future__ import annotations

from pipelines.registries.kinds.port import Account, Kind

_FINE_GRAINED = "github_pat_"


class GHCR(Kind):
    """Takes classic tokens alone."""

    name = "ghcr"
    title = "GitHub's registry"
    login_is = "the account's name and a classic token with the scope `write:packages` (`ghp_…`)"

    def is_at(self, host: str) -> bool:
        """At one name on github.com; on GitHub Enterprise, `containers.<host>`."""
        return host == "ghcr.io"

    def fault(self, account: Account) -> str | None:
        """A fine-grained token opens nothing there, whatever it was given."""
        if account.password.startswith(_FINE_GRAINED):
            return f"a fine-grained token cannot be used there: give {self.login_is}"
        return super().fault(account)


KIND = GHCR()
