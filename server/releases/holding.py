"""Keeps pushes from moving what must not be moved: rolled back channels, and versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from pipelines.executor import OWN, Executor, Output
from pipelines.plan import PushWork, Step
from pipelines.progress import Outcome, Progress, State
from pipelines.taking import Bounds, Take, Tally

Held = Callable[[str, Sequence[str]], Awaitable[Mapping[str, str]]]
"""Of an image's tags, those that a run may not push now, each with the sentence that says why."""


class Holding:
    """An executor whose pushes leave held tags where they are."""

    def __init__(self, inner: Executor, *, held: Held) -> None:
        self._inner = inner
        self._held = held

    async def open(self, earlier: Progress | None = None) -> frozenset[str]:
        """See `Executor.open`."""
        return await self._inner.open(earlier)

    async def run(self, step: Step, output: Output, running: Callable[[], None]) -> Outcome:
        """See `Executor.run`; a push goes to those of its tags that may be moved now."""
        may = await self._without_held(step, output)
        return may if isinstance(may, Outcome) else await self._inner.run(may, output, running)

    async def adopt(
        self, step: Step, output: Output, running: Callable[[], None], taken: Mapping[int, int]
    ) -> Outcome | None:
        """See `Executor.adopt`."""
        may = await self._without_held(step, output)
        if isinstance(may, Outcome):
            return may
        return await self._inner.adopt(may, output, running, taken)

    async def _without_held(self, step: Step, output: Output) -> Step | Outcome:
        work = step.work
        if not isinstance(work, PushWork):
            return step
        held = await self._held(work.repository, work.tags)
        if not held:
            return step
        for why in held.values():
            output.write(OWN, f"{why}\n".encode())
        kept = tuple(tag for tag in work.tags if tag not in held)
        if not kept:
            why = "; ".join(dict.fromkeys(held.values()))
            return Outcome(state=State.ERROR, message=f"nothing is left to push: {why}")
        return step.model_copy(update={"work": work.model_copy(update={"tags": kept})})

    async def collect(
        self, step: Step, patterns: Sequence[str], bounds: Bounds, take: Take
    ) -> Tally:
        """See `Executor.collect`."""
        return await self._inner.collect(step, patterns, bounds, take)

    def cleaned(self, text: str) -> str:
        """See `Executor.cleaned`."""
        return self._inner.cleaned(text)

    async def stop(self, key: str, *, grace: float) -> None:
        """See `Executor.stop`."""
        await self._inner.stop(key, grace=grace)

    async def discard(self, key: str) -> None:
        """See `Executor.discard`."""
        await self._inner.discard(key)

    async def close(self, *, keep_images: bool = False) -> None:
        """See `Executor.close`."""
        await self._inner.close(keep_images=keep_images)

    async def release(self) -> None:
        """See `Executor.release`."""
        await self._inner.release()
