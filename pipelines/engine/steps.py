"""One `commands` step in its container: prepared ahead, started, followed to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from docker.errors import APIError, NotFound

from pipelines.crashing import reach
from pipelines.endings import KILLED, describe
from pipelines.engine.attaching import Prepared, attached, logged
from pipelines.engine.client import DEFAULT_BRIDGE, ENGINE_ERRORS, Engine, gone, reason
from pipelines.engine.containers import (
    WORKSPACE,
    Attempt,
    Limits,
    environment,
    host_config,
    script,
)
from pipelines.engine.interruption import Interruption, Watchdog
from pipelines.engine.lane import Lane
from pipelines.engine.rereading import Rereading
from pipelines.engine.stream import Demultiplexer, pump
from pipelines.executor import OWN, Output
from pipelines.plan import CommandsWork, Step
from pipelines.problems import LadingError
from pipelines.progress import Outcome, State
from pipelines.redaction import StepSecrets

_CONFLICT = 409
_EVENT_DELAY = 0.5
"""Seconds an event may come later than the end of the output, before the engine is asked."""
_EVENT_USUAL = 0.1
"""Seconds within which the event comes where nothing went wrong."""
_WITNESS_DELAY = 0.1
_WITNESS_TRIES = 5
"""The engine hears of a kill for want of memory on another way than of the end: ask again."""
_ENDED_BY_ENGINE = (137, 143, 255)
"""Exit codes of containers whose engine stopped, or died and found them ended."""
_AS_OLD_AS_THE_ENGINE = DEFAULT_BRIDGE
"""A network that the engine makes anew at each start; nothing else tells when that was."""
_UNHEARD = (
    b"\n[lading] the container engine was away when this step ended: of what it wrote then, the "
    b"engine may have kept nothing\n"
)
_LET_GO = 2.0
"""Seconds in which a stream that was cut must have ended for the thread that reads it."""
_LITTLE = 256 * 1024
"""Bytes of new output at one reading with which one has caught up."""
_DRAIN = 5.0
"""Seconds without a byte after which the output of an ended container counts as whole."""


@dataclass(frozen=True, kw_only=True)
class StepContainers:
    """Makes the containers of an attempt's steps."""

    engine: Engine
    attempt: Attempt
    limits: Limits
    volume: str
    lane: Lane
    secrets: StepSecrets

    async def prepare(
        self, step: Step, work: CommandsWork, image: str, *, network: str | None, number: int
    ) -> Prepared:
        """Make the step's container of the image (an id) and attach to it.

        Args:
            step: Whose.
            work: Its commands.
            image: The id of its image.
            network: The one its services are in; None: it has none.
            number: Which try of the step it is.
        """
        network = network or self.lane.join(step) or await self.engine.network()
        return await self.engine.call(self._prepare, step, work, image, network, number)

    def _prepare(
        self, step: Step, work: CommandsWork, image: str, network: str, number: int
    ) -> Prepared:
        engine = self.engine
        engine.ends.listen()
        config = host_config(
            self.limits.within(step.resources),
            network=network,
            volume=self.volume,
            runtime=engine.runtime,
            init=engine.has_init,
            log_driver=engine.log_driver,
        )
        arguments: dict[str, Any] = {
            "image": image,
            "entrypoint": ["sh", "-e", "-c", script(work.commands)],
            "command": [],
            "environment": environment(step.env | self.secrets.values.get(step.key, {})),
            "working_dir": WORKSPACE,
            "labels": self.attempt.labels(step.key) | {"lading.try": str(number)},
            "name": self.attempt.name(step.key),
            "host_config": engine.client.create_host_config(**config),
            "use_config_proxy": False,
        }
        container = self._create(arguments)
        reach("engine.created")
        # Before the start, so that not a byte is missed.
        return replace(attached(engine, container), image=image)

    def _create(self, arguments: dict[str, Any]) -> str:
        client = self.engine.client
        try:
            return str(client.create_container(**arguments)["Id"])
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise
        # An earlier process of ours died after it had made the very same one.
        client.remove_container(arguments["name"], force=True, v=True)
        return str(client.create_container(**arguments)["Id"])


