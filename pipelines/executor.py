"""The port between execution and whatever runs a step.

The contract, for whoever writes a second executor:

* One executor serves one attempt of one run. `open` comes first and once, `close` or `release`
  last and once, also after a failed `open` or a cancelled task; between them any number of `run`,
  `adopt` and `stop`.
* `run` is called once for each try of a step, after the try before was discarded, and several at
  the same time for different steps. It returns when the step's own work is over and everything it
  wrote has reached `output`. It raises nothing for what a step or its environment may do: a failing
  command is `State.FAILURE`, an engine, image or registry that cannot be had is `State.ERROR`, both
  with a sentence for people.
* `stop` asks a step to end: SIGTERM, then after `grace` seconds SIGKILL for everything in its
  container. It returns at once or when asked; the step's `run` is what returns the outcome. A stop
  for a step that has not started, or has ended, does nothing.
* `run` does not remove what it made. `discard` does, once the outcome is durable; `close` removes
  whatever is left of the whole attempt. Both are quiet about things that are gone already.
* An attempt may begin with steps that an earlier one has done; it is opened with a progress in
  which they have ended, and finds what they made. `open` gives the builds whose image is there no
  more. So that there is such an image, `close` is told to keep those of an attempt that did not
  succeed; whoever made the executor removes them in time.
* What a step names beside its commands is the executor's too: its services run before the commands
  begin and are over when `run` or `adopt` returns an outcome; its cache is there before they begin,
  and kept after a success. A service that is not ready is `State.FAILURE`; a cache never decides.
* What runs outlives us. `release` lets go of everything and removes nothing: a later executor of
  the same attempt, in another process, finds it again. So does one that comes after a process that
  died without a word. It is opened with the progress that the earlier one had told of, finds what
  that one made instead of making it, and is asked to `adopt` each step that has not ended before
  it may be asked to `run` it.
* `adopt` goes on with a step where the earlier process was: it follows one that still runs, reads
  one that has ended meanwhile as it ended, and writes to `output` only what that lacks. None says
  that there is nothing to go on with; what that means is not the executor's to say. Of a push that
  was cut off, the registry is asked what it has: all of it is a success, with the digest; else the
  outcome says what is there, or is None where the step says that it may be repeated.
* `collect` reads files of the workspace as a step has left them: after its `run` or `adopt` has
  returned and before it is discarded, also where it failed. It never does so through a container
  in which anything has run. Several steps' files may be read at once, and a step's again.
* Output is bytes as they came; `output.write` may be called from any one thread at a time per
  step and never blocks for long. `STDOUT` and `STDERR` are the container's own bytes and nothing
  else, so that their count says how much of a container's output is stored; a line of Lading's
  own, the builder's and the registry's words are `OWN`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pipelines.plan import Step
from pipelines.progress import Outcome, Progress
from pipelines.taking import Bounds, Take, Tally

OWN = 0
STDOUT = 1
STDERR = 2


class Output(Protocol):
    """Where one step's output goes."""

    def write(self, stream: int, data: bytes) -> None:
        """Take bytes of stream `STDOUT`, `STDERR` or `OWN`, in the order they came."""

    @property
    def full(self) -> bool:
        """Whether bytes are only counted from now on: nobody need look for old ones any more."""


class Executor(Protocol):
    """Runs the steps of one attempt."""

    async def open(self, earlier: Progress | None = None) -> frozenset[str]:
        """Make the workspace and whatever all steps share, or find it.

        Args:
            earlier: Where an earlier process left the same attempt, or what is carried over into
                it; None: it begins with nothing.

        Returns:
            Keys of the builds that have ended well and whose image is there no more.

        Raises:
            ExecutorUnavailableError: The engine cannot be reached or has no room, or what the
                earlier process made is there no more.
        """

    async def run(self, step: Step, output: Output, running: Callable[[], None]) -> Outcome:
        """Do one step's work; `running` is called once when the work itself begins."""

    async def adopt(
        self, step: Step, output: Output, running: Callable[[], None], taken: Mapping[int, int]
    ) -> Outcome | None:
        """Go on with a step that an earlier process began; None where there is nothing of it.

        Args:
            step: One that has not ended.
            output: Takes what is not stored yet.
            running: Called once when it is clear that the work itself had begun.
            taken: Bytes of each stream that are stored already.
        """

    async def collect(
        self, step: Step, patterns: Sequence[str], bounds: Bounds, take: Take
    ) -> Tally:
        """Hand on files of the workspace; what was handed on, and what was left out.

        Args:
            step: One that has ended.
            patterns: Paths and patterns from the workspace's root; of a folder, all that is in it.
            bounds: How much at the most.
            take: Gets each file, from one thread that is not the caller's.

        Raises:
            TooMuchError: There is more than the bounds allow.
            ExecutorUnavailableError: The engine cannot be reached, or has the files no more.
            tarfile.TarError: The engine broke off.
            OSError: From `take`.
        """

    def cleaned(self, text: str) -> str:
        """What a step has written elsewhere than to its output, without the attempt's secrets."""

    async def stop(self, key: str, *, grace: float) -> None:
        """Ask a running step to end."""

    async def discard(self, key: str) -> None:
        """Remove what a finished step left."""

    async def close(self, *, keep_images: bool = False) -> None:
        """Remove everything that belongs to the attempt, perhaps but the images built in it."""

    async def release(self) -> None:
        """Let go of the attempt; whatever runs goes on."""
