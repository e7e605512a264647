"""A step's output as server-sent events: replay, then what comes, then the end.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterator

from starlette.responses import Response, StreamingResponse

from server import streams
from server.actions import NotFoundError
from server.logs import PIECE
from server.store import runs as run_verbs
from server.ui.site import HEADERS, Site, Visit
from server.ui.text import clean_line

LINES = 200  # in one message at most
LONGEST = 64 * 1024  # bytes of a line before it is sent without its end
CALM = 0.1  # seconds between messages once the reader has caught up
TICK = 1.0  # seconds between looks at the steps' states
HEARTBEAT = 15.0  # seconds; proxies close what is silent for longer
RETRY = 2000  # milliseconds before a browser connects again


class Cutter:
    """Cuts output into lines, and counts bytes so that a reader can go on where it stopped."""

    def __init__(self, start: int) -> None:
        self.offset = start
        """The byte behind the last line handed out."""
        self._rest = b""

    def take(self, data: bytes) -> Iterator[tuple[int, list[str]]]:
        """Complete lines, at most `LINES` at once, each time with the offset behind them."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for start in range(0, len(lines), LINES):
            some = lines[start : start + LINES]
            self.offset += sum(len(line) + 1 for line in some)
            yield self.offset, [clean_line(line) for line in some]
        if len(self._rest) > LONGEST:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[int, list[str]]]:
        """What is left without a line end."""
        if self._rest:
            self.offset += len(self._rest)
            rest, self._rest = self._rest, b""
            yield self.offset, [clean_line(rest)]


class Events:
    """Streams for one page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def step(self, visit: Visit) -> Response:
        """The stream of one step's output, from where the reader stopped.

        Answers 204 where there is nothing more: that tells a browser to stop asking.
        """
        run, attempt = visit.number("run", "run"), visit.number("attempt", "attempt")
        key = visit.path("key")
        row = await self._site.database.read(run_verbs.step, run, attempt, key)
        if row is None:
            raise NotFoundError(f"there is no step {key[:150]!r} in attempt {attempt} of run {run}")
        start = _start(visit)
        size = await asyncio.to_thread(self._site.logs.size, run, attempt, key)
        if row.state.ended and start >= size:
            return Response(status_code=204, headers=HEADERS)
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        if visit.request.method == "HEAD":
            return Response(headers=headers, media_type="text/event-stream")
        body = self._messages(run, attempt, key, min(start, size))
        return StreamingResponse(body, 200, headers, "text/event-stream")

    async def _messages(
        self, run: int, attempt: int, key: str, start: int
    ) -> AsyncGenerator[str, None]:
        site = self._site
        cutter = Cutter(start)
        changes = _Changes(site, run, attempt)
        sent = time.monotonic()
        yield f"retry: {RETRY}\n\n"
        source = streams.output(site.database, site.logs, run, attempt, key, start=start)
        async with contextlib.aclosing(source):
            async for data in streams.ticking(source, site.stopping, every=TICK):
                for offset, lines in cutter.take(data or b""):
                    yield _message("lines", offset, lines)
                    sent = time.monotonic()
                    await asyncio.sleep(0)  # a piece may hold 100,000 lines: others want the loop
                if await changes.seen():
                    yield _message("changed", cutter.offset, [""])
                    sent = time.monotonic()
                if time.monotonic() - sent > HEARTBEAT:
                    yield ": still here\n\n"
                    sent = time.monotonic()
                if data is not None and len(data) < PIECE:
                    await asyncio.sleep(CALM)
        if site.stopping.is_set():
            return
        for offset, lines in cutter.flush():
            yield _message("lines", offset, lines)
        yield _message("end", cutter.offset, [""])


class _Changes:
    """Notices when a step of an attempt changes its state; looks once a second at most."""

    def __init__(self, site: Site, run: int, attempt: int) -> None:
        self._site = site
        self._attempt = (run, attempt)
        self._known: tuple[object, ...] | None = None
        self._due = 0.0

    async def seen(self) -> bool:
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + TICK
        rows = await self._site.database.read(run_verbs.steps_of, *self._attempt)
        states = tuple((row.state, row.running_at is None) for row in rows)
        changed = self._known is not None and self._known != states
        self._known = states
        return changed


def _start(visit: Visit) -> int:
    """Where the reader stopped: the header of a reconnecting browser before the page's own word."""
    given = visit.request.headers.get("last-event-id") or visit.request.query_params.get("from")
    if given and given.isascii() and given.isdigit() and len(given) <= 18:  # noqa: PLR2004
        return int(given)
    return 0


def _message(event: str, offset: int, lines: list[str]) -> str:
    data = "".join(f"data: {line}\n" for line in lines)
    return f"event: {event}\nid: {offset}\n{data}\n"
