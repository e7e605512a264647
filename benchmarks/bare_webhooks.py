"""The bare tool of the webhook row: Starlette, uvicorn, and a SQLite writer that groups commits.

It does what cannot be left out: the signature over the raw body, and the body on disk before the
202. No check of the content, no routes beside, no metrics, no log, nothing that reads the rows.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import queue
import sqlite3
import threading
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

GROUP = 256
ADD = "INSERT OR IGNORE INTO deliveries (id, event, body) VALUES (?, ?, ?)"

Row = tuple[str, str, bytes]


class Writer(threading.Thread):
    """Commits whatever waits as one transaction."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._waiting: queue.SimpleQueue[tuple[Row, asyncio.Future[None]]] = queue.SimpleQueue()

    async def write(self, row: Row) -> None:
        """Store one; returns when it is on disk."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put((row, future))
        await future

    def run(self) -> None:
        """The thread's work."""
        database = sqlite3.connect(self._path, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE deliveries (id TEXT PRIMARY KEY, event TEXT, body BLOB)")
        while True:
            group = [self._waiting.get()]
            while len(group) < GROUP and not self._waiting.empty():
                group.append(self._waiting.get())
            database.execute("BEGIN IMMEDIATE")
            database.executemany(ADD, [row for row, _ in group])
            database.execute("COMMIT")
            futures = [future for _, future in group]
            futures[0].get_loop().call_soon_threadsafe(_settle, futures)


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def application(key: bytes, writer: Writer) -> Starlette:
    """The one route."""

    async def receive(request: Request) -> Response:
        body = await request.body()
        right = f"sha256={hmac.digest(key, body, 'sha256').hex()}"
        if not hmac.compare_digest(right, request.headers.get("x-hub-signature-256", "")):
            return Response(status_code=401)
        delivery = request.headers["x-github-delivery"]
        await writer.write((delivery, request.headers["x-github-event"], body))
        return Response(status_code=202)

    async def ready(_request: Request) -> Response:
        return Response("ok")

    return Starlette(
        routes=[
            Route("/webhooks/github", receive, methods=["POST"]),
            Route("/readyz", ready),
        ]
    )


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--secret", required=True)
    wanted = parser.parse_args()
    writer = Writer(wanted.database)
    writer.start()
    config = uvicorn.Config(
        application(wanted.secret.encode(), writer),
        port=wanted.port,
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
