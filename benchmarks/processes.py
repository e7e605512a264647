"""Processes that are measured: started, watched, ended; their memory and their words."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from scripts.parts.errors import PartError

STOP_SECONDS = 20.0


class BrokenError(Exception):
    """A measurement broke; the message says which part, and how."""


class Process:
    """A process of ours whose words go to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.killed = False
        """Whether it ended because it was to."""

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.killed = True
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """Raises BrokenError, with its last words, where it has ended."""
        code = self._process.poll()
        if code is not None:
            message = f"{self._process.args!r} ended with {code}:\n{self.words()}"
            raise BrokenError(message)

    def words(self, lines: int = 25) -> str:
        """The last lines it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def resident(self) -> int:
        """Its resident memory now, in KiB."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most resident memory since it began or since `forget_peak`, in KiB."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Measure `peak` from now on (proc(5): 5 in clear_refs resets the high water mark)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, field: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0])
        raise BrokenError(f"the system tells no {field} of process {self.pid}")


@contextlib.contextmanager
def started(
    command: Sequence[str], *, log: Path, env: dict[str, str], core: int | None = None
) -> Iterator[Process]:
    """Run a command until the block ends.

    Args:
        command: Program and arguments.
        log: Takes what it says on both streams.
        env: Its whole environment.
        core: The one processor core it may use; None: any.
    """
    pinned = ["taskset", "--cpu-list", str(core)] if core is not None else []
    with log.open("wb") as words:
        process = subprocess.Popen(
            [*pinned, *command], stdin=subprocess.DEVNULL, stdout=words, stderr=words, env=env
        )
    try:
        yield Process(process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(condition: Callable[[], Any], what: str, *, within: float, pause: float = 0.01) -> None:
    """Poll until the condition holds.

    Raises:
        BrokenError: It did not, within so many seconds.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            message = f"not within {within:g} s: {what}"
            raise BrokenError(message)
        time.sleep(pause)


def checked(
    command: Sequence[str], *, env: dict[str, str], stdout: int | IO[bytes] = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end.

    Raises:
        BrokenError: It failed.
        PartError: There is no such program.
    """
    try:
        done = subprocess.run(command, check=False, env=env, stdout=stdout, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        message = f"`{command[0]}` is not on this machine; install it, and try again"
        raise PartError(message) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        message = f"{' '.join(command)} ended with {done.returncode}: {said}"
        raise BrokenError(message)
    return done
