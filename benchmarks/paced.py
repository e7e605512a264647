"""Sends deliveries at a steady pace, whether or not earlier ones were answered (an open loop).

A process of its own: what it measures must not wait for the rest of the benchmark. Each latency
is counted from the moment its delivery was due, so that a server which stalls cannot slow the
clock down with it. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.figures import percentile

Wires = deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]]


class Sender:
    """Keep-alive connections, as many as are needed at once."""

    def __init__(self, url: str, pushes: list[tuple[dict[str, str], bytes]], prefix: str) -> None:
        self._url = urlsplit(url)
        self._pushes = pushes
        self._prefix = prefix
        self._idle: Wires = deque()
        self.latencies: list[float] = []
        self.refused = 0

    async def send(self, number: int, due: float) -> None:
        """Send one delivery, and take down how long after it was due the answer came."""
        wire = self._idle.popleft() if self._idle else await self._connect()
        reader, writer = wire
        writer.write(self._request(number))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(_length(head))
        self.latencies.append((asyncio.get_running_loop().time() - due) * 1000)
        self.refused += not head.startswith(b"HTTP/1.1 202")
        self._idle.append(wire)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._url.hostname, self._url.port)

    def _request(self, number: int) -> bytes:
        headers, body = self._pushes[number % len(self._pushes)]
        lines = {
            **headers,
            "X-GitHub-Delivery": f"{self._prefix}-{number}",
            "Host": self._url.netloc,
            "Content-Length": str(len(body)),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self._url.path} HTTP/1.1\r\n{head}\r\n".encode() + body


def _length(head: bytes) -> int:
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


async def paced(sender: Sender, *, rate: int, seconds: float) -> None:
    """Send so many a second for so long, and wait for all answers."""
    loop = asyncio.get_running_loop()
    begun = loop.time() + 0.1
    sent = []
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        await asyncio.sleep(max(due - loop.time(), 0))
        sent.append(asyncio.create_task(sender.send(number, due)))
    await asyncio.gather(*sent)


def main() -> None:
    """Send, and print what was seen; latencies in ms."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--pushes", type=Path, required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    wanted = parser.parse_args()
    pushes = [(headers, body.encode()) for headers, body in json.loads(wanted.pushes.read_text())]
    sender = Sender(wanted.url, pushes, wanted.prefix)
    asyncio.run(paced(sender, rate=wanted.rate, seconds=wanted.seconds))
    seen = sender.latencies
    told = {name: percentile(seen, number) for name, number in (("p50", 50), ("p99", 99))}
    print(json.dumps({"sent": len(seen), "refused": sender.refused, "worst": max(seen), **told}))


if __name__ == "__main__":
    main()
