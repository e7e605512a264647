"""Telling a deployment of each move of a channel, signed, until it has taken it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

The rows of the moves are the outbox: what is written down as moved is announced, also after a
crash. Of one channel only the newest move is: a deployment that was away must not be told last of
what came first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import structlog

from pipelines.registries.transport import SilenceError, Transport
from server.clock import Clock
from server.config.models import AnnounceSettings
from server.hosts.signing import key, sign
from server.store import Database
from server.store import announcements as verbs
from server.store.announcements import Due
from server.store.channels import MoveRow

log = structlog.get_logger(__name__)

TYPE = "channel.moved"
FIRST = timedelta(seconds=5)
LONGEST = timedelta(hours=1)
"""Between two tries; each wait is twice the one before."""
GIVE_UP = timedelta(days=3)
_TAKEN = range(200, 300)


class Announcing:
    """Calls what the configuration names, after each move.

    Args:
        settings: Whom to call, by name.
        base_url: Address people reach the server under.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        settings: Mapping[str, AnnounceSettings],
        base_url: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._settings = dict(settings)
        self._base_url = base_url
        self._met = False

    async def look(self) -> None:
        """Call whoever is to be told of something now."""
        if not self._settings:
            return
        names = sorted(self._settings)
        if not self._met:
            await self._database.write(verbs.meet, names, at=self._clock())
            self._met = True
        due = await self._database.read(
            verbs.due, names, now=self._clock(), since=self._clock() - GIVE_UP
        )
        for one in due:
            await self._call(one)

    async def _call(self, one: Due) -> None:
        settings = self._settings[one.name]
        body = json.dumps(self._body(one.move), separators=(",", ":")).encode()
        # Seconds are all that is signed, and what is a second off is no matter.
        signed = sign(
            key(settings.secret.get_secret_value()),
            f"move-{one.move.id}",
            self._clock(),
            body,
        )
        headers = {"Content-Type": "application/json", **signed}
        fault = await asyncio.to_thread(_post, settings.url, headers, body)
        at = self._clock()
        if fault is None:
            await self._database.write_patiently(verbs.told, one, at=at)
            return
        log.warning("a move is announced later", to=one.name, move=one.move.id, why=fault)
        await self._database.write_patiently(
            verbs.refused, one, error=fault, due_at=at + wait(one.tries)
        )

    def _body(self, move: MoveRow) -> dict[str, Any]:
        ended: datetime = move.ended_at or move.at
        told = move.model_dump(
            mode="json",
            include={"image", "channel", "kind", "digest", "from_digest", "by", "why"},
        )
        run = None if move.run is None else f"{self._base_url}/runs/{move.run}"
        data = {**told, "run": run, "reference": f"{move.image}@{move.digest}"}
        return {"type": TYPE, "timestamp": ended.isoformat(), "data": data}


def wait(tries: int) -> timedelta:
    """How long to wait after so many tries that failed before this one."""
    return min(timedelta(seconds=FIRST.total_seconds() * 2 ** min(tries, 20)), LONGEST)


def _post(url: str, headers: Mapping[str, str], body: bytes) -> str | None:
    """Why it was not taken; None: it was. Blocking."""
    with closing(Transport(insecure=False)) as transport:
        try:
            answer = transport.send("POST", url, headers, body=body)
        except SilenceError as error:
            return str(error)
    return None if answer.status in _TAKEN else answer.reason
