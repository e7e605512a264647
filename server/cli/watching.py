"""Following runs: output as it comes, and an exit code that says how it ended."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import BinaryIO

from server.cli.console import OBEYED
from server.cli.tables import coloured, cut, one_line, span
from server.cli.terminal import RESET, Paint, is_terminal, paint_for, tolerant
from server.client.answers import Run, Step
from server.client.connection import Server
from server.client.following import POLL, Follower

# What is left of C0, and C1 in UTF-8: a terminal may obey those, too.
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]|\xc2[\x80-\x9f]")
_HELD = 4096
"""Bytes of an escape sequence that is waited for."""


class Ending(IntEnum):
    """Exit codes of commands that wait; 2 is wrong use, 4 a server that cannot be asked."""

    SUCCESS = 0
    FAILURE = 1
    """The run's own work said no: a test failed, an image does not build."""
    ERROR = 3
    """It could not be tried, was cancelled, or nothing was started."""

    @classmethod
    def of(cls, state: str) -> Ending:
        """The code for a state that has ended."""
        return {"success": cls.SUCCESS, "failure": cls.FAILURE}.get(state, cls.ERROR)


class Tame:
    """Bytes of steps for a stream; on a terminal without what would move or rewrite things.

    Args:
        stream: Where they go.
        terminal: Whether it is one.
    """

    def __init__(self, stream: BinaryIO, *, terminal: bool) -> None:
        self._stream = stream
        self._terminal = terminal
        self._held = b""
        self.at_start = True
        """Whether the next byte begins a line."""

    def write(self, data: bytes) -> None:
        """Some output, as it comes."""
        if not self._terminal:
            self._put(data)
            return
        data = self._held + data
        escape = data.rfind(b"\x1b", data.rfind(b"\n") + 1)
        # A sequence may not be whole yet; one that never ends is none.
        cut_at = escape if escape >= 0 and len(data) - escape < _HELD else len(data)
        self._held = data[cut_at:]
        self._put(_tamed(data[:cut_at]))

    def finish(self) -> None:
        """The step writes no more."""
        held, self._held = self._held, b""
        self._put(_tamed(held))
        if self._terminal and not self.at_start:
            self._put(b"\n")

    def line(self, text: str) -> None:
        """A line of our own."""
        self._put((b"" if self.at_start else b"\n") + text.encode(errors="replace") + b"\n")

    def _put(self, data: bytes) -> None:
        if data:
            self._stream.write(data)
            self._stream.flush()
            self.at_start = data.endswith(b"\n")


def _tamed(data: bytes) -> bytes:
    if b"\x1b" in data:
        data = OBEYED.sub(b"", data).replace(b"\n", f"{RESET}\n".encode())
    return _CONTROLS.sub(b"", data)


