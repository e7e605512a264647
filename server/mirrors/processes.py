"""git processes, started and awaited in threads of their own.

Under uvloop `asyncio.create_subprocess_exec` forks, which holds up the whole server for as long as
it takes to copy a large process's page tables; `subprocess.Popen` uses vfork. Nothing here runs
for long in the event loop, and no thread is left behind a call that was cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

THREADS = 16  # at most, of each lane
GRACE = 2.0  # seconds between SIGTERM (git removes its lock files) and SIGKILL
STDERR_LIMIT = 64 * 1024  # bytes kept for the message
READING = ""
"""The lane of what needs no network."""

_PIECE = 65536  # bytes
_Answer = TypeVar("_Answer")


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


class Process:
    """A git process in a group of its own, ended as a group when the block is left early.

    Blocking: for a thread. One thread owns it from its start to its end.

    Args:
        git_dir: The repository; its parent folder must exist.
        arguments: The command and its arguments.
        env: The whole environment.
        stop: A pipe to read from: once its other end is closed, every wait ends with StoppedError.
        timeout: Seconds; after them every wait ends with TimeoutError.
        stdin: `subprocess.PIPE` for a conversation.
    """

    def __init__(
        self,
        git_dir: Path,
        arguments: Sequence[str],
        env: Mapping[str, str],
        *,
        stop: int,
        timeout: float,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self._process = subprocess.Popen(
            ["git", f"--git-dir={git_dir}", *arguments],
            bufsize=0,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd=git_dir.parent,
            close_fds=True,
            start_new_session=True,
        )
        assert self._process.stdout and self._process.stderr  # noqa: S101, PT018 - both are pipes
        self._deadline = time.monotonic() + timeout
        self._out = self._process.stdout.fileno()
        self._open = {self._out, self._process.stderr.fileno()}
        self._err = bytearray()
        self._stop = stop
        self._poll = select.poll()
        for pipe in (stop, *self._open):
            self._poll.register(pipe, select.POLLIN)

    @property
    def err(self) -> str:
        """The beginning of what git has said on stderr so far."""
        return self._err.decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.returncode is None:
            self._end()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def write(self, line: bytes) -> None:
        """Say one line, shorter than a pipe holds, to a git that has answered all lines before.

        Raises:
            BrokenPipeError: git has ended.
        """
        assert self._process.stdin  # noqa: S101 - a pipe, where there is a conversation
        self._process.stdin.write(line)

    def read(self) -> bytes:
        """The next piece of output; empty at its end.

        Raises:
            StoppedError: Nobody waits for it any more.
            TimeoutError: It took too long.
        """
        while self._out in self._open:
            if piece := self._next():
                return piece
        return b""

    def finish(self) -> int:
        """Wait for git's own end and give its exit code; output that is left is thrown away.

        Raises:
            StoppedError: Nobody waits for it any more.
            TimeoutError: It took too long.
        """
        if self._process.stdin:
            self._process.stdin.close()
        self._until_gone()
        return self._process.wait()

    def _next(self, at_most: float = math.inf) -> bytes:
        """Wait for news, and give what came on stdout; what came on stderr is kept aside."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        out = b""
        for pipe, _ in self._poll.poll(1000 * min(left, at_most)):
            if pipe == self._stop:
                raise StoppedError
            piece = os.read(pipe, _PIECE)
            if not piece:
                self._poll.unregister(pipe)
                self._open.remove(pipe)
            elif pipe == self._out:
                out = piece
            else:
                self._err += piece[: STDERR_LIMIT - len(self._err)]
        return out

    def _until_gone(self) -> None:
        """Wait for the end of git and of every helper that holds its pipes."""
        while self._open:
            self._next()
        pause = 0.0002
        while not self._gone():
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
            self._next(0)

    def _gone(self) -> bool:
        """Whether git has ended. It is not reaped, so that its group's number stays its own."""
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, how) is not None

    def _end(self) -> None:
        self._poll.unregister(self._stop)
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(self._process.pid, number)
            self._deadline = time.monotonic() + GRACE
            with contextlib.suppress(TimeoutError):
                self._until_gone()
                break
        os.killpg(self._process.pid, signal.SIGKILL)  # whoever has closed the pipes and stayed
        self._process.poll()


class Threads:
    """Threads that wait for git, in lanes: a host that hangs holds up no other."""

    def __init__(self) -> None:
        self._lanes: dict[str, ThreadPoolExecutor] = {}

    async def do(self, lane: str, work: Callable[[int], _Answer]) -> _Answer:
        """Call `work` in a thread; when cancelled, it has ended before this does.

        Args:
            lane: Whom else it may have to wait for: a host's name, or READING.
            work: Blocking; gets `stop` of :class:`Process`.
        """
        told, tell = (FileIO(end, mode) for end, mode in zip(os.pipe(), "rw", strict=True))
        future = self._lane(lane).submit(_with, told, work)
        done = asyncio.wrap_future(future)
        try:
            await asyncio.wait({done})
        finally:
            tell.close()
            if future.cancel():  # still in the queue
                told.close()
            else:
                await _end_of(done)
        return done.result()

    def _lane(self, name: str) -> ThreadPoolExecutor:
        if name not in self._lanes:
            self._lanes[name] = ThreadPoolExecutor(THREADS, f"git-{name}")
        return self._lanes[name]


def _with(told: FileIO, work: Callable[[int], _Answer]) -> _Answer:
    with told:
        return work(told.fileno())


async def _end_of(done: asyncio.Future[_Answer]) -> None:
    """Wait for a thread that is told to stop, which takes some seconds at most.

    Being cancelled again changes nothing: a caller that has gone on must find no git at work.
    """
    while not done.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({done})
    done.exception()  # seen, so that asyncio does not complain
