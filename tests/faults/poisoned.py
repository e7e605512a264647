"""`lading`, with a fault in its reading of GitHub's pushes to one branch."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.events import Event
from server import cli
from server.hosts.github import payload as payloads
from server.hosts.port import Irrelevant, Payload

_read = payloads.read


def _poisoned(headers: Mapping[str, str], payload: Payload, url: str) -> Event | Irrelevant:
    if payload.get("ref") == "refs/heads/poison":
        raise ZeroDivisionError("a fault of our own")
    return _read(headers, payload, url)


payloads.read = _poisoned

if __name__ == "__main__":
    cli.main()
