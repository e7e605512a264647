"""The builds and pushes of one attempt, and which image each build made."""

from __future__ import annotations

from collections.abc import Callable

from docker.errors import NotFound

from pipelines.engine.client import Engine
from pipelines.engine.containers import Attempt, Limits, attempt_tag, image_repository
from pipelines.images.build import build_image
from pipelines.images.exact.making import NotExactError
from pipelines.images.exact.pushing import push_exact
from pipelines.images.exact.shelf import Shelf
from pipelines.images.lookup import look_up
from pipelines.images.push import push_image
from pipelines.images.session import ImageSession
from pipelines.locks import Exact
from pipelines.plan import BuildWork, Plan, PushWork, Step
from pipelines.progress import Built, Outcome, Progress, State
from pipelines.source import Source


class Imaging:
    """One attempt's images."""

    def __init__(
        self,
        *,
        engine: Engine,
        attempt: Attempt,
        plan: Plan,
        source: Source,
        limits: Limits,
        shelf: Shelf | None,
    ) -> None:
        self._engine = engine
        self._attempt = attempt
        self._plan = plan
        self._source = source
        self._limits = limits
        self.built: dict[str, str] = {}
        """Ids by the key of the build."""
        self._shelf = shelf
        self._exact: dict[str, Exact] = {}

    async def remember(self, earlier: Progress) -> frozenset[str]:
        """Take over what was built before; gives the builds whose image is there no more."""
        gone = set()
        for key, step in earlier.steps.items():
            if step.outcome is None or step.outcome.built is None:
                continue
            image = step.outcome.built.image_id
            try:
                # An earlier attempt's name for it may go any moment; ours stays.
                await self._keep(self._plan.step(key), image, attempt_tag(self._attempt))
                self.built[key] = image
                self._remember(key, step.outcome.built)
            except NotFound:
                gone.add(key)
        return frozenset(gone)

    async def build(
        self, step: Step, work: BuildWork, session: ImageSession, running: Callable[[], None]
    ) -> Outcome:
        """Build it, and keep the image for as long as somebody may want it."""
        running()
        outcome = await build_image(
            session,
            work,
            self._source,
            labels=self._plan.labels,
            memory=self._limits.memory,
            name=self._attempt.label_name(),
            shelf=self._shelf,
        )
        if outcome.built is not None:
            image = self.built[step.key] = outcome.built.image_id
            self._remember(step.key, outcome.built)
            # `latest` keeps the build cache until the next build; the other name keeps the image
            # for this attempt, whatever is built meanwhile. Strangers' layers are not kept.
            if self._plan.trusted:
                await self._keep(step, image, "latest")
            await self._keep(step, image, attempt_tag(self._attempt))
        return outcome

    async def push(
        self, work: PushWork, session: ImageSession, running: Callable[[], None]
    ) -> Outcome:
        """Push what was built."""
        image = self.built.get(work.image.build)
        if image is None:
            return not_built(work.image.build)
        running()
        exact = self._exact.get(work.image.build)
        if exact is None or self._shelf is None:
            pushed = await push_image(session, work, image)
            return Outcome(state=State.SUCCESS, pushed=pushed)
        try:
            pushed = await push_exact(session, self._shelf, work, exact, self._plan.labels)
        except NotExactError as error:
            return Outcome(state=State.ERROR, message=str(error))
        return Outcome(state=State.SUCCESS, pushed=pushed)

    async def look_up(
        self,
        step: Step,
        work: PushWork,
        session: ImageSession,
        running: Callable[[], None],
        earlier: Progress,
    ) -> Outcome | None:
        """How a push ended that an earlier process began; None: none did, or it may be repeated."""
        if earlier.steps[step.key].state is not State.RUNNING:
            return None
        build = earlier.steps[work.image.build].outcome
        if build is None or build.built is None:  # pragma: no cover - no push begins before that
            return None
        running()
        return await look_up(session, work, build.built)

    def _remember(self, key: str, built: Built) -> None:
        if built.exact is not None:
            self._exact[key] = built.exact

    async def _keep(self, step: Step, image: str, tag: str) -> None:
        repository = image_repository(self._attempt, step.name)
        await self._engine.call(self._engine.client.tag, image, repository, tag, force=True)


def not_built(build: str) -> Outcome:
    """The outcome of a step whose image is not there."""
    message = f"there is no image of {build} on the engine: run again with its build"
    return Outcome(state=State.ERROR, message=message)
