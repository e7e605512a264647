"""What a service wrote, as part of its step's output."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.engine.client import Client

LINES = 2000
"""Of a service's output, the last lines that become the step's."""
BYTES = 256 * 1024
_LAST = 120
"""Characters of the last line for a sentence."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """The end of one service's output."""

    name: str
    data: bytes

    def whole(self) -> bytes:
        """For the step's output: each line under the service's name."""
        if not self.data:
            return f"\n[lading] service {self.name} wrote nothing\n".encode()
        cut = "; only its last lines are kept" if len(self.data) >= BYTES else ""
        head = f"\n[lading] service {self.name} wrote{cut}:\n".encode()
        prefix = f"{self.name} | ".encode()
        return head + b"".join(prefix + line + b"\n" for line in self.data.splitlines())

    def last_words(self) -> str:
        """For a sentence: its last line."""
        lines = [line for line in self.data.splitlines() if line.strip()]
        if not lines:
            return "; it wrote nothing"
        line = " ".join(lines[-1].decode(errors="replace").split())
        return f"; its last words: {line if len(line) <= _LAST else line[: _LAST - 1] + '…'}"


def told_of(client: Client, name: str, container: str) -> Told:
    """What a service wrote last. Blocking."""
    return Told(name=name, data=last_output(client, container, lines=LINES)[-BYTES:])


def last_output(client: Client, container: str, *, lines: int) -> bytes:
    """The last lines that a container wrote, as far as the engine keeps them. Blocking."""
    return bytes(client.logs(container, stdout=True, stderr=True, tail=lines))
