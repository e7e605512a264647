"""A step's container with its output: attached to, or as the engine keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.engine.client import Client, Engine, Stream
from pipelines.engine.stream import Raw, read_pieces
from pipelines.plan import CommandsWork, Work


@dataclass(kw_only=True)
class Prepared:
    """A container, and its output as far as somebody reads it."""

    container: str
    image: str = ""
    pieces: Iterator[memoryview] = field(default_factory=lambda: iter(()))
    stream: Stream | None = None

    def cut(self) -> None:
        """End it for whoever reads. From any thread."""
        if self.stream is not None:
            self.stream.cut()

    def close(self) -> None:
        """Detach from it; nobody must be reading."""
        if self.stream is not None:
            self.stream.close()


def attached(engine: Engine, container: str) -> Prepared:
    """A container with what it writes from now on. Blocking."""
    raw: Raw = engine.streams.attach_socket(
        container, params={"stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
    )
    pieces, stream = read_pieces(raw), engine.streams.opened()
    return Prepared(container=container, pieces=pieces, stream=stream)


def logged(engine: Engine, container: str, *, follow: bool) -> Prepared:
    """A container with what it wrote since its start, and perhaps what comes. Blocking."""
    log = engine.streams.container_log(container, follow=follow)
    return Prepared(container=container, pieces=log.pieces(), stream=log)


def image_of(client: Client, container: str) -> str:
    """The id of a container's image. Blocking."""
    return str(client.inspect_container(container)["Image"])


def begins(work: Work) -> bytes:
    """How a step's output begins: `script` echoes each command before it runs it."""
    commands = work.commands if isinstance(work, CommandsWork) else ()
    return f"$ {commands[0]}\n".encode() if commands else b""
