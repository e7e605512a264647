"""The executor on a container engine: one for each attempt."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from docker.errors import APIError, NotFound

from pipelines.crashing import reach
from pipelines.engine.attaching import Prepared, begins, image_of
from pipelines.engine.besides import Besides
from pipelines.engine.client import ENGINE_ERRORS, Engine, gone, reason, unavailable
from pipelines.engine.collecting import Collecting
from pipelines.engine.containers import Attempt, Limits
from pipelines.engine.imaging import Imaging, not_built
from pipelines.engine.interruption import Interruption, Patience, StoppedError, Watchdog
from pipelines.engine.lane import Lane
from pipelines.engine.leftovers import remove_attempt, started_steps
from pipelines.engine.steps import RunningStep, StepContainers, cannot_start
from pipelines.engine.stream import OutputError, StoredOutput
from pipelines.engine.workspace import Workspace, no_room
from pipelines.executor import Output
from pipelines.images.exact.shelf import Shelf
from pipelines.images.pull import ensure_image, local_image
from pipelines.images.retries import Backoff
from pipelines.images.session import ImageSession
from pipelines.plan import BuildWork, CommandsWork, NoWork, Plan, PushWork, Step
from pipelines.problems import ExecutorUnavailableError, SourceError
from pipelines.progress import Outcome, Progress, State
from pipelines.redaction import Redactor, StepSecrets
from pipelines.registries.logins import Logins
from pipelines.registries.refusals import RegistryError
from pipelines.source import Source
from pipelines.taking import Bounds, Take, Tally

BEGINNINGS = 3
"""How often a step is begun at most while the engine comes and goes."""
NOT_MOVED = "channels are moved by the server alone: nothing is left to do here"
AHEAD = 1
"""Containers made before their steps are run: one call less on each step's way."""


