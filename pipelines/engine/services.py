"""What runs beside one step's commands: its services, on a network of the step's own.

They are started side by side and waited for, told of where they end too early, and what they wrote
comes behind the step's own output. Each is found again by its labels, so they outlive us as the
step does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from docker.errors import APIError

from pipelines.crashing import reach
from pipelines.endings import describe
from pipelines.engine.client import ENGINE_ERRORS, Engine, reason
from pipelines.engine.containers import Attempt, Limits, beside, confined
from pipelines.engine.leftovers import quietly, remove_network
from pipelines.engine.probing import NO_SHELL, probe, unready
from pipelines.engine.saying import Told, told_of
from pipelines.executor import OWN, Output
from pipelines.images.pull import ensure_image
from pipelines.images.session import ImageSession
from pipelines.plan import Service, Step, service_key
from pipelines.progress import Outcome, State
from pipelines.redaction import StepSecrets

_LOG = 2**20
"""Bytes of a service's output that the engine keeps, several times over."""


class StepServices:
    """The services of one try of a step."""

    def __init__(
        self, *, engine: Engine, attempt: Attempt, limits: Limits, secrets: StepSecrets, step: Step
    ) -> None:
        self._engine = engine
        self._attempt = attempt
        self._limits = limits.model_copy(update={"log": _LOG})
        self._secrets = secrets
        self._step = step
        self._containers: dict[str, str] = {}
        self._ends: dict[str, asyncio.Future[int]] = {}
        self._early: dict[str, int] = {}
        self._watching: asyncio.Task[None] | None = None
        self.network: str | None = None

    async def start(self, session: ImageSession) -> Outcome | None:
        """Start them all side by side; an outcome where one cannot be.

        Raises:
            RegistryError: An image cannot be had.
            StoppedError: The step shall stop.
        """
        for service in self._step.services:
            await ensure_image(session, service.image)
        session.interruption.check()
        await self._engine.call(self._clear)
        self.network = await self._engine.call(self._make_network)
        await self._engine.call(self._engine.ends.listen)
        starts = [self._start(service) for service in self._step.services]
        failed = [each for each in await _all(starts) if each is not None]
        reach("engine.services")
        return failed[0] if failed else None

    async def ready(self, session: ImageSession) -> Outcome | None:
        """Wait until all are; an outcome where one is not in time, or ends before.

        Raises:
            StoppedError: The step shall stop.
            ExecutorUnavailableError: The engine is gone.
        """
        asked = [service for service in self._step.services if service.ready is not None]
        if asked:
            session.say(f"[lading] waiting for {', '.join(service.name for service in asked)}")
        waits = [asyncio.ensure_future(self._ready(one, session)) for one in asked]
        try:
            for next_one in asyncio.as_completed(waits):
                if (failed := await next_one) is not None:
                    return failed
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return None

    async def find(self) -> None:
        """Take over what an earlier process started."""
        self._containers = await self._engine.call(self._list)
        for name, container in self._containers.items():
            self._ends[name] = self._engine.ends.expect(container)
            code = await self._engine.call(self._exit_code, container)
            if code is not None:
                self._early[name] = code

    def watch(self, output: Output) -> None:
        """From now on, say where one ends before the commands do."""
        self._watching = asyncio.create_task(self._watch(output))

    async def end(self, outcome: Outcome, output: Output) -> Outcome:
        """Stop them, give out what they wrote, and remove them; the outcome says who ended early.

        An engine that is away now keeps them until somebody looks for leftovers.
        """
        await self._stop_watching()
        early = {name: code for name, code in self._early.items() if name in self._containers}
        with contextlib.suppress(*ENGINE_ERRORS):
            for name in self._containers:
                await self._engine.call(self._kill, name)
            for name in self._containers:
                said = await self._engine.call(self._said, name)
                await self._engine.call(output.write, OWN, said.whole())
            await self.remove()
        if early and outcome.state is State.FAILURE:
            ended = ", ".join(f"service {name} had ended ({_how(early[name])})" for name in early)
            outcome = outcome.model_copy(update={"message": f"{outcome.message}; {ended}"})
        return outcome

    async def remove(self) -> None:
        """Remove containers and network; quiet where they are gone."""
        await self._stop_watching()
        await self._engine.call(self._clear)
        self._forget()

    def _forget(self) -> None:
        for container in self._containers.values():
            self._engine.ends.forget(container)
        self._containers.clear()

    async def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
            self._watching = None

    async def _start(self, service: Service) -> Outcome | None:
        try:
            container = await self._engine.call(self._make, service)
            self._containers[service.name] = container
            self._ends[service.name] = self._engine.ends.expect(container)
            await self._engine.call(self._engine.client.start, container)
        except APIError as error:
            message = f"service {service.name} ({service.image}) could not be started"
            return Outcome(state=State.ERROR, message=f"{message}: {reason(error)}")
        return None

    def _make(self, service: Service) -> str:
        client, key = self._engine.client, service_key(self._step.key, service.name)
        network = self.network or ""
        created = client.create_container(
            image=service.image,
            command=list(service.args) or None,
            environment=service.env | self._secrets.values.get(key, {}),
            hostname=service.name,
            labels=beside(self._attempt, self._step.key, service.name),
            name=self._attempt.name(key),
            host_config=client.create_host_config(
                network_mode=network,
                **confined(
                    self._limits,
                    runtime=self._engine.runtime,
                    log_driver=self._engine.log_driver,
                ),
            ),
            networking_config={"EndpointsConfig": {network: {"Aliases": [service.name]}}},
            use_config_proxy=False,
        )
        return str(created["Id"])

    def _make_network(self) -> str:
        made = self._engine.client.create_network(
            self._attempt.name(service_key(self._step.key, "network")),
            driver="bridge",
            labels=self._attempt.labels(self._step.key),
        )
        return str(made["Id"])

    async def _ready(self, service: Service, session: ImageSession) -> Outcome | None:
        wanted, name = service.ready, service.name
        if wanted is None:
            return None
        ended, container = self._ends[name], self._containers[name]
        asking = self._engine.background(partial(probe, self._engine, container, wanted))
        watched = asyncio.ensure_future(session.watchdog.watch(asking, session.interruption))
        either: set[asyncio.Future[Any]] = {ended, watched}
        try:
            await asyncio.wait(either, timeout=wanted.within, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return await self._failed(name, f"ended ({_how(ended.result())})")
            if not watched.done():
                return await self._failed(name, unready(wanted))
            code = await self._answer(watched, container)
        finally:
            watched.cancel()
        session.interruption.check()
        if code == 0:
            session.say(f"[lading] service {name} is ready")
            return None
        # Whoever asks is ended with the service; its own end may be told a moment later.
        how = await self._engine.call(self._exit_code, container)
        if how is not None:
            return await self._failed(name, f"ended ({_how(how)})")
        why = "could not be asked whether it is ready"
        if code in NO_SHELL:
            why += ": its image has no `sh`; leave `ready` out"
        return Outcome(state=State.FAILURE, message=f"service {name} {why}")

    async def _answer(self, watched: asyncio.Future[int], container: str) -> int:
        """What came of asking; not 0 also where there was nobody to be asked any more."""
        try:
            return watched.result()
        except APIError:
            if await self._engine.call(self._exit_code, container) is None:
                raise
            return -1

    async def _failed(self, name: str, why: str) -> Outcome:
        said = await self._engine.call(self._said, name)
        message = f"service {name} was not ready: it {why}{said.last_words()}"
        return Outcome(state=State.FAILURE, message=message)

    async def _watch(self, output: Output) -> None:
        """Tell of each that ends, once."""
        for name, code in list(self._early.items()):
            await self._tell_early(name, code, output)
        waits = {self._ends[name]: name for name in self._containers if name not in self._early}
        open_ends: set[asyncio.Future[int]] = set(waits)
        while open_ends:
            done, open_ends = await asyncio.wait(open_ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                self._early[waits[end]] = end.result()
                await self._tell_early(waits[end], end.result(), output)

    async def _tell_early(self, name: str, code: int, output: Output) -> None:
        line = f"\n[lading] service {name} has ended ({_how(code)}) while the step goes on\n"
        with contextlib.suppress(*ENGINE_ERRORS):
            # In a thread: another one may be writing the step's own output just now.
            await self._engine.call(output.write, OWN, line.encode())

    def _kill(self, name: str) -> None:
        quietly(partial(self._engine.client.kill, self._containers[name], "SIGKILL"))

    def _said(self, name: str) -> Told:
        return told_of(self._engine.client, name, self._containers[name])

    def _exit_code(self, container: str) -> int | None:
        state: Mapping[str, Any] = self._engine.client.inspect_container(container)["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def _list(self) -> dict[str, str]:
        found = self._engine.client.containers(all=True, filters=self._filters("lading.service"))
        return {each["Labels"]["lading.service"]: str(each["Id"]) for each in found}

    def _filters(self, *names: str) -> dict[str, Any]:
        own = self._attempt.filters()
        return {"label": [*own["label"], f"lading.step={self._step.key}", *names]}

    def _clear(self) -> None:
        client = self._engine.client
        for each in client.containers(all=True, filters=self._filters("lading.service")):
            quietly(partial(client.remove_container, str(each["Id"]), force=True, v=True))
        for network in client.networks(filters=self._filters()):
            remove_network(client, str(network["Id"]))


def _how(code: int) -> str:
    return describe(code, out_of_memory=False, memory=0) if code else "exit code 0"


async def _all(works: list[Coroutine[Any, Any, Outcome | None]]) -> list[Outcome | None]:
    """What each gives; where one raises, only once none goes on any more."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