class RunningStep:
    """A step's container from its start to its end."""

    def __init__(
        self,
        *,
        engine: Engine,
        container: Prepared,
        output: Output,
        limits: Limits,
        interruption: Interruption,
        watchdog: Watchdog,
        begins: bytes = b"",
        taken: Mapping[int, int] | None = None,
    ) -> None:
        self._engine = engine
        self._prepared = container
        self._container = container.container
        self._limits = limits
        self._interruption = interruption
        self._watchdog = watchdog
        self._output = output
        self._begins = begins
        self._adopted = taken is not None
        again = self._adopted and not output.full
        self._taken = Demultiplexer(
            output.write, Rereading(taken, begins=begins) if again else None
        )
        self._ended = engine.ends.expect(self._container)
        self._was_lost = False
        self._killed = False
        self._started = False
        self._killing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the container.

        Raises:
            docker.errors.APIError: The engine cannot start it.
        """
        self._breaks = self._engine.ends.breaks
        self._pumping = self._pump(self._prepared)
        try:
            await self._start()
        except (asyncio.CancelledError, LadingError, *ENGINE_ERRORS):
            self._prepared.cut()
            self._engine.ends.forget(self._container)
            raise
        reach("engine.started")
        self._started = True

    def follow(self) -> None:
        """Go on with a container that runs already, or has ended."""
        self._breaks = self._engine.ends.breaks
        self._pumping = self._pump(self._prepared)
        self._started = True

    async def _start(self) -> None:
        """Start it once, also where the engine goes away before it has answered."""
        while True:
            try:
                await self._engine.call(self._engine.client.start, self._container)
            except APIError:
                raise
            except ENGINE_ERRORS:
                # It may run by now, or be over: a second start would run it twice.
                state = await self._inspect()
                while state is None:
                    state = await self._inspect()
                if state.get("Status") == "created":
                    continue
            return

    def terminate(self, grace: float) -> None:
        """SIGTERM now, SIGKILL for everything in the container after `grace` seconds."""
        if self._started and self._killing is None:
            self._killing = asyncio.create_task(self._terminate(grace))

    async def outcome(self) -> Outcome:
        """Follow it to its end; everything it wrote has reached the output.

        Raises:
            ExecutorUnavailableError: The engine is gone.
        """
        try:
            code = await (self._end() if not self._adopted else self._adopted_end())
        except asyncio.CancelledError:
            # Nobody may write to the output any more once we have gone.
            self._prepared.cut()
            await asyncio.wait({self._pumping}, timeout=_LET_GO)
            raise
        finally:
            self._killed = self._engine.ends.was_killed(self._container)
            self._engine.ends.forget(self._container)
            if self._killing is not None:
                self._killing.cancel()
        if code is None:
            message = "the container was removed while it ran, not by Lading: run again"
            return Outcome(state=State.ERROR, message=message, lost=True)
        if await self._ended_by_engine(code):
            message = (
                f"the container engine at {self._engine.place} was stopped or restarted while the "
                f"step ran, or somebody stopped its container there (exit code {code}): run again"
            )
            return Outcome(state=State.ERROR, exit_code=code, message=message, lost=True)
        if code == 0:
            return Outcome(state=State.SUCCESS, exit_code=0)
        killed = await self._out_of_memory(code)
        message = describe(code, out_of_memory=killed, memory=self._limits.memory)
        return Outcome(state=State.FAILURE, exit_code=code, message=message)

    async def _ended_by_engine(self, code: int) -> bool:
        """Whether the step did not end by itself, nor because we asked it to."""
        if self._interruption.requested:
            return False
        if self._killed:
            return True
        if code not in _ENDED_BY_ENGINE:
            return False
        return self._was_lost or (self._adopted and await self._engine_is_younger())

    def _pump(self, attached: Prepared) -> asyncio.Future[None]:
        def work() -> None:
            try:
                pump(attached.pieces, self._taken)
            finally:
                attached.close()

        return self._engine.background(work)

    async def _adopted_end(self) -> int | None:
        """Like `_end`, for one that an earlier process started, and that may have ended already.

        What is there is read until little of it is new, and only then followed: see `rereading`.
        """
        while True:
            state = await self._inspect()
            if state is not None and not state:
                return None
            known = sum(self._taken.taken.values())
            if state is None or not await self._recover(follow=False):
                await asyncio.sleep(_EVENT_DELAY)
                continue
            await self._drain()
            if not state["Running"]:
                return int(state["ExitCode"])
            if sum(self._taken.taken.values()) - known < _LITTLE:
                break
        await self._recover(follow=True)
        return await self._end()

    async def _end(self) -> int | None:
        """The exit code; None where the container is there no more."""
        while True:
            late = False
            waited: set[asyncio.Future[Any]] = {self._ended, self._pumping}
            await asyncio.wait(
                waited,
                timeout=self._watchdog.every,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._pumping.done():
                self._pumping.result()  # what the output's store raised must not be lost
                # The end of the stream is no proof; the event that is one comes right after.
                late = not await self._ends_within(_EVENT_USUAL)
                if late:
                    await self._ends_within(_EVENT_DELAY)
            if self._ended.done():
                await self._drain()
                # A log that is followed while it grows may miss its last lines.
                if late or self._adopted or self._breaks != self._engine.ends.breaks:
                    await self._recover(follow=False)
                    await self._drain()
                return self._ended.result()
            state = await self._inspect()
            if state is not None and not state:
                return None
            if state is not None and not state["Running"]:
                await self._recover(follow=False)
                await self._drain()
                if self._was_lost:
                    self._output.write(OWN, _UNHEARD)
                return int(state["ExitCode"])
            if state is not None and self._pumping.done():
                await self._recover(follow=True)

    async def _ends_within(self, seconds: float) -> bool:
        await asyncio.wait({self._ended}, timeout=seconds)
        return self._ended.done()

    async def _inspect(self) -> dict[str, Any] | None:
        """The container's state: empty where there is none, None where the engine is silent."""
        try:
            found = await self._engine.background(
                lambda: self._engine.probe.inspect_container(self._container)
            )
        except NotFound:
            return {}
        except ENGINE_ERRORS as error:
            if gone(error):
                self._was_lost = True
                await self._watchdog.look()
                await asyncio.sleep(_EVENT_DELAY)
            return None
        state: dict[str, Any] = found["State"]
        return state

    async def _recover(self, *, follow: bool) -> bool:
        """Go on with the output from the last byte we have; False where the engine did not let us.

        Where only a count is wanted any more, old output is not read again: that of a flood takes
        minutes.
        """
        if not self._pumping.done():
            return True
        onward = self._adopted and self._output.full
        if onward and not follow:
            return True
        try:
            if onward:
                prepared = await self._engine.call(attached, self._engine, self._container)
                self._taken = self._taken.onward()
            else:
                prepared = await self._engine.call(
                    partial(logged, self._engine, self._container, follow=follow)
                )
                self._taken = self._taken.again(self._begins, follows=follow)
        except ENGINE_ERRORS:
            return False
        self._prepared = prepared
        self._pumping = self._pump(prepared)
        return True

    async def _drain(self) -> None:
        """Wait for the rest of the output of a container that has ended."""
        while not self._pumping.done():
            before = dict(self._taken.taken)
            await asyncio.wait({self._pumping}, timeout=_DRAIN)
            if not self._pumping.done() and before == self._taken.taken:
                self._prepared.cut()
        self._pumping.result()

    async def _engine_is_younger(self) -> bool:
        """Whether the engine was started after the container: while nobody was there to see it."""
        client = self._engine.client
        with contextlib.suppress(*ENGINE_ERRORS, KeyError, ValueError):
            found = await self._engine.call(client.inspect_container, self._container)
            network = await self._engine.call(client.inspect_network, _AS_OLD_AS_THE_ENGINE)
            started = datetime.fromisoformat(found["State"]["StartedAt"])
            return datetime.fromisoformat(network["Created"]) > started
        return False

    async def _out_of_memory(self, code: int) -> bool:
        """Whether the engine saw the kernel kill something in the container."""
        tries = _WITNESS_TRIES if code == KILLED and not self._interruption.requested else 1
        for number in range(tries):
            await asyncio.sleep(_WITNESS_DELAY if number else 0)
            try:
                found = await self._engine.call(
                    self._engine.client.inspect_container, self._container
                )
            except ENGINE_ERRORS:
                return False  # the exit code stands; only its reason stays a guess
            if found["State"].get("OOMKilled"):
                return True
        return False

    async def _terminate(self, grace: float) -> None:
        await self._kill("SIGTERM")
        await asyncio.sleep(grace)
        await self._kill("SIGKILL")

    async def _kill(self, signal: str) -> None:
        # It may have ended by itself; if the engine is gone, the watchdog will say so.
        with contextlib.suppress(*ENGINE_ERRORS):
            await self._engine.call(self._engine.client.kill, self._container, signal)


def cannot_start(error: APIError, work: CommandsWork) -> Outcome:
    """The outcome where the engine refused to start a step's container."""
    name = work.image.name if work.image.kind == "named" else work.image.build
    return Outcome(
        state=State.ERROR,
        message=f"the container of image {name} could not be started: {reason(error)}",
    )
