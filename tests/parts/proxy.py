"""A way to a real registry that can stop, break or answer in its place, whenever a test says so."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections import deque
from collections.abc import Iterator

PIECE = 64 * 1024
_REQUEST = re.compile(rb"(?:^|\n)((?:GET|HEAD|POST|PUT|PATCH|DELETE) \S+) HTTP/1\.1\r?\n")


class Proxy:
    """Hands bytes on between whoever connects to `address` and a server.

    Requests are recognised by their first line, which is enough for what an engine sends.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        """`PUT /v2/web/manifests/1`, in the order they came."""
        self._answers: deque[tuple[re.Pattern[str], bytes]] = deque()
        self.stopped = threading.Event()
        """Something was stopped on its way."""
        self._stop_at: re.Pattern[str] | None = None
        self._stop_answer = False
        self._held: socket.socket | None = None
        self._go_on = threading.Event()
        self._down = False
        self._lost = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def answer(self, request: str, answer: bytes, *, times: int = 1) -> None:
        """Give this answer to the next requests that match, in place of the server."""
        self._answers.extend([(re.compile(request), answer)] * times)

    def stop_at(self, request: str, *, answer: bool = False) -> None:
        """Hold back the first request that matches, or the answer to it, until `go_on`."""
        self.stopped.clear()
        self._lost = False
        self._go_on.clear()
        self._stop_at, self._stop_answer = re.compile(request), answer

    def go_on(self) -> None:
        """Hand on everything, and accept connections again."""
        self._stop_at = None
        self._down = False
        self._go_on.set()

    def go_down(self) -> None:
        """Break every connection, and each new one at once; what is held back is lost."""
        self._down = self._lost = True
        self._go_on.set()
        self._break_all()

    def close(self) -> None:
        """Stop listening and end every thread."""
        self.go_down()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a thread of the proxy did not end"

    def serve(self) -> None:
        """Take connections until closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._connection, client)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type] # any
        self._threads.append(thread)
        thread.start()

    def _connection(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            stack.enter_context(self._tracked(client))
            if self._down:
                return
            server = socket.create_connection(self._target, timeout=10)
            server.settimeout(None)
            stack.enter_context(self._tracked(server))
            back = threading.Thread(target=self._back, args=(server, client), daemon=True)
            back.start()
            try:
                self._forth(client, server)
            finally:
                for each in (client, server):
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
                back.join()

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        """Requests, as far as they may go."""
        while data := client.recv(PIECE):
            for found in _REQUEST.finditer(data):
                request = found[1].decode()
                with self._lock:
                    self.requests.append(request)
                    answer = self._own_answer(request)
                if answer is not None:
                    client.sendall(answer)
                    return
                if self._stop_at is not None and self._stop_at.search(request):
                    self._stop_at = None
                    if self._stop_answer:  # its body may come behind
                        self._held = server
                        continue
                    self.stopped.set()
                    self._go_on.wait()
                    if self._lost:
                        return
            if data:
                server.sendall(data)

    def _own_answer(self, request: str) -> bytes | None:
        if self._answers and self._answers[0][0].search(request):
            return self._answers.popleft()[1]
        return None

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(PIECE):
                if self._held is server:
                    self.stopped.set()
                    self._go_on.wait()
                    self._held = None
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _tracked(self, one: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.add(one)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(one)
            one.close()

    def _break_all(self) -> None:
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


def refusal(status: int, *, headers: str = "", body: str = "{}") -> bytes:
    """An answer that a registry may give when it does not do what was asked."""
    head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"{head}Content-Type: application/json\r\n{headers}\r\n{body}".encode()


@contextlib.contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy for the server at `host:port`, until the block ends."""
    made = Proxy(target)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(10)