Ended = TypeVar("Ended", Outcome, Outcome | None)


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
        secrets: StepSecrets | None = None,
        backoff: Backoff | None = None,
        patience: Patience | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._engine = engine
        self.attempt = attempt
        self._plan = plan
        self._source = source
        self._limits = limits
        self._logins = logins
        self._secrets = secrets or StepSecrets()
        self._redactor = Redactor(self._secrets.all)
        self._backoff = backoff or Backoff()
        self._patience = patience or Patience()
        self._workspace = Workspace(engine, attempt, source)
        self._collecting = Collecting(engine, attempt, self._workspace.volume)
        self._lane = Lane(engine, attempt, plan)
        self._containers = StepContainers(
            engine=engine,
            attempt=attempt,
            limits=limits,
            volume=self._workspace.volume,
            lane=self._lane,
            secrets=self._secrets,
        )
        self._active: dict[str, _Active] = {}
        self._begun: set[str] = set()
        self._started: set[str] = set()
        self._ran: set[str] = set()
        self._failed: dict[str, int] = {}
        self._besides: dict[str, Besides] = {}
        self._making: dict[str, asyncio.Task[Prepared | None]] = {}
        self._made: dict[str, str] = {}
        self._images = Imaging(
            engine=engine,
            attempt=attempt,
            plan=plan,
            source=source,
            limits=limits,
            shelf=shelf,
        )
        self._earlier: Progress | None = None
        self._found: dict[str, str] = {}
        self._opened = False

    async def open(self, earlier: Progress | None = None) -> frozenset[str]:
        """See `Executor.open`."""
        patience = self._patience.beginning if earlier is None else self._patience.silence
        until = time.monotonic() + patience
        while True:
            await self._watchdog().answered(until - time.monotonic())
            self._opened = True
            try:
                return await self._find_or_make(earlier)
            except ENGINE_ERRORS as error:
                if not gone(error) or time.monotonic() >= until:
                    raise no_room(self._engine.url, error) from error

    async def _find_or_make(self, earlier: Progress | None) -> frozenset[str]:
        lost = frozenset[str]() if earlier is None else await self._remember(earlier)
        if any(isinstance(step.work, CommandsWork) for step in self._plan.steps):
            if earlier is None or not await self._find(earlier):
                await self._workspace.create()
            self._prepare_ahead()
        return lost

    async def run(self, step: Step, output: Output, running: Callable[[], None]) -> Outcome:
        """See `Executor.run`."""
        if step.key in self._secrets.refused:
            return Outcome(state=State.ERROR, message=self._secrets.refused[step.key])
        stored = self._stored(output)
        if step.key in self._ran:
            await self._another_try(step.key)
        self._ran.add(step.key)

        async def work(active: _Active) -> Outcome:
            outcome = await self._work(step, stored, running, active)
            stored.flush()
            return outcome

        return self._told(stored.explained(await self._guarded(step, work)))

    async def adopt(
        self, step: Step, output: Output, running: Callable[[], None], taken: Mapping[int, int]
    ) -> Outcome | None:
        """See `Executor.adopt`.

        A build or push ends with the connection that asked for it; but what came of a push, the
        registry can be asked.
        """
        stored, work, earlier = self._stored(output), step.work, self._earlier
        if isinstance(work, PushWork) and earlier is not None:
            return await self._guarded(
                step,
                lambda active: self._images.look_up(
                    step, work, self._session(stored, active), running, earlier
                ),
            )
        container = self._found.get(step.key)
        if container is None:
            return None
        self._made[step.key] = container
        self._started.add(step.key)
        self._ran.add(step.key)

        async def follow(active: _Active) -> Outcome:
            outcome = await self._follow(step, stored, running, taken, active)
            stored.flush()
            return outcome

        return self._told(stored.explained(await self._guarded(step, follow)))

    def _stored(self, output: Output) -> StoredOutput:
        """Where output goes: no secret gets there, and its own troubles are told apart."""
        return StoredOutput(output, self._redactor)

    def _told(self, outcome: Outcome) -> Outcome:
        """How a step ended, in words that hold no secret: they go to pages and statuses."""
        message = self._redactor.cleaned(outcome.message)
        return outcome.model_copy(update={"message": message})

    async def _guarded(
        self, step: Step, work: Callable[[_Active], Awaitable[Ended]]
    ) -> Ended | Outcome:
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

    async def collect(
        self, step: Step, patterns: Sequence[str], bounds: Bounds, take: Take
    ) -> Tally:
        """See `Executor.collect`."""
        return await self._collecting.collect(step.key, patterns, bounds, take)

    def cleaned(self, text: str) -> str:
        """See `Executor.cleaned`."""
        return self._redactor.cleaned(text)

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
        await self._remove_made(key)
        besides = self._besides.pop(key, None)
        if besides is not None:
            with contextlib.suppress(*ENGINE_ERRORS):
                await besides.remove()

    async def _remove_made(self, key: str) -> None:
        container = self._made.pop(key, None)
        if container is None:
            return
        # Gone already, or the engine is: `close` and the search for leftovers come after us.
        with contextlib.suppress(*ENGINE_ERRORS):
            await self._engine.call(
                self._engine.client.remove_container, container, force=True, v=True
            )

    async def close(self, *, keep_images: bool = False) -> None:
        """See `Executor.close`."""
        if not self._opened:
            return
        await self.release()
        # What a dead engine keeps now is found by its labels once it is back.
        with contextlib.suppress(*ENGINE_ERRORS):
            await self._engine.call(
                remove_attempt, self._engine.client, self.attempt, keep_images=keep_images
            )

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

    async def _remember(self, earlier: Progress) -> frozenset[str]:
        self._earlier = earlier
        self._begun |= {key for key, step in earlier.steps.items() if step.state.ended}
        self._failed = {key: len(step.tries) for key, step in earlier.steps.items()}
        # Who joined the earlier process's network may still be in it, and it has that name.
        self._lane.drop()
        return await self._images.remember(earlier)

    async def _find(self, earlier: Progress) -> bool:
        """Find what an earlier process made; False where no step's commands had begun."""
        now = {key: failed + 1 for key, failed in self._failed.items()}
        self._found = await self._engine.call(started_steps, self._engine.client, self.attempt, now)
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
        await self._engine.call(self._engine.ends.listen)
        running_step = active.running = RunningStep(
            engine=self._engine,
            container=Prepared(container=self._found[step.key]),
            output=output,
            limits=self._limits.within(step.resources),
            interruption=active.interruption,
            watchdog=self._watchdog(),
            begins=begins(step.work),
            taken=taken,
        )
        running_step.follow()
        running()
        if active.interruption.requested:
            running_step.terminate(active.grace)
        besides = self._beside(step)
        if besides is None:
            return await running_step.outcome()
        image = ""  # of a container that is gone, which its outcome will say
        with contextlib.suppress(NotFound):
            image = await self._engine.call(image_of, self._engine.client, self._found[step.key])
        await besides.find(output)
        outcome = await running_step.outcome()
        return await besides.after(outcome, self._session(output, active), image)

    def _beside(self, step: Step) -> Besides | None:
        """What goes with a step's commands; None where nothing does."""
        work = step.work
        if not isinstance(work, CommandsWork) or not (work.services or work.cache):
            return None
        besides = self._besides[step.key] = Besides(
            step,
            work,
            engine=self._engine,
            attempt=self.attempt,
            limits=self._limits,
            secrets=self._secrets,
            workspace=self._workspace.volume,
            first=not self._failed.get(step.key, 0),
        )
        return besides

    async def _work(
        self, step: Step, output: Output, running: Callable[[], None], active: _Active
    ) -> Outcome:
        """The step's work; begun again where the engine went away before it could do harm."""
        for _ in range(BEGINNINGS - 1):
            try:
                return await self._begin(step, output, running, active)
            except (ExecutorUnavailableError, *ENGINE_ERRORS) as error:
                # A push may have arrived; commands that were started are followed to their end.
                if not _broke_off(error) or self._may_have_done_it(step):
                    raise
            active.interruption.check()
            await self._watchdog().answered()
            self._give_up_made(step.key)
        return await self._begin(step, output, running, active)

    async def _another_try(self, key: str) -> None:
        """Let go of what the try before had, so that all of it is made anew."""
        self._failed[key] = self._failed.get(key, 0) + 1
        if key in self._making:
            await asyncio.wait({self._making[key]})
        if key in self._started:
            self._making.pop(key, None)
        self._give_up_made(key)
        self._started.discard(key)

    def _may_have_done_it(self, step: Step) -> bool:
        return isinstance(step.work, PushWork) or step.key in self._started

    def _give_up_made(self, key: str) -> None:
        """Let go of a container that was made before the engine went away."""
        making = self._making.pop(key, None)
        if making is not None and making.done() and not making.cancelled():
            prepared = None if making.exception() else making.result()
            if prepared is not None:
                prepared.close()

    def _session(self, output: Output, active: _Active) -> ImageSession:
        return ImageSession(
            engine=self._engine,
            logins=self._logins,
            output=output,
            interruption=active.interruption,
            watchdog=self._watchdog(),
            backoff=self._backoff,
        )

    async def _begin(
        self, step: Step, output: Output, running: Callable[[], None], active: _Active
    ) -> Outcome:
        session = self._session(output, active)
        match step.work:
            case BuildWork():
                outcome = await self._images.build(step, step.work, session, running)
                self._prepare_ahead()
                return outcome
            case PushWork():
                return await self._images.push(step.work, session, running)
            case CommandsWork():
                return await self._commands(step, step.work, session, running, active)
            case NoWork():
                return Outcome(state=State.ERROR, message=NOT_MOVED)

    async def _commands(
        self,
        step: Step,
        work: CommandsWork,
        session: ImageSession,
        running: Callable[[], None],
        active: _Active,
    ) -> Outcome:
        besides = self._beside(step)
        failed = None if besides is None else await besides.begin(session)
        if failed is not None:
            return failed
        prepared = await self._prepared(step, work, session)
        if prepared is None:
            return not_built(getattr(work.image, "build", ""))
        await self._workspace.filled()
        failed = None if besides is None else await besides.before(session, prepared.image)
        if failed is not None:
            return failed
        for again in (True, False):
            active.interruption.check()
            started = RunningStep(
                engine=self._engine,
                container=prepared,
                output=session.output,
                limits=self._limits.within(step.resources),
                interruption=active.interruption,
                watchdog=session.watchdog,
                begins=begins(work),
            )
            self._started.add(step.key)
            try:
                await started.start()
                break
            except APIError as error:
                if not (again and self._can_mend(error)):
                    return cannot_start(error, work)
            await self._remove_made(step.key)
            prepared = await self._make(step, work, await self._image(work, session) or "")
        active.running = started
        running()
        reach("engine.running")
        self._lane.open(prepared.image)
        self._prepare_ahead()
        if active.interruption.requested:
            started.terminate(active.grace)
        if besides is None:
            return await started.outcome()
        besides.watch(session.output)
        return await besides.after(await started.outcome(), session, prepared.image)

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
            return self._images.built.get(work.image.build)
        return await ensure_image(session, work.image.name)

    async def _make(self, step: Step, work: CommandsWork, image: str) -> Prepared:
        making = asyncio.create_task(self._make_of(step, work, image))
        self._making[step.key] = making
        # A container half made while its task is cancelled must still be found by `close`.
        return await asyncio.shield(making)

    async def _make_of(self, step: Step, work: CommandsWork, image: str) -> Prepared:
        besides = self._besides.get(step.key)
        prepared = await self._containers.prepare(
            step,
            work,
            image,
            network=None if besides is None else besides.network,
            number=self._failed.get(step.key, 0) + 1,
        )
        self._made[step.key] = prepared.container
        self._workspace.fill(prepared.container)
        return prepared

    def _prepare_ahead(self) -> None:
        """Make containers of the next steps while something else takes its time.

        Not of one that asks a person: it would hold the step's secrets for as long as that takes.
        """
        waiting = [
            (step, step.work)
            for step in self._plan.steps
            if isinstance(step.work, CommandsWork)
            and not step.work.services
            and step.key not in self._begun
            and step.approval is None
            and (step.work.image.kind == "named" or step.work.image.build in self._images.built)
        ]
        for step, work in waiting[:AHEAD]:
            if step.key not in self._making:
                task = asyncio.create_task(self._make_ahead(step, work))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
                self._making[step.key] = task

    async def _make_ahead(self, step: Step, work: CommandsWork) -> Prepared | None:
        """The step's container, if its image is at hand; pulling belongs to the step itself."""
        if work.image.kind == "built":
            image = self._images.built.get(work.image.build)
        else:
            image = await local_image(self._engine, work.image.name)
        return None if image is None else await self._make_of(step, work, image)


def _broke_off(error: Exception) -> bool:
    """Whether the engine went away just now; False where it refused, or patience is over."""
    if isinstance(error, ExecutorUnavailableError):
        return error.__cause__ is not None
    return gone(error)
