"""One network for steps that run one after the other: half of a container's start is its network.

Making a network of its own for a container and taking it apart again costs about 110 of the 280 ms
that a step of no length takes. So one small container of the attempt holds a network, and steps
that can never run at the same time, because one needs the other, join it in turn. Steps side by
side have networks of their own, as before: they may use the same ports and cannot reach each
other.
"""

from __future__ import annotations

import asyncio
import contextlib
from graphlib import TopologicalSorter

from docker.types import LogConfig

from pipelines.engine.client import ENGINE_ERRORS, Engine
from pipelines.engine.containers import Attempt
from pipelines.plan import CommandsWork, Plan, Step

WORTH = 3
"""Steps in a row from which on the holder's own start pays."""

_MEMORY = 32 * 2**20


class Lane:
    """An attempt's shared network, made in the background once it is worth it."""

    def __init__(self, engine: Engine, attempt: Attempt, plan: Plan) -> None:
        self._engine = engine
        self._attempt = attempt
        self._before = _ancestors(plan)
        # Runtimes that are more than runc (gVisor, Kata) do not share networks that way.
        self._wanted = engine.runtime is None and _longest(plan, self._before) >= WORTH
        self._making: asyncio.Task[str] | None = None
        self._last: str | None = None

    def open(self, image: str) -> None:
        """Begin to make it from this image, unless that has begun, or is not worth it."""
        if self._wanted and self._making is None:
            self._making = asyncio.create_task(self._make(image))
            self._making.add_done_callback(lambda done: done.cancelled() or done.exception())

    def join(self, step: Step) -> str | None:
        """The network mode for a step that may join it; None: it needs a network of its own."""
        made = self._making
        if not self._wanted or made is None or not made.done() or made.exception() is not None:
            return None
        if self._last is not None and self._last not in self._before[step.key]:
            return None
        self._last = step.key
        return f"container:{made.result()}"

    def drop(self) -> None:
        """It did not work: nobody shall join it any more."""
        self._wanted = False

    async def settle(self) -> None:
        """Wait until nothing more is being made."""
        if self._making is not None:
            await asyncio.wait({self._making})

    async def _make(self, image: str) -> str:
        network = await self._engine.network()
        return await self._engine.call(self._start, image, network)

    def _start(self, image: str, network: str) -> str:
        client = self._engine.client
        container = str(
            client.create_container(
                image,
                entrypoint=["sh", "-c", "while sleep 3600; do :; done"],
                command=[],
                user="65534",
                labels=self._attempt.labels(),
                name=self._attempt.name("network"),
                use_config_proxy=False,
                host_config=client.create_host_config(
                    network_mode=network,
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges"],
                    read_only=True,
                    mem_limit=_MEMORY,
                    memswap_limit=_MEMORY,
                    pids_limit=8,
                    log_config=LogConfig(type=LogConfig.types.NONE),
                ),
            )["Id"]
        )
        try:
            client.start(container)
        except ENGINE_ERRORS:
            with contextlib.suppress(*ENGINE_ERRORS):
                client.remove_container(container, force=True, v=True)
            raise
        return container


def _ancestors(plan: Plan) -> dict[str, frozenset[str]]:
    """For each step all steps that have ended before it starts."""
    needs = {step.key: step.needs for step in plan.steps}
    known: dict[str, frozenset[str]] = {}
    for key in TopologicalSorter(needs).static_order():
        known[key] = frozenset(needs[key]).union(*(known[need] for need in needs[key]))
    return known


def _longest(plan: Plan, before: dict[str, frozenset[str]]) -> int:
    """How many steps with commands stand in a row at most."""
    commands = {step.key for step in plan.steps if isinstance(step.work, CommandsWork)}
    length: dict[str, int] = {}
    for key, earlier_steps in before.items():  # in an order in which those needed come first
        earlier = max((length[other] for other in earlier_steps), default=0)
        length[key] = earlier + (key in commands)
    return max(length.values(), default=0)
