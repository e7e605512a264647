"""A step's output as plain text: all of it, some lines, some bytes, or as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Mapping

from starlette.responses import Response, StreamingResponse

from server import streams
from server.api.problems import ApiError
from server.logs import PIECE, LogStore
from server.store import Database

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
TEXT_HEADERS = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
}


class StepOutput:
    """One step's output.

    Args:
        stopping: Set when the server is about to stop: what is followed ends then.
    """

    def __init__(
        self,
        *,
        database: Database,
        logs: LogStore,
        stopping: asyncio.Event,
        run: int,
        attempt: int,
        key: str,
    ) -> None:
        self._database = database
        self._logs = logs
        self._stopping = stopping
        self._step = (run, attempt, key)

    async def whole(self, range_header: str | None) -> Response:
        """All of it, or the bytes that a `Range` header names.

        Raises:
            ApiError: 416, where the range lies behind the end.
        """
        size = await asyncio.to_thread(self._logs.size, *self._step)
        wanted = _wanted(range_header, size)
        if wanted is None:
            headers = {"Content-Length": str(size), "Accept-Ranges": "bytes"}
            return self._stream(0, size, headers=headers)
        start, end = wanted
        headers = {
            "Content-Length": str(end - start),
            "Content-Range": f"bytes {start}-{end - 1}/{size}",
            "Accept-Ranges": "bytes",
        }
        return self._stream(start, end, headers=headers, status=206)

    async def lines(self, first: int, limit: int | None, *, next_url: str) -> Response:
        """At most `limit` lines from line `first`.

        A `Link` header leads to those that follow, below this output's address `next_url`.
        """
        start = await asyncio.to_thread(self._logs.offset_of_line, *self._step, first)
        size = await asyncio.to_thread(self._logs.size, *self._step)
        end = size
        headers = {}
        if limit is not None:
            end = await asyncio.to_thread(self._logs.offset_of_line, *self._step, first + limit)
            if end < size:
                link = f"{next_url}?from={first + limit}&limit={limit}"
                headers["Link"] = f'<{link}>; rel="next"'
        headers["Content-Length"] = str(end - start)
        return self._stream(start, end, headers=headers)

    async def following(self, first: int, *, byte: int | None, head: bool) -> Response:
        """From a line or a byte on, until the step has ended; in pieces as they come.

        `head`: only the headers are asked for, which must not wait for the step's end.
        """
        if head:
            return Response(headers=TEXT_HEADERS)
        start = byte
        if start is None:
            start = await asyncio.to_thread(self._logs.offset_of_line, *self._step, first)
        return StreamingResponse(
            self._follow(start), headers={**TEXT_HEADERS, "X-Accel-Buffering": "no"}
        )

    def _stream(
        self, start: int, end: int, *, headers: Mapping[str, str], status: int = 200
    ) -> Response:
        return StreamingResponse(self._pieces(start, end), status, {**TEXT_HEADERS, **headers})

    async def _pieces(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            limit = min(PIECE, end - start)
            data = await asyncio.to_thread(self._logs.read, *self._step, start=start, limit=limit)
            if not data:
                return
            start += len(data)
            yield data

    async def _follow(self, start: int) -> AsyncGenerator[bytes, None]:
        source = streams.output(self._database, self._logs, *self._step, start=start)
        async with contextlib.aclosing(source):
            async for piece in streams.ticking(source, self._stopping, every=60):
                if piece is not None:
                    yield piece


def _wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes a `Range` header names; None for all, also where we do not know the header's form.

    https://www.rfc-editor.org/rfc/rfc9110#name-range-requests
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or end <= start:
        detail = f"the output has {size} bytes so far: ask for an earlier range"
        raise ApiError(416, detail, headers={"Content-Range": f"bytes */{size}"})
    return start, end
