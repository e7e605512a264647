"""What commands do on this machine's rows, done on a server elsewhere: secrets and deliveries."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from server.cli.secret_words import HEAD, TOO_SHORT, is_set
from server.cli.signing import connected
from server.cli.tables import table
from server.cli.terminal import paint_for, tolerant
from server.client.answers import Deliveries, Secret, Secrets


def put_secret(
    there: str,
    name: str,
    value: str,
    *,
    repository: str | None,
    host: str | None,
    bounds: Mapping[str, Sequence[str]],
) -> Iterator[str]:
    """Store a secret on a server; what is to be said about it.

    `bounds` are lists of `events`, `branches` and `steps`.

    Raises:
        ClientError: The server cannot be asked, or says no.
    """
    body = {
        "value": value,
        "repository": repository,
        "host": host,
        **bounds,
    }
    with connected(there) as server:
        answer = server.ask("PUT", f"/secrets/{quote(name, safe='')}", body=body)
        kept = server.read(Secret, answer)
    yield is_set(name, repository)
    if kept.hidden is False:
        yield TOO_SHORT


def list_secrets(there: str) -> Iterator[str]:
    """A line for each secret, without what it holds.

    Raises:
        ClientError: The server cannot be asked.
    """
    with connected(there) as server:
        secrets = server.get(Secrets, "/secrets").items
    tolerant(sys.stdout)
    yield from table(HEAD, [_cells(one) for one in secrets], paint_for(sys.stdout))


def _cells(one: Secret) -> tuple[str, ...]:
    owner = one.repository
    return (
        one.name,
        "the server" if owner is None else f"{owner.host}/{owner.name}",
        ", ".join([*one.events, *one.branches, *one.steps]) or "-",
        f"{one.changed_at:%Y-%m-%d %H:%M}",
        one.changed_by,
    )


def remove_secret(there: str, name: str, *, repository: str | None, host: str | None) -> None:
    """Remove a secret from a server.

    Raises:
        ClientError: There is none, or the server cannot be asked.
    """
    with connected(there) as server:
        query = {"repository": repository, "host": host}
        server.ask("DELETE", f"/secrets/{quote(name, safe='')}", query=query)


def list_deliveries(there: str, *, limit: int) -> Iterator[str]:
    """A line for each delivery, newest first.

    Raises:
        ClientError: The server cannot be asked.
    """
    with connected(there) as server:
        rows = server.get(Deliveries, "/deliveries", {"limit": min(limit, 200)}).items
    tolerant(sys.stdout)
    head = ("ID", "RECEIVED (UTC)", "HOST", "EVENT", "OUTCOME", "WHY")
    cells = [
        (
            one.id,
            f"{one.received_at:%Y-%m-%d %H:%M:%S}",
            one.host,
            one.event_type,
            one.outcome or one.state,
            one.reason or one.error or "",
        )
        for one in rows
    ]
    yield from table(head, cells, paint_for(sys.stdout))


def redeliver(there: str, delivery: str) -> None:
    """Have a server read a stored delivery once more.

    Raises:
        ClientError: There is none, it waits already, or the server cannot be asked.
    """
    with connected(there) as server:
        server.ask("POST", f"/deliveries/{quote(delivery, safe='')}/redeliver")
