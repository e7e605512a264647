"""When containers end, told by the engine's own events.

An event comes as soon as the process is gone; `wait` and `inspect` answer only when its network is
taken apart, some 50 ms later. Events may be missed (the engine restarts, the link is cut), so
nobody may rely on them alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import requests
from docker.errors import DockerException

if TYPE_CHECKING:
    from pipelines.engine.client import Client, Stream

RETRY = 1.0
"""Seconds before a broken stream of events is asked for again."""

STEP_LABEL = "lading.step"


class EndWatcher:
    """One stream of `die` events for a process, shared by everybody who waits for a container."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._waiting: dict[str, Callable[[int], None]] = {}
        self._killed: set[str] = set()
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._closed = threading.Event()
        self._stream: Stream | None = None
        self.breaks = 0
        """How often the events were cut off: the engine's other streams may have been, too."""

    def expect(self, container: str) -> asyncio.Future[int]:
        """The container's exit code once it has ended. To be asked for before it is started."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()

        def settle(code: int) -> None:
            if not future.done():
                future.set_result(code)

        def tell(code: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, code)

        with self._lock:
            self._waiting[container] = tell
        return future

    def forget(self, container: str) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._waiting.pop(container, None)
            self._killed.discard(container)

    def was_killed(self, container: str) -> bool:
        """Whether somebody had the engine send it a signal: we, a person, or the engine itself.

        An engine that is stopped stops its containers before it goes.
        """
        return container in self._killed

    def listen(self, timeout: float = 2.0) -> None:
        """Start listening if nobody has, and wait until the engine has agreed. Blocking."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lading-ends", daemon=True)
                self._thread.start()
        self._ready.wait(timeout)

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._stream is not None:
            self._stream.cut()

    def _run(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(
                DockerException, requests.exceptions.RequestException, OSError, ValueError
            ):
                self._follow()
            self._closed.wait(RETRY)

    def _follow(self) -> None:
        events = self._client.events(
            decode=True,
            filters={"type": "container", "event": ["die", "kill"], "label": STEP_LABEL},
        )
        stream = self._stream = self._client.opened()
        self._ready.set()
        try:
            if not self._closed.is_set():
                for event in events:
                    self._tell(event)
        finally:
            self.breaks += 1
            stream.close()

    def _tell(self, event: dict[str, Any]) -> None:
        actor = event.get("Actor", {})
        if event.get("Action") == "kill":
            with self._lock:
                if str(actor.get("ID")) in self._waiting:
                    self._killed.add(str(actor.get("ID")))
            return
        code = actor.get("Attributes", {}).get("exitCode", "")
        if not str(code).isdigit():  # another engine's words: leave it to whoever asks by hand
            return
        with self._lock:
            tell = self._waiting.pop(str(actor.get("ID")), None)
        if tell is not None:
            tell(int(code))
