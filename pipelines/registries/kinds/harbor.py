"""Harbor: https://goharbor.io."""

from __future__ import annotations

from pipelines.registries.kinds.port import Account, Kind


class Harbor(Kind):
    """Robot accounts; a project must be there, repositories come by themselves."""

    name = "harbor"
    title = "Harbor"
    login_is = "a robot account's whole name (`robot$project+name`) and its secret"

    def fault(self, account: Account) -> str | None:
        """A shell takes the `$` and what follows out of a name that is not in quotes."""
        if account.username == "robot":
            return (
                f"the name ends before its `$`: put it in single quotes, and give {self.login_is}"
            )
        return super().fault(account)


KIND = Harbor()
