"""The files of the commit in a volume that all steps of an attempt share."""

from __future__ import annotations

import asyncio

from docker.errors import APIError, NotFound

from pipelines.engine.client import Engine, reason, unavailable
from pipelines.engine.containers import WORKSPACE, Attempt
from pipelines.problems import ExecutorUnavailableError
from pipelines.source import Source
from pipelines.tarstream import chunks

_FOLDER = WORKSPACE.strip("/")


class Workspace:
    """One attempt's volume; filled once, as soon as some container of it is made."""

    def __init__(self, engine: Engine, attempt: Attempt, source: Source) -> None:
        self.volume = attempt.name("workspace")
        self._engine = engine
        self._attempt = attempt
        self._source = source
        self._filling: asyncio.Task[None] | None = None

    async def find(self) -> None:
        """Take the volume as it is: steps have run in it, and it must not be filled again.

        Raises:
            docker.errors.NotFound: It is gone.
        """
        await self._engine.call(self._engine.client.inspect_volume, self.volume)
        self._filling = asyncio.create_task(_nothing())

    async def create(self) -> None:
        """Make the volume, empty."""
        await self._engine.call(
            self._engine.client.create_volume, self.volume, labels=self._attempt.labels()
        )

    def fill(self, container: str) -> None:
        """Begin to fill it by way of a step's own container, unless that is done or goes on.

        Archives are only ever put into a container that has not run yet, and none is started
        before `filled`: in one that has run, strangers' code may have prepared the paths
        (CVE-2019-14271, CVE-2026-41567).
        """
        if self._filling is None or _broke(self._filling):
            self._filling = asyncio.create_task(self._engine.call(self._fill, container))

    async def filled(self) -> None:
        """Wait until the files are there.

        Raises:
            SourceError: The commit cannot be read.
        """
        if self._filling is None:
            raise AssertionError("nobody has begun to fill the workspace")
        await asyncio.shield(self._filling)

    async def settle(self) -> None:
        """Wait until nothing more is being made, whatever came of it."""
        if self._filling is not None:
            await asyncio.wait({self._filling})
            if not self._filling.cancelled():
                self._filling.exception()

    def _fill(self, container: str) -> None:
        # umask 0: steps run as whichever user their image names, and all may write.
        with self._source.archive(prefix=f"{_FOLDER}/", umask=0) as archive:
            self._engine.client.put_archive(container, "/", chunks(archive))


def _broke(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def _nothing() -> None:
    """What is left to do where everything is done."""


def no_room(url: str | None, error: Exception) -> ExecutorUnavailableError:
    """The error where a workspace could not be made or found."""
    if isinstance(error, NotFound):
        return ExecutorUnavailableError(
            "the workspace of this attempt was removed meanwhile, not by Lading: re-run"
        )
    if isinstance(error, APIError):
        return ExecutorUnavailableError(
            f"the container engine could not make the workspace: {reason(error)}"
        )
    return unavailable(url, error)
