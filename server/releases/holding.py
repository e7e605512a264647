"""Keeps pushes from moving what must not be moved: rolled back channels, and versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from pipelines.executor import OWN, Executor, Output
from pipelines.plan import PushWork, Step
from pipelines.progress import Outcome, State
from server.releases.around import Around

Held = Callable[[str, Sequence[str]], Awaitable[Mapping[str, str]]]
"""Of an image's tags, those that a run may not push now, each with the sentence that says why."""


class Holding(Around):
    """An executor whose pushes leave held tags where they are."""

    def __init__(self, inner: Executor, *, held: Held) -> None:
        super().__init__(inner)
        self._held = held

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
