"""What a person may do in a repository, through PyGithub.

https://docs.github.com/en/rest/collaborators/collaborators#get-repository-permissions-for-a-user.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from server.clock import Clock
from server.hosts.github.statuses import translated
from server.hosts.port import Person, RepositoryRef

if TYPE_CHECKING:
    from github import Github

_LOGIN = re.compile(r"[A-Za-z0-9_-]{1,100}(\[bot\])?", re.ASCII)
_WRITES = ("admin", "write")
"""Finer roles are told by the nearest of four: `maintain` is `write`, `triage` is `read`."""


def may_write(api: Github, repository: RepositoryRef, person: Person, clock: Clock) -> bool:
    """Whether a person may push there; blocks.

    Raises:
        HostError: GitHub did not answer, or does not tell.
    """
    if _LOGIN.fullmatch(person.name) is None:  # it is a text of a payload, and goes into a path
        return False

    def asked() -> Any:  # noqa: ANN401  (any JSON value)
        path = f"/repos/{repository.full_name}/collaborators/{person.name}/permission"
        return api.requester.requestJsonAndCheck("GET", path)[1]

    told = translated(asked, repository.full_name, clock)
    user = told.get("user") if isinstance(told, dict) else None
    # Whoever has the name by now may be somebody else.
    same = isinstance(user, dict) and str(user.get("id")) == person.id
    return same and told.get("permission") in _WRITES
