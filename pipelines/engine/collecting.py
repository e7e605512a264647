"""Files out of an attempt's workspace, by way of a container that is never started.

What ran in the workspace may have prepared it: links that lead elsewhere, paths that change while
they are read. So nothing is read through a container in which anything has run (CVE-2019-14271,
CVE-2026-41567), nor through one of an image that strangers made: the container is of an image of
ours with nothing in it. A link in the workspace can lead nowhere but into that nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from docker.errors import APIError, ImageNotFound, NotFound
from requests.exceptions import RequestException

from pipelines.engine.client import ENGINE_ERRORS, Client, Engine, gone, reason, unavailable
from pipelines.engine.containers import WORKSPACE, Attempt
from pipelines.engine.leftovers import quietly
from pipelines.problems import ExecutorUnavailableError
from pipelines.taking import Bounds, Take, Tally, Wanted, take_from
from pipelines.tarstream import CHUNK, as_file

EMPTY_IMAGE = ("lading/empty", "1")
"""Repository and tag of the image with nothing in it."""

_NO_FILES = bytes(1024)
"""A tar archive of nothing."""
_CONFLICT = 409
_NOTHING_THERE = 404
_THROUGH_A_FILE = "not a directory"
"""What engines say of a path that leads through a file, with a 500."""
_LET_GO = 10.0
"""Seconds in which the thread that reads must have ended once nobody wants the files any more."""


class _GivenUpError(OSError):
    """Nobody wants the files any more."""


class Collecting:
    """Reads the files of one attempt's workspace."""

    def __init__(self, engine: Engine, attempt: Attempt, volume: str) -> None:
        self._engine = engine
        self._attempt = attempt
        self._volume = volume

    async def collect(self, key: str, patterns: Sequence[str], bounds: Bounds, take: Take) -> Tally:
        """See `Executor.collect`."""
        given_up = threading.Event()
        work = partial(self._collect, key, Wanted(patterns), Tally(bounds=bounds), take, given_up)
        reading = self._engine.background(work)
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            # Nobody may write to where the files go once we have left.
            given_up.set()
            await asyncio.wait({reading}, timeout=_LET_GO)
            raise

    def _collect(
        self, key: str, wanted: Wanted, tally: Tally, take: Take, given_up: threading.Event
    ) -> Tally:
        client = self._engine.client
        try:
            container = self._create(client, self._attempt.name(f"{key} files"))
        except ENGINE_ERRORS as error:
            raise self._trouble(error) from error
        try:
            for place in wanted.places():
                with self._archive(client, container, place) as pieces:
                    if pieces is not None:
                        take_from(as_file(_until(given_up, pieces)), place, wanted, tally, take)
        except ENGINE_ERRORS as error:
            # The SDK's are OSErrors, too; others are the taker's own, and tell what they are.
            if isinstance(error, OSError) and not isinstance(error, RequestException):
                raise
            raise self._trouble(error) from error
        finally:
            # If that fails, it goes with the rest of the attempt.
            with contextlib.suppress(*ENGINE_ERRORS):
                quietly(partial(client.remove_container, container, force=True, v=True))
        return tally

    def _create(self, client: Client, name: str) -> str:
        try:
            return self._create_of_empty(client, name)
        except ImageNotFound:
            client.import_image_from_data(_NO_FILES, *EMPTY_IMAGE)
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise
            # An earlier process of ours died after it had made the very same one.
            client.remove_container(name, force=True, v=True)
        return self._create_of_empty(client, name)

    def _create_of_empty(self, client: Client, name: str) -> str:
        config = client.create_host_config(
            binds=[f"{self._volume}:{WORKSPACE}:ro,nocopy"], network_mode="none"
        )
        created = client.create_container(
            image=":".join(EMPTY_IMAGE),
            command=["nothing"],
            working_dir=WORKSPACE,
            labels=self._attempt.labels(),
            name=name,
            host_config=config,
            use_config_proxy=False,
        )
        return str(created["Id"])

    @contextlib.contextmanager
    def _archive(
        self, client: Client, container: str, place: str
    ) -> Iterator[Iterable[bytes] | None]:
        """The archive of a file or folder; None where there is none."""
        try:
            pieces, _ = client.get_archive(container, f"{WORKSPACE}/{place}".rstrip("/"), CHUNK)
        except APIError as error:
            if error.status_code != _NOTHING_THERE and _THROUGH_A_FILE not in reason(error):
                raise
            yield None
            return
        stream = client.opened()
        try:
            yield pieces
        finally:
            stream.close()

    def _trouble(self, error: Exception) -> ExecutorUnavailableError:
        if isinstance(error, NotFound):
            return ExecutorUnavailableError("the workspace is there no more")
        if gone(error):
            return unavailable(self._engine.url, error)
        return ExecutorUnavailableError(f"the container engine refused: {reason(error)}")


def _until(given_up: threading.Event, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if given_up.is_set():
            raise _GivenUpError("given up")
        yield piece
