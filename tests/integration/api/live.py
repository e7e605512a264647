"""A real server on loopback, for what a client must see while it happens."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette


@contextlib.contextmanager
def served(app: Starlette, stopping: asyncio.Event) -> Iterator[str]:
    """Serve an application in a thread; `stopping` is set before it is asked to stop."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_level="error", ws="none")
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    loops: list[asyncio.AbstractEventLoop] = []
    running = threading.Event()

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        running.set()
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    running.wait(10)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loops[0].call_soon_threadsafe(stopping.set)
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"
