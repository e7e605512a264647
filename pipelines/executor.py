"""The port between execution and whatever runs a step.

The contract, for whoever writes a second executor:

* One executor serves one attempt of one run. `open` comes first and once, `close` last and once,
  also after a failed `open` or a cancelled task; between them any number of `run` and `stop`.
* `run` is called at most once for each step, and several at the same time for different steps. It
  returns when the step's own work is over and everything it wrote has reached `output`. It raises
  nothing for what a step or its environment may do: a failing command is `State.FAILURE`, an
  engine, image or registry that cannot be had is `State.ERROR`, both with a sentence for people.
* `stop` asks a step to end: SIGTERM, then after `grace` seconds SIGKILL for everything in its
  container. It returns at once or when asked; the step's `run` is what returns the outcome. A stop
  for a step that has not started, or has ended, does nothing.
* `run` does not remove what it made. `discard` does, once the outcome is durable; `close` removes
  whatever is left of the whole attempt. Both are quiet about things that are gone already.
* Output is bytes as they came; `output.write` may be called from any one thread at a time per
  step and never blocks for long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipelines.plan import Step
from pipelines.progress import Outcome

STDOUT = 1
STDERR = 2


class Output(Protocol):
    """Where one step's output goes."""

    def write(self, stream: int, data: bytes) -> None:
        """Take bytes of stream `STDOUT` or `STDERR`, in the order they came."""


class Executor(Protocol):
    """Runs the steps of one attempt."""

    async def open(self) -> None:
        """Make the workspace and whatever all steps share.

        Raises:
            ExecutorUnavailableError: The engine cannot be reached or has no room.
        """

    async def run(self, step: Step, output: Output, running: Callable[[], None]) -> Outcome:
        """Do one step's work; `running` is called once when the work itself begins."""

    async def stop(self, key: str, *, grace: float) -> None:
        """Ask a running step to end."""

    async def discard(self, key: str) -> None:
        """Remove what a finished step left."""

    async def close(self) -> None:
        """Remove everything that belongs to the attempt."""
