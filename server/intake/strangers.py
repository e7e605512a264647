"""Whose commits are looked at before they run, and which commits are the repository's own."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from pipelines.events import Event, EventKind
from pipelines.values import Value
from server.config.models import Strangers
from server.hosts.port import Host, HostError, Person, RepositoryRef
from server.mirrors import MirrorKey, Mirrors
from server.store.rows import RepositoryRow

log = structlog.get_logger(__name__)

UNKNOWN = "unknown"
"""In place of an id, where the host names nobody whose pull request it is."""
MOST_HEADS = 200
"""Branches and tags in whose history a commit is looked for."""

Policy = Callable[[str, str], Strangers]
"""What becomes of strangers' pull requests, by host and repository."""


def hold(_host: str, _repository: str) -> Strangers:
    """Every stranger's pull request is held."""
    return "hold"


class Treatment(Value):
    """How an event is treated."""

    stranger: str | None = None
    """Whose commit must be approved first (`RunRow.stranger`)."""
    ignored: str | None = None
    """Why nothing starts, as a sentence."""


async def treatment(
    policy: Policy, host: Host, repository: RepositoryRef, event: Event
) -> Treatment:
    """How an event is treated, as its payload told it: before the commit's own words come in."""
    if event.trusted:
        return Treatment()
    wish = policy(host.name, repository.full_name)
    if wish == "run":
        return Treatment()
    if event.kind is not EventKind.PULL_REQUEST:
        # Somebody who may change things here has named the commit, and may not have looked at it.
        return Treatment(stranger="")
    if await _may_write(host, repository, event):
        return Treatment()
    if wish == "ignore":
        reason = (
            "a pull request from a fork, by somebody who may not write to the repository: "
            f"`strangers` of host {host.name} says `ignore`"
        )
        return Treatment(ignored=reason)
    return Treatment(stranger=event.author_id or UNKNOWN)


async def _may_write(host: Host, repository: RepositoryRef, event: Event) -> bool:
    """Whether both who opened the pull request and who moved it now could push the commit."""
    if event.author_id is None or event.actor_id is None:
        return False
    people = {
        event.author_id: Person(id=event.author_id, name=event.author),
        event.actor_id: Person(id=event.actor_id, name=event.actor),
    }
    try:
        for person in people.values():
            if not await host.may_write(repository, person):
                return False
    except HostError as error:
        log.warning(
            "not known who may write: held", repository=repository.full_name, why=str(error)
        )
        return False
    return True


async def is_own(mirrors: Mirrors, host: Host, row: RepositoryRow, sha: str) -> bool:
    """Whether a commit is in the history of a branch or tag of the repository itself.

    That the host gives it proves nothing: it keeps the commits of forks in the same place.

    Raises:
        MirrorError: The host cannot be asked.
    """
    key, remote = MirrorKey(host=row.host, external_id=row.external_id), host.remote(row.ref)
    heads = await mirrors.heads(key, remote)
    commits = {ref: head.commit for ref, head in heads.items()}
    if sha in commits.values():
        return True
    default = f"refs/heads/{row.default_branch or 'main'}"
    ref = default if default in commits else next(iter(commits), None)
    if ref is None:
        return False
    git_dir = await mirrors.fetch(key, remote, sha=commits[ref], ref=ref)
    first = [commits[ref], *commits.values()][:MOST_HEADS]
    for commit in dict.fromkeys(first):
        if await mirrors.is_ancestor(git_dir, sha, commit):
            return True
    return False
