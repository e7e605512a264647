"""Output as it comes, over connections that may break: no byte is lost, and none comes twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import quote

from server.client.answers import Run, Step, Steps
from server.client.connection import Server
from server.client.errors import UnreachableError

PATIENCE = 300.0
"""Seconds for which a server that is away is waited for: it may be restarted, or upgraded."""
POLL = 1.0
"""Seconds between two looks at a run of which nothing is to be shown now."""
_PAUSE = 0.25
_LONGEST = 10.0
"""Seconds between two tries, at first and at most."""

T = TypeVar("T")
Tell = Callable[[str], None]


class Follower:
    """Follows one attempt of a run.

    Args:
        server: Where it runs.
        run: Its number.
        attempt: The attempt's number.
        tell: Called with a sentence when the server is away, and when it is back.
        patience: How long it may be away, in seconds.
    """

    def __init__(
        self, server: Server, run: int, attempt: int, *, tell: Tell, patience: float = PATIENCE
    ) -> None:
        self._server = server
        self._run = run
        self._path = f"/runs/{run}/attempts/{attempt}/steps"
        self._attempt = attempt
        self._tell = tell
        self._patience = patience

    def steps(self) -> list[Step]:
        """The attempt's steps; waits for a server that is away."""
        return self._patiently(lambda: self._server.get(Steps, self._path).items)

    def run(self) -> Run:
        """The run; waits for a server that is away."""
        return self._patiently(lambda: self._server.get(Run, f"/runs/{self._run}"))

    def log(self, key: str) -> str:
        """The path of a step's output."""
        return f"{self._path}/{quote(key, safe='')}/log"

    def output(self, key: str) -> Iterator[bytes]:
        """A step's whole output, until the step has ended.

        Raises:
            ClientError: There is no such step, or the server is away for too long.
        """
        at = 0
        while True:
            over = next((step.ended for step in self.steps() if step.key == key), True)
            with self._interruptible():
                query = {"follow": True, "from_byte": at}
                for piece in self._server.stream(self.log(key), query):
                    at += len(piece)
                    yield piece
                # A server that stops ends what it sends as if the step had ended: hold it against
                # what there is, once there can be no more.
                if over:
                    for piece in self._server.rest(self.log(key), at):
                        at += len(piece)
                        yield piece
                    return
                time.sleep(0.1)  # lest a server that sends nothing be asked without end

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Whoever goes on makes a connection anew that broke, or was silent for too long."""
        try:
            yield
        except UnreachableError:
            time.sleep(_PAUSE)
            self._patiently(lambda: self._server.ask("GET", "/me"))

    def _patiently(self, ask: Callable[[], T]) -> T:
        """An answer, as soon as there is one."""
        until = time.monotonic() + self._patience
        pause = _PAUSE
        told = False
        while True:
            try:
                answer = ask()
            except UnreachableError as error:
                if time.monotonic() + pause > until:
                    raise
                if not told:
                    self._tell(f"{error}; it is tried again for {self._patience:.0f} s")
                    told = True
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST)
            else:
                if told:
                    self._tell(f"{self._server.url} answers again")
                return answer
