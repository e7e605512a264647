"""The executor on a container engine: one for each attempt."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from docker.errors import APIError, NotFound

from pipelines.engine.client import ENGINE_ERRORS, Engine, Logins, reason, unavailable
from pipelines.engine.containers import Attempt, Limits, attempt_tag, image_repository
from pipelines.engine.interruption import Interruption, Patience, StoppedError, Watchdog
from pipelines.engine.lane import Lane
from pipelines.engine.leftovers import remove_attempt
from pipelines.engine.steps import (
    Prepared,
    RunningStep,
    StepContainers,
    cannot_start,
    found,
)
from pipelines.engine.stream import OutputError, StoredOutput
from pipelines.engine.workspace import Workspace
from pipelines.executor import Output
from pipelines.images.build import build_image
from pipelines.images.pull import ensure_image, local_image
from pipelines.images.push import push_image
from pipelines.images.refusals import RegistryError
from pipelines.images.retries import Backoff
from pipelines.images.session import ImageSession
from pipelines.plan import BuildWork, CommandsWork, Plan, PushWork, Step
from pipelines.problems import ExecutorUnavailableError, SourceError
from pipelines.progress import Outcome, Progress, State
from pipelines.source import Source

AHEAD = 1
"""Containers made before their steps are run: one call less on each step's way."""


@dataclass(kw_only=True)
class _Active:
    """A step on its way."""

    interruption: Interruption = field(default_factory=Interruption)
    grace: float = 0.0
    running: RunningStep | None = None


