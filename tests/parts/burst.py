"""Many pushes at once: histories made quickly, and all their deliveries sent in one burst."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.doubles.base import Delivery
from tests.parts.git_server import Repository

CONNECTIONS = 100
AUTHOR = "Ada Lovelace <ada@example.test> 1767225600 +0000"
ZERO = "0" * 40


@dataclass(frozen=True, kw_only=True)
class Push:
    """One push: where the branch was, and where it went."""

    ref: str
    before: str
    sha: str


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What came back, and how long all of it took."""

    answers: Counter[int]
    seconds: float


def histories(
    repository: Repository, files: Mapping[str, str], *, branches: int, pushes: int
) -> list[Push]:
    """Branches on the host with one commit for each push; the pushes in the order people made them.

    `git fast-import`, because ten thousand `git commit` take minutes.
    """
    marks = repository.bare / "burst.marks"
    stream = "".join(_stream(files, branches, pushes)).encode()
    subprocess.run(
        ["git", "fast-import", "--quiet", f"--export-marks={marks}"],
        cwd=repository.bare,
        input=stream,
        check=True,
        capture_output=True,
    )
    lines = marks.read_text().splitlines()
    shas = {int(mark[1:]): sha for mark, sha in (line.split() for line in lines)}
    return [
        Push(
            ref=f"refs/heads/branch-{branch}",
            before=shas[_mark(branch, push - 1, pushes)] if push else ZERO,
            sha=shas[_mark(branch, push, pushes)],
        )
        for push in range(pushes)
        for branch in range(branches)
    ]


def _mark(branch: int, push: int, pushes: int) -> int:
    return 1 + branch * pushes + push


def _stream(files: Mapping[str, str], branches: int, pushes: int) -> Iterator[str]:
    for branch in range(branches):
        for push in range(pushes):
            yield f"commit refs/heads/branch-{branch}\nmark :{_mark(branch, push, pushes)}\n"
            yield f"committer {AUTHOR}\n{_data(f'Change {push} of branch {branch}')}"
            contents = {"change": f"{branch}/{push}", **(files if push == 0 else {})}
            for name, content in contents.items():
                yield f"M 100644 inline {name}\n{_data(content)}"


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def send(url: str, deliveries: Sequence[Delivery], *, connections: int = CONNECTIONS) -> Sent:
    """Send all of them as fast as the server takes them."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), int(parts.port or 80)
    waiting = deque(_request(parts.path, f"{host}:{port}", one) for one in deliveries)
    begun = time.perf_counter()
    answers = asyncio.run(_send(host, port, waiting, connections))
    return Sent(answers=answers, seconds=time.perf_counter() - begun)


def _request(path: str, host: str, delivery: Delivery) -> bytes:
    headers = {**delivery.headers, "Host": host, "Content-Length": str(len(delivery.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + delivery.body


async def _send(host: str, port: int, waiting: deque[bytes], connections: int) -> Counter[int]:
    answers: Counter[int] = Counter()

    async def one_after_the_other() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        while waiting:
            writer.write(waiting.popleft())
            await writer.drain()
            answers[await _answer(reader)] += 1
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(connections, len(waiting))):
            group.create_task(one_after_the_other())
    return answers


async def _answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = next(
        int(line.partition(":")[2])
        for line in head.splitlines()
        if line.lower().startswith("content-length:")
    )
    await reader.readexactly(length)
    return int(head.split()[1])
