"""A step's container with its output: attached to, or as the engine keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.engine.client import Engine, Stream
from pipelines.engine.stream import Raw, read_pieces
from pipelines.plan import CommandsWork, Work


@dataclass(kw_only=True)
class Prepared:
    """A container made and attached to, not started."""

    container: str
    image: str
    pieces: Iterator[memoryview]
    stream: Stream

    def close(self) -> None:
        """Detach from it; nobody must be reading."""
        self.stream.close()


async def found(engine: Engine, container: str, *, onward: bool) -> Prepared:
    """A container that an earlier process started, with its output.

    From the beginning, which the engine keeps; or, where nobody wants that any more, only onward:
    the engine's own log of a flood takes minutes to read.
    """
    await engine.call(engine.ends.listen)
    return await engine.call(attached if onward else logged, engine, container)


def attached(engine: Engine, container: str) -> Prepared:
    """A container with what it writes from now on. Blocking."""
    raw: Raw = engine.streams.attach_socket(
        container, params={"stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
    )
    pieces, stream = read_pieces(raw), engine.streams.opened()
    return Prepared(container=container, image="", pieces=pieces, stream=stream)


def logged(engine: Engine, container: str, *, follow: bool = True) -> Prepared:
    """A container with what it wrote since its start. Blocking."""
    log = engine.streams.container_log(container, follow=follow)
    return Prepared(container=container, image="", pieces=log.pieces(), stream=log)


def begins(work: Work) -> bytes:
    """How a step's output begins: `script` echoes each command before it runs it."""
    commands = work.commands if isinstance(work, CommandsWork) else ()
    return f"$ {commands[0]}\n".encode() if commands else b""