def tell(text: str) -> None:
    """A sentence beside the output."""
    tolerant(sys.stderr)
    print(f"lading: {one_line(text)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C, and a reader that goes away, end the watching; the run goes on.

    Raises:
        SystemExit: With the code that shells give for it.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            sys.stdout.close()
        raise SystemExit(128 + signal.SIGPIPE) from None


def logs(server: Server, number: int, key: str | None, *, follow: bool) -> Ending:
    """Print a step's output, or that of all steps.

    Returns:
        Followed: how it ended. Else: success.

    Raises:
        ClientError: There is no such run or step, or the server cannot be asked.
    """
    run = server.get(Run, f"/runs/{number}")
    watch = _Watch(server, run)
    if key is not None:
        return watch.step(key, follow=follow)
    if follow:
        return watch.whole()
    for step in sorted(run.steps, key=_begun):
        if step.started_at is not None:
            watch.now(step)
    return Ending.SUCCESS


def follow(server: Server, number: int) -> Ending:
    """Print the output of a run's newest attempt as it comes; how it ended."""
    return _Watch(server, server.get(Run, f"/runs/{number}")).whole()


def wait(server: Server, numbers: Iterable[int]) -> Ending:
    """Wait for the newest attempts of runs; the worst of how they ended."""
    endings = [_Watch(server, server.get(Run, f"/runs/{number}")).ended() for number in numbers]
    return max(endings, default=Ending.ERROR)


class _Watch:
    """One attempt of a run, watched."""

    def __init__(self, server: Server, run: Run) -> None:
        self._server = server
        self._attempt = run.attempt
        self._run = run
        self._follower = Follower(server, run.id, run.attempt, tell=tell)
        self._terminal = is_terminal(sys.stdout)
        self._paint: Paint = paint_for(sys.stdout)
        self._out = Tame(sys.stdout.buffer, terminal=self._terminal)
        self._shown: set[str] = set()
        self._said = ""

    def step(self, key: str, *, follow: bool) -> Ending:
        """A step's output and nothing else, byte for byte; how the step ended."""
        if not follow:
            for piece in self._server.stream(self._follower.log(key)):
                self._out.write(piece)
            self._out.finish()
            return Ending.SUCCESS
        # Asked for first: it says which steps there are, where there is none of that name.
        self._server.tail(self._follower.log(key), 1)
        for piece in self._follower.output(key):
            self._out.write(piece)
        self._out.finish()
        step = next(one for one in self._follower.steps() if one.key == key)
        tell(_told(step))
        return Ending.of(step.state)

    def now(self, step: Step) -> None:
        """What a step has printed until now, under its name."""
        self._head(step)
        for piece in self._server.stream(self._follower.log(step.key)):
            self._out.write(piece)
        self._out.finish()

    def whole(self) -> Ending:
        """Step after step, as they begin, until the attempt has ended; how."""
        while True:
            # In this order: what is over has no step that begins later.
            run = self._follower.run()
            steps = self._follower.steps()
            step = self._next(steps)
            if step is not None:
                self._one(step)
            elif self._over(run):
                for left in steps:
                    if left.key not in self._shown:
                        self._out.line(self._paint.dim(_told(left)))
                return self._close(run)
            else:
                self._waiting(run)
                time.sleep(POLL)

    def ended(self) -> Ending:
        """Nothing but how it ended."""
        while True:
            run = self._follower.run()
            if self._over(run):
                return self._close(run)
            self._waiting(run)
            time.sleep(POLL)

    def _next(self, steps: Iterable[Step]) -> Step | None:
        begun = [
            step
            for step in steps
            if step.key not in self._shown
            and step.started_at is not None
            and step.carried_from is None
        ]
        return min(begun, key=_begun, default=None)

    def _one(self, step: Step) -> None:
        self._head(step)
        for piece in self._follower.output(step.key):
            self._out.write(piece)
        self._out.finish()
        self._shown.add(step.key)
        now = next(one for one in self._follower.steps() if one.key == step.key)
        self._out.line(coloured(now.state, self._paint)(_told(now)))

    def _head(self, step: Step) -> None:
        self._out.line(self._paint.bold(f"--- {one_line(step.key)} ---"))

    def _over(self, run: Run) -> bool:
        return next(one.ended for one in run.attempts if one.number == self._attempt)

    def _waiting(self, run: Run) -> None:
        """Say once what it waits for."""
        what = run.waits_for if run.attempt == self._attempt else None
        if what and what != self._said:
            tell(f"run {run.id} {what}")
            self._said = what

    def _close(self, run: Run) -> Ending:
        attempt = next(one for one in run.attempts if one.number == self._attempt)
        tell(f"run {run.id} ({run.pipeline}): {attempt.sentence or attempt.state}")
        return Ending.of(attempt.state)


def _begun(step: Step) -> float:
    return step.started_at.timestamp() if step.started_at is not None else 0.0


def _told(step: Step) -> str:
    """`test.unit: failure after 3 s: exit code 1`."""
    took = span(step.started_at, step.ended_at)
    why = "" if step.outcome is None else step.outcome.message
    if step.carried_from is not None:
        return f"{one_line(step.key)}: carried over from attempt {step.carried_from}"
    told = f"{one_line(step.key)}: {step.state}{f' after {took}' if took else ''}"
    return told + (f": {cut(why, 300)}" if why else "")
