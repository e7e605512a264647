"""Artifacts as downloads: attachments that no browser shows, whatever is in them."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from starlette.responses import FileResponse, Response, StreamingResponse

from server.api.problems import ApiError
from server.artifacts import ArtifactStore
from server.store import Database
from server.store import kept as kept_verbs
from server.store.rows import KeptRow, StepRow

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
}


class StepDownloads:
    """The artifacts of one step.

    Args:
        step: The attempt that has done it counts.
    """

    def __init__(self, database: Database, artifacts: ArtifactStore, step: StepRow) -> None:
        self._database = database
        self._artifacts = artifacts
        self._place = kept_verbs.Place(run=step.run, attempt=step.done_in, step=step.key)

    async def one(self, path: str) -> Response:
        """One file.

        Raises:
            ApiError: 404, there is none of that path; 410, its time is over.
        """
        await self._kept()
        place = self._place
        found = await asyncio.to_thread(
            self._artifacts.read, place.run, place.attempt, place.step, path
        )
        if found is None:
            raise ApiError(404, f"{place.step} has no artifact {path[:200]!r}")
        size, pieces = found
        headers = {
            **_HEADERS,
            "Content-Length": str(size),
            "Content-Disposition": _attachment(path.rpartition("/")[2]),
        }
        return StreamingResponse(pieces, 200, headers, "application/octet-stream")

    async def archive(self) -> Response:
        """All of them, as a zip file.

        Raises:
            ApiError: 404, there are none; 410, their time is over.
        """
        await self._kept()
        place = self._place
        path = await asyncio.to_thread(
            self._artifacts.archive, place.run, place.attempt, place.step
        )
        if path is None:
            raise ApiError(404, f"the artifacts of {place.step} are not on the disk any more")
        name = _attachment(f"run-{place.run}-{place.step}.zip")
        headers = {**_HEADERS, "Content-Disposition": name}
        return FileResponse(path, 200, headers, "application/zip")

    async def _kept(self) -> KeptRow:
        row = await self._database.read(kept_verbs.kept_of_step, self._place)
        if row is None or not row.files:
            raise ApiError(404, f"{self._place.step} has left no artifacts in this attempt")
        if row.removed_at is not None:
            when = f"{row.removed_at:%Y-%m-%d}"
            raise ApiError(
                410,
                f"the artifacts of {self._place.step} were removed on {when}: `expire_in` in the "
                "pipeline file says how long they are kept",
            )
        return row


def _attachment(name: str) -> str:
    """https://www.rfc-editor.org/rfc/rfc6266; the name is a stranger's."""
    return f"attachment; filename*=utf-8''{quote(name, safe='')}"
