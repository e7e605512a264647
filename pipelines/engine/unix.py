"""The SDK's way to a unix socket, but for one thing: a socket that could not connect is closed.

The SDK forgets it, and an engine that is away is asked again and again.
"""

from __future__ import annotations

import socket
from typing import Any

from docker.transport.unixconn import (
    UnixHTTPAdapter,
    UnixHTTPConnection,
    UnixHTTPConnectionPool,
)


class _Connection(UnixHTTPConnection):
    def connect(self) -> None:
        """Connect, or leave nothing behind."""
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connecting.settimeout(self.timeout)
            connecting.connect(self.unix_socket)
        except OSError:
            connecting.close()
            raise
        self.sock = connecting


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> _Connection:  # type: ignore[override]  # as the SDK's own is
        # The stubs want whole seconds here and there; requests takes any number, and None.
        return _Connection(self.base_url, self.socket_path, self.timeout)  # type: ignore[arg-type]


class ClosingAdapter(UnixHTTPAdapter):
    """An adapter whose connections are ours.

    Args:
        path: Of the socket.
        timeout: Seconds; None: for ever.
        connections: Kept open at most.
    """

    def __init__(self, path: str, *, timeout: float | None, connections: int) -> None:
        super().__init__(f"http+unix://{path}", timeout, max_pool_size=connections)  # type: ignore[arg-type]  # see _Pool

    def get_connection(self, url: Any, proxies: Any = None) -> _Pool:  # noqa: ANN401 (as the SDK's)
        """The one pool."""
        del proxies
        with self.pools.lock:
            pool: _Pool | None = self.pools.get(url)
            if pool is None:
                pool = _Pool(url, self.socket_path, self.timeout, maxsize=self.max_pool_size)
                self.pools[url] = pool
        return pool
