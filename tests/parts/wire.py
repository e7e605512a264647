"""Between us and the engine: a wire that can be cut, and that can be slow."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from socket import AF_UNIX, SHUT_RDWR, socket


class Wire:
    """A unix socket before the engine's own."""

    def __init__(self, path: Path, target: str) -> None:
        self.url = f"unix://{path}"
        self._target = target
        self._broken = False
        self._open = threading.Event()
        self._open.set()
        self._pairs: list[tuple[socket, socket, bytearray]] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket(AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(64)
        self._spawn(self._accept)

    def drop(self, *, only: str = "") -> None:
        """End every connection, or those that asked for something; new ones may come."""
        for near, far, asked in [pair for pair in self._pairs if only.encode() in pair[2]]:
            asked.clear()
            for end in (near, far):
                with contextlib.suppress(OSError):
                    end.shutdown(SHUT_RDWR)

    def asked(self, word: str) -> bool:
        """Whether somebody has asked for it."""
        return any(word.encode() in asked for _, _, asked in self._pairs)

    def cut(self) -> None:
        """As if the engine were killed: no connection any more."""
        self._broken = True
        self.drop()

    def mend(self) -> None:
        """As if it were started again."""
        self._broken = False

    def hold(self) -> None:
        """As if the engine were slow: answers come only after `go_on`."""
        self._open.clear()

    def go_on(self) -> None:
        """Let the answers come."""
        self._open.set()

    def close(self) -> None:
        """Stop and wait for all threads."""
        self.cut()
        self.go_on()
        with contextlib.suppress(OSError):
            self._listening.shutdown(SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self._broken:
                near.close()
                continue
            far = socket(AF_UNIX)
            asked = bytearray()
            self._pairs.append((near, far, asked))
            self._spawn(self._carry, near, far, asked)

    def _carry(self, near: socket, far: socket, asked: bytearray) -> None:
        with near, far:
            far.connect(self._target)
            back = threading.Thread(
                target=_copy, args=(far, near, bytearray(), self._open), daemon=True
            )
            back.start()
            _copy(near, far, asked, None)
            back.join()


def _copy(source: socket, sink: socket, seen: bytearray, opened: threading.Event | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            seen += data[:200]
            if opened is not None:
                opened.wait()
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(SHUT_RDWR)
