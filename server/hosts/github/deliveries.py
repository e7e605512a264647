"""A repository webhook's own list of deliveries, through PyGithub.

https://docs.github.com/en/rest/repos/webhooks. GitHub never sends a failed delivery again by
itself; it keeps the list for three days, and sends again what it is asked for, under the same id.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from server.clock import Clock
from server.hosts import reading
from server.hosts.github.statuses import translated
from server.hosts.port import HostError, Refusal, RepositoryRef, ToldDelivery

if TYPE_CHECKING:
    from github import Github
    from github.HookDelivery import HookDeliverySummary
    from github.Repository import Repository

MOST = 2000  # deliveries in one listing: 20 requests

MISSING = (
    "no webhook of {name} leads to {url}, so its missed deliveries cannot be asked for: add one, "
    "or set `server.url` to the address the webhook has. A webhook of the whole organisation is "
    "not looked into"
)

FORBIDDEN = (
    "the token may not list the webhooks of {name}, so its missed deliveries cannot be asked for: "
    "give it read and write access to webhooks"
)


def listed(
    api: Github,
    repository: RepositoryRef,
    hooks: dict[str, int],
    clock: Clock,
    *,
    url: str,
    since: datetime,
    until: str | None,
) -> list[ToldDelivery]:
    """What was sent to our webhook, newest first; blocks.

    Args:
        api: The client.
        repository: Whose webhook.
        hooks: Webhooks found earlier, by repository: one request less each time.
        clock: For rate limits that end at a time.
        url: The webhook's address.
        since: Nothing older.
        until: The handle of the newest one told earlier.

    Raises:
        HostError: GitHub cannot be asked, or no webhook leads to that address.
    """
    name = repository.full_name

    def ask() -> list[ToldDelivery]:
        found = api.get_repo(name)
        hook = hooks.get(name)
        if hook is None:
            hook = hooks[name] = _hook(found, name, url)
        return list(_told(found, hook, since, until))

    try:
        return translated(ask, f"the webhook of {name}", clock)
    except HostError as error:
        hooks.pop(name, None)  # it may have been made anew
        if error.refused is Refusal.REPOSITORY:
            raise HostError(FORBIDDEN.format(name=name), refused=error.refused) from error
        raise


def send_again(api: Github, repository: RepositoryRef, told: ToldDelivery, clock: Clock) -> None:
    """Have GitHub send a delivery again; blocks.

    Raises:
        HostError: It will not.
    """
    hook, _, delivery = told.handle.partition("/")
    # PyGithub has no verb for it.
    path = f"/repos/{repository.full_name}/hooks/{hook}/deliveries/{delivery}/attempts"
    translated(
        lambda: api.requester.requestJsonAndCheck("POST", path),
        f"delivery {told.delivery_id}",
        clock,
    )


def _hook(found: Repository, name: str, url: str) -> int:
    for hook in found.get_hooks():
        if reading.same_address(str(hook.config.get("url", "")), url):
            return int(hook.id)
    raise HostError(MISSING.format(name=name, url=url), permanent=True)


def _told(
    found: Repository, hook: int, since: datetime, until: str | None
) -> Iterator[ToldDelivery]:
    for count, row in enumerate(found.get_hook_deliveries(hook)):
        handle = f"{hook}/{row.id}"
        if count >= MOST or handle == until or _at(row) < since:
            return
        if row.guid:
            yield ToldDelivery(delivery_id=row.guid, handle=handle, failed=row.status != "OK")


def _at(row: HookDeliverySummary) -> datetime:
    at = row.delivered_at
    return datetime.max.replace(tzinfo=UTC) if at is None else at.replace(tzinfo=UTC)
