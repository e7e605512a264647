"""What goes with one try of a step's commands: its services and its cache."""

from __future__ import annotations

from pipelines.engine.caches import StepCache
from pipelines.engine.client import Engine
from pipelines.engine.containers import Attempt, Limits
from pipelines.engine.services import StepServices
from pipelines.executor import Output
from pipelines.images.session import ImageSession
from pipelines.plan import CommandsWork, Step
from pipelines.progress import Outcome, State
from pipelines.redaction import StepSecrets


class Besides:
    """Both of them, or one; what a step does not name costs nothing.

    Args:
        step: Whose.
        work: Its commands.
        engine: Where it runs.
        attempt: Its attempt.
        limits: What each service may use.
        secrets: What the attempt's steps and services get.
        workspace: Name of the attempt's volume.
        first: Whether it is the step's first try.
    """

    def __init__(
        self,
        step: Step,
        work: CommandsWork,
        *,
        engine: Engine,
        attempt: Attempt,
        limits: Limits,
        secrets: StepSecrets,
        workspace: str,
        first: bool,
    ) -> None:
        self._first = first
        self._services = (
            StepServices(engine=engine, attempt=attempt, limits=limits, secrets=secrets, step=step)
            if work.services
            else None
        )
        self._cache = (
            StepCache(
                engine=engine,
                attempt=attempt,
                limits=limits,
                workspace=workspace,
                cache=work.cache,
            )
            if work.cache is not None
            else None
        )

    @property
    def network(self) -> str | None:
        """The network that the step must be in to reach its services."""
        return None if self._services is None else self._services.network

    async def begin(self, session: ImageSession) -> Outcome | None:
        """Start the services; an outcome where that failed."""
        if self._services is None:
            return None
        failed = await self._services.start(session)
        return None if failed is None else await self._services.end(failed, session.output)

    async def before(self, session: ImageSession, image: str) -> Outcome | None:
        """Restore the cache, then wait for the services; an outcome where one was not ready."""
        if self._cache is not None and self._first:  # a later try finds the workspace as it is
            await self._cache.restore(session, image)
        if self._services is None:
            return None
        failed = await self._services.ready(session)
        return None if failed is None else await self._services.end(failed, session.output)

    async def find(self, output: Output) -> None:
        """Take over what an earlier process made."""
        if self._services is not None:
            await self._services.find()
            self._services.watch(output)

    def watch(self, output: Output) -> None:
        """The commands run."""
        if self._services is not None:
            self._services.watch(output)

    async def after(self, outcome: Outcome, session: ImageSession, image: str) -> Outcome:
        """The commands have ended: keep the cache of a success, and end the services."""
        if self._services is not None:
            outcome = await self._services.end(outcome, session.output)
        if self._cache is not None and outcome.state is State.SUCCESS:
            await self._cache.keep(session, image)
        return outcome

    async def remove(self) -> None:
        """Remove what is left."""
        if self._services is not None:
            await self._services.remove()
