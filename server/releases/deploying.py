"""Has a deploy step move its channel to what the run pushed, by digest and without building.

First it is asked whether the channel may be moved, so that nothing is deployed by commands that the
channel would then not lead to; then the commands run; then it moves. What was pushed is known from
the pushes themselves, as they end here or ended earlier in this attempt: never from a tag.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol

from pipelines.executor import OWN, Executor, Output
from pipelines.plan import Channel, NoWork, PushWork, Step
from pipelines.problems import LadingError
from pipelines.progress import Outcome, Progress, Pushed, State
from pipelines.repeating import renewed
from server.releases.around import Around
from server.releases.choosing import Version
from server.releases.releases import Releases
from server.store.channels import MoveKind
from server.store.rows import RunRow


class Channels(Protocol):
    """The channels, as one run may move them."""

    async def refuse(self, image: str, channel: str) -> None:
        """Nothing where the channel may be moved now.

        Raises:
            LadingError: It may not; the message says why, and what to do.
        """

    async def move(self, pushed: Pushed, channel: str, step: str) -> str | None:
        """Have the channel lead to what was pushed; a move that was made already does no harm.

        Returns:
            The digest that it led to before; None: to nothing.

        Raises:
            LadingError: It stayed where it was; the message says why, and what to do.
        """


class RunChannels:
    """Implements `Channels` for a run: each move is on record as that run's and that step's."""

    def __init__(self, releases: Releases, run: RunRow) -> None:
        self._releases = releases
        self._run = run

    async def refuse(self, image: str, channel: str) -> None:
        """See `Channels.refuse`."""
        if not self._run.trusted:
            raise LadingError("a commit that is not trusted moves no channel")
        await self._releases.refuse_paused(image, channel)

    async def move(self, pushed: Pushed, channel: str, step: str) -> str | None:
        """See `Channels.move`."""
        await self.refuse(pushed.repository, channel)
        run = self._run
        to = Version(
            image=pushed.repository,
            digest=pushed.digest,
            tags=pushed.tags,
            sha=run.sha,
            branch=run.branch,
            run=run.id,
        )
        moved = await self._releases.move(
            image=pushed.repository,
            channel=channel,
            to=to,
            by=f"run {run.id}",
            kind=MoveKind.DEPLOY,
            why=f"{step} of run {run.id}",
            run=run.id,
        )
        return moved.from_digest


class Deploying(Around):
    """An executor whose deploys move channels."""

    def __init__(self, inner: Executor, *, channels: Channels) -> None:
        super().__init__(inner)
        self._channels = channels
        self._pushed: dict[str, Pushed] = {}
        self._stopped: set[str] = set()

    async def open(self, earlier: Progress | None = None) -> frozenset[str]:
        """See `Executor.open`; what was pushed earlier in this attempt is remembered."""
        gone = await super().open(earlier)
        if earlier is not None:
            again = renewed(earlier, gone)
            for key, step in earlier.steps.items():
                if key not in again:
                    self._remember(key, step.outcome)
        return gone

    async def run(self, step: Step, output: Output, running: Callable[[], None]) -> Outcome:
        """See `Executor.run`; a channel moves once the step's own work has passed."""
        if isinstance(step.work, PushWork):
            self._pushed.pop(step.key, None)
        if step.channel is None:
            return self._remember(step.key, await super().run(step, output, running))
        try:
            for pushed in self._targets(step.channel):
                await self._channels.refuse(pushed.repository, step.channel.name)
        except LadingError as error:
            return _refused(output, error)
        if isinstance(step.work, NoWork):
            running()
            return await self._move(step, step.channel, output)
        outcome = await super().run(step, output, running)
        return await self._after(step, step.channel, outcome, output)

    async def adopt(
        self, step: Step, output: Output, running: Callable[[], None], taken: Mapping[int, int]
    ) -> Outcome | None:
        """See `Executor.adopt`; a move is made again, which changes nothing where it was made."""
        if isinstance(step.work, NoWork):
            return None
        outcome = await super().adopt(step, output, running, taken)
        if outcome is None or step.channel is None:
            return None if outcome is None else self._remember(step.key, outcome)
        return await self._after(step, step.channel, outcome, output)

    async def stop(self, key: str, *, grace: float) -> None:
        """See `Executor.stop`; commands that were stopped move nothing, though they end with 0."""
        self._stopped.add(key)
        await super().stop(key, grace=grace)

    def _remember(self, key: str, outcome: Outcome | None) -> Outcome:
        """The outcome, with what it pushed kept in mind."""
        ended = outcome or Outcome(state=State.CANCELLED)
        if ended.state is State.SUCCESS and ended.pushed is not None:
            self._pushed[key] = ended.pushed
        return ended

    def _targets(self, channel: Channel) -> list[Pushed]:
        """What the channel shall lead to, once for each repository.

        Raises:
            LadingError: A push that the step comes after has put nothing into its registry.
        """
        missing = [key for key in channel.pushes if key not in self._pushed]
        if missing or not channel.pushes:
            told = f"{' and '.join(missing) or 'this run'} pushed nothing"
            raise LadingError(
                f"{told}, so {channel.name} stays where it is: see why in the output of the push, "
                "and re-run"
            )
        found = {self._pushed[key].repository: self._pushed[key] for key in channel.pushes}
        return list(found.values())

    async def _after(
        self, step: Step, channel: Channel, outcome: Outcome, output: Output
    ) -> Outcome:
        if outcome.state is not State.SUCCESS:
            return outcome
        if step.key in self._stopped:
            message = f"stopped, so {channel.name} stays where it is"
            return outcome.model_copy(update={"state": State.CANCELLED, "message": message})
        moved = await self._move(step, channel, output)
        return outcome if moved.state is State.SUCCESS else moved

    async def _move(self, step: Step, channel: Channel, output: Output) -> Outcome:
        try:
            for pushed in self._targets(channel):
                before = await self._channels.move(pushed, channel.name, step.key)
                was = f", before {before}" if before not in (None, pushed.digest) else ""
                line = f"{channel.name} of {pushed.repository} leads to {pushed.digest}{was}\n"
                _say(output, line)
        except LadingError as error:
            return _refused(output, error)
        return Outcome(state=State.SUCCESS)


def _refused(output: Output, error: LadingError) -> Outcome:
    _say(output, f"{error}\n")
    return Outcome(state=State.ERROR, message=f"the channel was not moved: {error}")


def _say(output: Output, line: str) -> None:
    with contextlib.suppress(OSError):  # a full disk must not undo what has happened
        output.write(OWN, line.encode())