class EngineExecutor:
    """Implements `pipelines.executor.Executor` on a container engine.

    Steps with commands run in containers of their own and share a workspace; builds and pushes
    are the engine's. Everything carries the attempt's labels.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        attempt: Attempt,
        plan: Plan,
        source: Source,
        limits: Limits,
        logins: Logins,
        backoff: Backoff | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._engine = engine
        self.attempt = attempt
        self._plan = plan
        self._source = source
        self._limits = limits
        self._logins = logins
        self._backoff = backoff or Backoff()
        self._patience = patience or Patience()
        self._workspace = Workspace(engine, attempt, source)
        self._lane = Lane(engine, attempt, plan)
        self._containers = StepContainers(
            engine=engine,
            attempt=attempt,
            limits=limits,
            volume=self._workspace.volume,
            lane=self._lane,
        )
        self._active: dict[str, _Active] = {}
        self._begun: set[str] = set()
        self._started: set[str] = set()
        self._making: dict[str, asyncio.Task[Prepared | None]] = {}
        self._made: dict[str, str] = {}
        self._built: dict[str, str] = {}
        self._found: dict[str, str] = {}
        self._opened = False

    async def open(self, earlier: Progress | None = None) -> None:
        """See `Executor.open`."""
        await (self._engine.connected() if earlier is None else self._watchdog().answered())
        self._opened = True
        if earlier is not None:
            self._remember(earlier)
        try:
            if any(isinstance(step.work, CommandsWork) for step in self._plan.steps):
                if earlier is None or not await self._find(earlier):
                    await self._workspace.create()
                self._prepare_ahead()
        except ENGINE_ERRORS as error:
            raise self._no_room(error) from error

    async def run(self, step: Step, output: Output, running: Callable[[], None]) -> Outcome:
        """See `Executor.run`."""
        return await self._guarded(
            step, lambda active: self._work(step, StoredOutput(output), running, active)
        )

    async def adopt(
        self, step: Step, output: Output, running: Callable[[], None], taken: Mapping[int, int]
    ) -> Outcome | None:
        """See `Executor.adopt`; a build or push ends with the connection that asked for it."""
        container = self._found.get(step.key)
        if container is None:
            return None
        self._made[step.key] = container
        self._started.add(step.key)
        stored = StoredOutput(output)
        return await self._guarded(
            step, lambda active: self._follow(step, stored, running, taken, active)
        )

    async def _guarded(self, step: Step, work: Callable[[_Active], Awaitable[Outcome]]) -> Outcome:
        self._begun.add(step.key)
        active = self._active[step.key] = _Active()
        try:
            return await work(active)
        except StoppedError as error:
            return Outcome(state=State.CANCELLED, message=str(error))
        except (RegistryError, ExecutorUnavailableError, SourceError, OutputError) as error:
            return Outcome(state=State.ERROR, message=str(error))
        except APIError as error:
            message = f"the container engine refused: {reason(error)}"
            return Outcome(state=State.ERROR, message=message)
        except ENGINE_ERRORS as error:
            return Outcome(state=State.ERROR, message=str(unavailable(self._engine.url, error)))
        finally:
            # Also where our own task was cancelled: no thread may go on reading.
            active.interruption.request()
            del self._active[step.key]

    async def stop(self, key: str, *, grace: float) -> None:
        """See `Executor.stop`."""
        active = self._active.get(key)
        if active is None:
            return
        active.grace = grace
        active.interruption.request()
        if active.running is not None:
            active.running.terminate(grace)

    async def discard(self, key: str) -> None:
        """See `Executor.discard`."""
        container = self._made.pop(key, None)
        if container is None:
            return
        # Gone already, or the engine is: `close` and the search for leftovers come after us.
        with contextlib.suppress(*ENGINE_ERRORS):
            await self._engine.call(
                self._engine.client.remove_container, container, force=True, v=True
            )

    async def close(self) -> None:
        """See `Executor.close`."""
        if not self._opened:
            return
        await self.release()
        # What a dead engine keeps now is found by its labels once it is back.
        with contextlib.suppress(*ENGINE_ERRORS):
            await self._engine.call(remove_attempt, self._engine.client, self.attempt)

    async def release(self) -> None:
        """See `Executor.release`."""
        if self._making:
            await asyncio.wait(self._making.values())
        for key, task in self._making.items():
            prepared = None if task.cancelled() or task.exception() else task.result()
            if prepared is not None and key not in self._started:
                prepared.close()
        self._making.clear()
        await self._workspace.settle()
        await self._lane.settle()

    def _watchdog(self) -> Watchdog:
        return Watchdog(self._engine, self._patience)

    def _remember(self, earlier: Progress) -> None:
        for key, step in earlier.steps.items():
            if step.state.ended:
                self._begun.add(key)
            if step.outcome is not None and step.outcome.built is not None:
                self._built[key] = step.outcome.built.image_id
        # Who joined the earlier process's network may still be in it, and it has that name.
        self._lane.drop()

    async def _find(self, earlier: Progress) -> bool:
        """Find what an earlier process made; False where no step's commands had begun."""
        containers = await self._engine.call(
            self._engine.client.containers, all=True, filters=self.attempt.filters()
        )
        for container in containers:
            key = container["Labels"].get("lading.step")
            # One that was made and never started is made anew.
            if key is not None and container["State"] != "created":
                self._found[key] = str(container["Id"])
        self._begun |= self._found.keys()
        work = (step for step in self._plan.steps if isinstance(step.work, CommandsWork))
        if not self._found and all(earlier.steps[step.key].running_at is None for step in work):
            return False
        await self._workspace.find()
        return True

    async def _follow(
        self,
        step: Step,
        output: StoredOutput,
        running: Callable[[], None],
        taken: Mapping[int, int],
        active: _Active,
    ) -> Outcome:
        followed = active.running = RunningStep(
            engine=self._engine,
            container=await found(self._engine, self._found[step.key]),
            output=output,
            limits=self._limits.within(step.resources),
            interruption=active.interruption,
            watchdog=self._watchdog(),
            taken=taken,
        )
        followed.follow()
        running()
        if active.interruption.requested:
            followed.terminate(active.grace)
        return await followed.outcome()

    async def _work(
        self, step: Step, output: Output, running: Callable[[], None], active: _Active
    ) -> Outcome:
        session = ImageSession(
            engine=self._engine,
            logins=self._logins,
            output=output,
            interruption=active.interruption,
            watchdog=self._watchdog(),
            backoff=self._backoff,
        )
        match step.work:
            case BuildWork():
                return await self._build(step, step.work, session, running)
            case PushWork():
                return await self._push(step.work, session, running)
            case CommandsWork():
                return await self._commands(step, step.work, session, running, active)

    async def _build(
        self, step: Step, work: BuildWork, session: ImageSession, running: Callable[[], None]
    ) -> Outcome:
        running()
        outcome = await build_image(
            session,
            work,
            self._source,
            labels=self._plan.labels,
            memory=self._limits.memory,
            name=self.attempt.label_name(),
        )
        if outcome.built is not None:
            image = self._built[step.key] = outcome.built.image_id
            # `latest` keeps the build cache until the next build; the other name keeps the image
            # for this attempt, whatever is built meanwhile.
            repository = image_repository(self.attempt, step.name)
            for tag in ("latest", attempt_tag(self.attempt)):
                await self._engine.call(self._engine.client.tag, image, repository, tag, force=True)
            self._prepare_ahead()
        return outcome

    async def _push(
        self, work: PushWork, session: ImageSession, running: Callable[[], None]
    ) -> Outcome:
        image = self._built.get(work.image.build)
        if image is None:
            return _not_built(work.image.build)
        running()
        pushed = await push_image(session, work, image)
        return Outcome(state=State.SUCCESS, pushed=pushed)

    async def _commands(
        self,
        step: Step,
        work: CommandsWork,
        session: ImageSession,
        running: Callable[[], None],
        active: _Active,
    ) -> Outcome:
        prepared = await self._prepared(step, work, session)
        if prepared is None:
            return _not_built(getattr(work.image, "build", ""))
        await self._workspace.filled()
        for again in (True, False):
            active.interruption.check()
            started = RunningStep(
                engine=self._engine,
                container=prepared,
                output=session.output,
                limits=self._limits.within(step.resources),
                interruption=active.interruption,
                watchdog=session.watchdog,
            )
            self._started.add(step.key)
            try:
                await started.start()
                break
            except APIError as error:
                if not (again and self._can_mend(error)):
                    return cannot_start(error, work)
            await self.discard(step.key)
            prepared = await self._make(step, work, await self._image(work, session) or "")
        active.running = started
        running()
        self._lane.open(prepared.image)
        self._prepare_ahead()
        if active.interruption.requested:
            started.terminate(active.grace)
        return await started.outcome()

    def _can_mend(self, error: APIError) -> bool:
        """Whether a start failed for something that can be left out or made anew."""
        told = reason(error)
        if "docker-init" in told and self._engine.has_init:
            self._engine.has_init = False
            return True
        if "cannot join network" in told or "No such container" in told:
            self._lane.drop()
            return True
        if "network" in told and "not found" in told:
            self._engine.forget_network()
            return True
        return False

    async def _prepared(
        self, step: Step, work: CommandsWork, session: ImageSession
    ) -> Prepared | None:
        """The step's container, made ahead or now; None where its image was never built."""
        ahead = self._making.get(step.key)
        if ahead is not None:
            # What went wrong ahead is tried once more, and told by this second try.
            with contextlib.suppress(*ENGINE_ERRORS):
                prepared = await asyncio.shield(ahead)
                if prepared is not None:
                    return prepared
        image = await self._image(work, session)
        return None if image is None else await self._make(step, work, image)

    async def _image(self, work: CommandsWork, session: ImageSession) -> str | None:
        if work.image.kind == "built":
            return self._built.get(work.image.build)
        return await ensure_image(session, work.image.name)

    async def _make(self, step: Step, work: CommandsWork, image: str) -> Prepared:
        making = asyncio.create_task(self._make_of(step, work, image))
        self._making[step.key] = making
        # A container half made while its task is cancelled must still be found by `close`.
        return await asyncio.shield(making)

    async def _make_of(self, step: Step, work: CommandsWork, image: str) -> Prepared:
        prepared = await self._containers.prepare(step, work, image)
        self._made[step.key] = prepared.container
        self._workspace.fill(prepared.container)
        return prepared

    def _prepare_ahead(self) -> None:
        """Make containers of the next steps while something else takes its time."""
        waiting = [
            (step, step.work)
            for step in self._plan.steps
            if isinstance(step.work, CommandsWork)
            and step.key not in self._begun
            and (step.work.image.kind == "named" or step.work.image.build in self._built)
        ]
        for step, work in waiting[:AHEAD]:
            if step.key not in self._making:
                task = asyncio.create_task(self._make_ahead(step, work))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
                self._making[step.key] = task

    async def _make_ahead(self, step: Step, work: CommandsWork) -> Prepared | None:
        """The step's container, if its image is at hand; pulling belongs to the step itself."""
        if work.image.kind == "built":
            image = self._built.get(work.image.build)
        else:
            image = await local_image(self._engine, work.image.name)
        return None if image is None else await self._make_of(step, work, image)

    def _no_room(self, error: Exception) -> ExecutorUnavailableError:
        if isinstance(error, NotFound):
            return ExecutorUnavailableError(
                "the workspace of this attempt was removed while Lading was restarted: re-run"
            )
        if isinstance(error, APIError):
            return ExecutorUnavailableError(
                f"the container engine could not make the workspace: {reason(error)}"
            )
        return unavailable(self._engine.url, error)


def _not_built(build: str) -> Outcome:
    message = f"there is no image of {build} on the engine: run again with its build"
    return Outcome(state=State.ERROR, message=message)
