"""A project webhook's own list of events, through python-gitlab.

https://docs.gitlab.com/api/project_webhooks/. The list tells no times, and each entry holds the
whole delivery, so that pages are kept small.
"""

from __future__ import annotations

import itertools
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from server.clock import Clock
from server.hosts import reading, signing
from server.hosts.calling import odd_answers_told
from server.hosts.gitlab.statuses import Client, told
from server.hosts.port import HostError, Refusal, RepositoryRef, ToldDelivery

DELIVERY_HEADERS = (signing.ID_HEADER, "idempotency-key", "x-gitlab-event-uuid")
PER_PAGE = 20
MOST = 500  # events in one listing: 25 requests
TAKEN = range(200, 300)

MISSING = (
    "no webhook of {name} leads to {url}, so its missed deliveries cannot be asked for: add one, "
    "or set `server.url` to the address the webhook has. A group's webhook is not looked into"
)

FORBIDDEN = (
    "the token may not list the webhook events of {name}, so its missed deliveries cannot be asked "
    "for: give it the role Maintainer; GitLab has that list since 17.3"
)


def delivery_id(headers: Mapping[str, str]) -> str | None:
    """The delivery's id, the same when GitLab sends it again.

    `X-Gitlab-Event-UUID` is the last resort: webhooks that a webhook sets off share it.

    Args:
        headers: Names in lower case.
    """
    return next((headers[name] for name in DELIVERY_HEADERS if headers.get(name)), None)


def listed(
    client: Client,
    repository: RepositoryRef,
    hooks: dict[str, int],
    clock: Clock,
    *,
    url: str,
    since: datetime,  # noqa: ARG001 - GitLab tells no times
    until: str | None,
) -> list[ToldDelivery]:
    """What was sent to our webhook, newest first; blocks.

    Args:
        client: The client.
        repository: Whose webhook.
        hooks: Webhooks found earlier, by repository: one request less each time.
        clock: For rate limits that end at a time.
        url: The webhook's address.
        since: Of no use here.
        until: The handle of the newest one told earlier.

    Raises:
        HostError: GitLab cannot be asked, or no webhook leads to that address.
    """
    from gitlab.exceptions import GitlabError

    name = repository.full_name
    try:
        with odd_answers_told(f"the webhook of {name}"):
            hook = hooks.get(name)
            if hook is None:
                hook = hooks[name] = _hook(client, repository, url)
            return list(_told(client, repository, hook, until))
    except GitlabError as error:
        hooks.pop(name, None)  # it may have been made anew
        ours = told(error, client, f"the webhook of {name}", clock)
        if ours.refused is Refusal.REPOSITORY:
            ours = HostError(FORBIDDEN.format(name=name), refused=ours.refused)
        raise ours from error


def send_again(
    client: Client, repository: RepositoryRef, wanted: ToldDelivery, clock: Clock
) -> None:
    """Have GitLab send a delivery again; blocks until it has.

    Raises:
        HostError: It will not.
    """
    from gitlab.exceptions import GitlabError

    hook, _, event = wanted.handle.partition("/")
    path = f"{_project(repository)}/hooks/{hook}/events/{event}/resend"
    try:
        client.api.http_post(path, obey_rate_limit=False)
    except GitlabError as error:
        raise told(error, client, f"delivery {wanted.delivery_id}", clock) from error


def _project(repository: RepositoryRef) -> str:
    named = repository.external_id
    project = named if named.isdecimal() else urllib.parse.quote(repository.full_name, safe="")
    return f"/projects/{project}"


def _hook(client: Client, repository: RepositoryRef, url: str) -> int:
    for row in _rows(client, f"{_project(repository)}/hooks"):
        if reading.same_address(str(row.get("url", "")), url):
            return int(row["id"])
    raise HostError(MISSING.format(name=repository.full_name, url=url), permanent=True)


def _told(
    client: Client, repository: RepositoryRef, hook: int, until: str | None
) -> Iterator[ToldDelivery]:
    rows = _rows(client, f"{_project(repository)}/hooks/{hook}/events")
    for row in itertools.islice(rows, MOST):
        handle = f"{hook}/{int(row['id'])}"
        if handle == until:
            return
        sent_under = _sent_under(row.get("request_headers"))
        if sent_under:
            status = str(row.get("response_status"))
            taken = status.isdecimal() and int(status) in TAKEN
            yield ToldDelivery(delivery_id=sent_under, handle=handle, failed=not taken)


def _rows(client: Client, path: str) -> Iterator[dict[str, Any]]:
    found = client.api.http_list(path, iterator=True, per_page=PER_PAGE, obey_rate_limit=False)
    yield from found


def _sent_under(headers: object) -> str | None:
    if not isinstance(headers, Mapping):
        return None
    return delivery_id({str(name).lower(): str(value) for name, value in headers.items()})
