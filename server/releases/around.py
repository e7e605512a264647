"""An executor around another one, for those that change a part of what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipelines.executor import Executor, Output
from pipelines.plan import Step
from pipelines.progress import Outcome, Progress
from pipelines.taking import Bounds, Take, Tally


class Around:
    """Does everything as the executor inside does it."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    async def open(self, earlier: Progress | None = None) -> frozenset[str]:
        """See `Executor.open`."""
        return await self._inner.open(earlier)

    async def run(self, step: Step, output: Output, running: Callable[[], None]) -> Outcome:
        """See `Executor.run`."""
        return await self._inner.run(step, output, running)

    async def adopt(
        self, step: Step, output: Output, running: Callable[[], None], taken: Mapping[int, int]
    ) -> Outcome | None:
        """See `Executor.adopt`."""
        return await self._inner.adopt(step, output, running, taken)

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
