"""A socket that answers HTTP as a test says: like a wrong, broken or malicious server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterator


class Answering:
    """Gives each request the next of its answers, the last one again and again."""

    def __init__(self, answers: list[bytes], context: ssl.SSLContext | None) -> None:
        self._answers = deque(answers)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.requests: list[str] = []
        """As they came, headers and all."""

    def serve(self) -> None:
        """Answer until closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(10)
        if self._context is not None:
            with client:
                client = self._context.wrap_socket(client, server_side=True)
        with client:
            data = b""
            while b"\r\n\r\n" not in data:
                more = client.recv(65536)
                if not more:
                    return
                data += more
            self.requests.append(data.decode("latin-1"))
            client.sendall(self._answers[0] if len(self._answers) == 1 else self._answers.popleft())

    def close(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def answer(status: int, body: str = "", *, kind: str = "application/json", more: str = "") -> bytes:
    """One HTTP answer, after which the connection ends."""
    head = f"HTTP/1.1 {status} Told\r\nContent-Length: {len(body.encode())}\r\n{more}"
    return f"{head}Content-Type: {kind}\r\nConnection: close\r\n\r\n{body}".encode()


@contextlib.contextmanager
def answering(*answers: bytes, context: ssl.SSLContext | None = None) -> Iterator[Answering]:
    """Such a server, until the block ends."""
    made = Answering(list(answers), context)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(15)
        assert not thread.is_alive(), "the thread that answers did not end"
