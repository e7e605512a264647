"""A whole Lading in this process, on a free port, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

import httpx2
import uvicorn

from pipelines.progress import State
from server import clock
from server.alone import alone
from server.app import Lading
from server.auth import make_token, token_hash
from server.config import (
    EngineSettings,
    HostSettings,
    RegistrySettings,
    ServerSettings,
    Settings,
    WorkerSettings,
)
from server.store import deliveries, images, runs, tokens
from server.store.database import sqlite_path
from server.store.migrations import upgrade
from server.store.rows import DecisionRow, DeliveryRow, ImageVersionRow, RunRow, StepRow
from tests.doubles.base import Delivery, wait_until

P = ParamSpec("P")
T = TypeVar("T")


class Running:
    """A server that serves, with what a test asks of it."""

    def __init__(
        self, lading: Lading, url: str, token: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.lading = lading
        self.loop = loop
        """The server's own event loop."""
        self.url = url
        self.api = httpx2.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    def deliver(self, host: str, delivery: Delivery) -> httpx2.Response:
        """Send a webhook as a host would."""
        return httpx2.post(
            f"{self.url}/webhooks/{host}",
            content=delivery.body,
            headers=delivery.headers,
            timeout=30,
        )

    def decision(self, delivery: str, *, within: float = 30.0) -> DecisionRow:
        """What was decided about a delivery, once it is."""

        def found() -> dict[str, DecisionRow]:
            return self._read(deliveries.decisions_of, [delivery])

        wait_until(lambda: delivery in found(), f"delivery {delivery} is decided", within)
        return found()[delivery]

    def delivery(self, delivery: str) -> DeliveryRow:
        """A stored delivery."""
        row = self._read(deliveries.delivery, delivery)
        assert row is not None
        return row

    def ended(self, run: int, *, attempt: int = 1, within: float = 60.0) -> RunRow:
        """A run, once an attempt of it has ended."""

        def is_over() -> bool:
            row = self.run(run)
            return row.attempt >= attempt and row.state.ended

        wait_until(is_over, f"run {run} has ended", within)
        return self.run(run)

    def running(self, run: int, step: str, *, within: float = 60.0) -> StepRow:
        """A step, once its own work has begun."""

        def begun() -> bool:
            return any(row.key == step and row.running_at for row in self.steps(run))

        wait_until(begun, f"{step} of run {run} is running", within)
        return next(row for row in self.steps(run) if row.key == step)

    def run(self, run: int) -> RunRow:
        """A run as it stands."""
        row = self._read(runs.run, run)
        assert row is not None
        return row

    def steps(self, run: int) -> list[StepRow]:
        """The steps of its newest attempt."""
        return self._read(runs.steps_of, run, self.run(run).attempt)

    def states(self, run: int) -> dict[str, State]:
        """The states of the steps of its newest attempt."""
        return {step.key: step.state for step in self.steps(run)}

    def log(self, run: int, step: str) -> str:
        """A step's whole output."""
        attempt = self.run(run).attempt
        return self.lading.logs.read(run, attempt, step, start=0, limit=1 << 26).decode()

    def images(self, run: int) -> list[ImageVersionRow]:
        """The image versions that a run made."""
        return self._read(images.image_versions_page, run=run)

    def ask(self, verb: Callable[..., T], *args: object, **kwargs: object) -> T:
        """What a verb of the store says."""
        return self._read(verb, *args, **kwargs)

    def _read(self, verb: Callable[..., T], *args: object, **kwargs: object) -> T:
        return asyncio.run(self.lading.database.read(verb, *args, **kwargs))


def settings(
    data: Path,
    *,
    engine: str,
    hosts: Mapping[str, HostSettings],
    registries: Mapping[str, RegistrySettings] | None = None,
    worker: WorkerSettings | None = None,
) -> Settings:
    """A configuration for tests: a short grace, small steps."""
    return Settings(
        server=ServerSettings(port=0, data=data),
        engine=EngineSettings(url=engine),
        worker=worker or WorkerSettings(memory=256 * 2**20, grace=1.0),
        hosts=dict(hosts),
        registries=dict(registries or {}),
    )


@contextlib.contextmanager
def lading(settings: Settings) -> Iterator[Running]:
    """Serve until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with (
        alone(settings.server.data, sqlite_path(settings.database_url)),
        contextlib.closing(listener),
        asyncio.Runner() as runner,
    ):
        upgrade(settings.database_url)
        made = Lading(settings, url=url)
        server = uvicorn.Server(_config(made))
        thread = threading.Thread(
            target=lambda: runner.run(server.serve(sockets=[listener])), name="lading", daemon=True
        )
        loop = runner.get_loop()
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), "lading serves", 30)
            running = Running(made, url, _token(made), loop)
            with running.api:
                yield running
        finally:
            made.stopping.set()
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "lading did not stop"


def _token(made: Lading) -> str:
    token = make_token()
    made.database.run(tokens.remove_token, "test")  # an earlier start's
    made.database.run(
        tokens.add_token, name="test", token_hash=token_hash(token), at=clock.now(), expires_at=None
    )
    return token


def _config(made: Lading) -> uvicorn.Config:
    return uvicorn.Config(
        made.app(),
        http="httptools",
        lifespan="on",
        log_config=None,
        ws="none",
        timeout_graceful_shutdown=5,
    )
