"""The composition root: the only place that wires the rooms together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import Mount

from pipelines.engine.client import Engine, Login
from pipelines.engine.containers import Attempt, Limits
from pipelines.engine.executor import EngineExecutor
from pipelines.engine.leftovers import remove_leftovers
from pipelines.plan import Plan
from pipelines.planning import PlanDefaults
from pipelines.problems import ExecutorUnavailableError, LadingError
from pipelines.source import Source
from server import api, clock, logging, schedules, ui
from server.actions import Actions
from server.config import Settings
from server.hosts.factory import make_hosts
from server.intake import Intake
from server.logs import LogStore
from server.metrics import Metrics, operations_routes
from server.mirrors import MirrorKey, Mirrors
from server.reporting import Reporting
from server.store import Database, repositories, runs, soundness
from server.store.database import sqlite_path
from server.store.migrations import upgrade
from server.store.rows import RunRow
from server.webhooks import Pressure, Webhooks
from server.worker import Worker

log = structlog.get_logger(__name__)

ENGINE_THREADS = 16
BACKLOG = 2048  # connections that wait to be accepted
RESTART_SECONDS = 1.0
STREAM_SECONDS = 5  # how long open responses may keep the server from stopping


class CannotListenError(LadingError):
    """The configured address and port cannot be had."""


class AlreadyRunningError(LadingError):
    """Another server uses the same data folder."""


class Lading:
    """Every room of one server, wired.

    Args:
        settings: The checked configuration.
        url: The address people reach it under, without a slash at the end.
    """

    def __init__(self, settings: Settings, *, url: str) -> None:
        self.settings = settings
        self.url = url
        data = settings.server.data
        self.database = Database(settings.database_url)
        self.logs = LogStore(data / "logs", limit=settings.worker.log_limit)
        self.hosts = make_hosts(settings)
        self.mirrors = Mirrors(data / "mirrors")
        self.engine = Engine(
            settings.engine.url,
            ThreadPoolExecutor(ENGINE_THREADS, thread_name_prefix="engine"),
            runtime=settings.engine.runtime,
        )
        self.server_id = _server_id(data)
        self.stopping = asyncio.Event()
        self.pressure = Pressure()
        self.reporting = Reporting(hosts=self.hosts, database=self.database, clock=clock.now)
        self.worker = self._worker()
        self.intake = Intake(
            hosts=self.hosts,
            database=self.database,
            mirrors=self.mirrors,
            clock=clock.now,
            pressure=self.pressure,
            defaults=PlanDefaults(
                timeout=settings.worker.timeout,
                memory=settings.worker.memory,
                cpus=settings.worker.cpus,
            ),
            wake=self.worker.notify,
            tell=self.reporting.notify,
            run_url=self.run_url,
        )
        self.actions = Actions(
            database=self.database,
            clock=clock.now,
            starter=self.intake,
            wake=self.worker.notify,
            interrupt=self.worker.interrupt,
            tell=self.reporting.notify,
            run_url=self.run_url,
        )
        self.metrics = Metrics(CollectorRegistry())

    def run_url(self, run: int) -> str:
        """A run's page."""
        return f"{self.url}/runs/{run}"

    def _worker(self) -> Worker:
        worker = self.settings.worker
        return Worker(
            database=self.database,
            logs=self.logs,
            mirrors=self.mirrors,
            hosts=self.hosts,
            clock=clock.now,
            slots=worker.slots,
            parallel_steps=worker.parallel_steps,
            grace=worker.grace,
            make_executor=self._executor,
            remove_leftovers=self._remove_leftovers,
            tell=self.reporting.notify,
            run_url=self.run_url,
        )

    def _executor(self, *, run: RunRow, attempt: int, plan: Plan, source: Source) -> EngineExecutor:
        worker = self.settings.worker
        return EngineExecutor(
            engine=self.engine,
            attempt=Attempt(
                run=str(run.id), attempt=attempt, repository=run.full_name, server=self.server_id
            ),
            plan=plan,
            source=source,
            limits=Limits(
                memory=worker.memory,
                cpus=worker.cpus,
                pids=worker.pids,
                log=worker.log_limit,
            ),
            logins={} if run.event.from_fork else self._logins(),
        )

    def _logins(self) -> dict[str, Login]:
        """Registry logins by host; runs for a fork's pull request get none of them."""
        return {
            host: Login(username=login.username, password=login.password.get_secret_value())
            for host, login in self.settings.registries.items()
        }

    async def _remove_leftovers(self) -> None:
        """Remove what attempts that are over left on the engine: it was away, or we were."""
        try:
            await self.engine.connected()
        except ExecutorUnavailableError as error:
            log.warning("leftovers stay for now", why=str(error))
            return
        # Also those that nobody has taken up yet.
        running = await self.database.read(runs.unfinished_attempts)
        keep = {(str(attempt.run), attempt.number) for attempt in running}
        keep |= {(str(run), attempt) for run, attempt in self.worker.active}
        removed = await self.engine.call(
            remove_leftovers, self.engine.client, server=self.server_id, keep=keep
        )
        if removed:
            log.info("leftovers removed", count=removed)

    async def _maintain_mirrors(self) -> None:
        for row in await self.database.read(repositories.all_repositories):
            await self.mirrors.maintain(MirrorKey(host=row.host, external_id=row.external_id))

    async def engine_answers(self) -> None:
        """Whether the engine can be used.

        Raises:
            ExecutorUnavailableError: It cannot.
        """
        await self.engine.connected()

    def app(self) -> Starlette:
        """The ASGI application; its lifespan runs the rooms that work in the background."""
        webhooks = Webhooks(
            hosts=self.hosts,
            database=self.database,
            clock=clock.now,
            pressure=self.pressure,
            wake=self.intake.notify,
            count=self.metrics.delivery_answered,
            url=self.url,
        )
        return Starlette(
            routes=[
                *webhooks.routes(),
                Mount(
                    "/api/v1",
                    routes=api.routes(
                        database=self.database,
                        logs=self.logs,
                        actions=self.actions,
                        clock=clock.now,
                        base_url=self.url,
                        stopping=self.stopping,
                    ),
                ),
                *operations_routes(
                    self.metrics, database=self.database, engine_answers=self.engine_answers
                ),
                *ui.routes(
                    database=self.database,
                    logs=self.logs,
                    actions=self.actions,
                    clock=clock.now,
                    base_url=self.url,
                    public=self.settings.server.public,
                    stopping=self.stopping,
                ),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(_kept_running(name, room))
            for name, room in (
                ("intake", self.intake.run),
                ("worker", self.worker.run),
                ("reporting", self.reporting.run),
            )
        ]
        jobs = {
            "leftovers": (schedules.every_minute(), self._remove_leftovers),
            "mirrors": (schedules.every_night(), self._maintain_mirrors),
        }
        try:
            async with schedules.ticking(jobs):
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.engine.close()
            self.database.close()


async def _kept_running(name: str, room: Callable[[], Awaitable[None]]) -> None:
    """Run a room for as long as the server lives: the rows are the truth, so it may start anew."""
    while True:
        try:
            await room()
        except Exception:
            log.exception("room broke off and starts again", room=name)
        await asyncio.sleep(RESTART_SECONDS)


def _server_id(data: Path) -> str:
    """A name for this data folder, so that two servers on one engine know their own containers."""
    path = data / "server-id"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(os.urandom(8).hex())
    return path.read_text()


@contextlib.contextmanager
def alone(data: Path) -> Iterator[None]:
    """Hold the data folder; two servers on one would take each other's work.

    Raises:
        AlreadyRunningError: Another process holds it.
    """
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            message = (
                f"another Lading (process {file.read().strip() or 'unknown'}) uses {data}: stop "
                "it first, or set `server.data` to another folder"
            )
            raise AlreadyRunningError(message) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class _Server(uvicorn.Server):
    """Tells open streams to end as soon as the process is asked to stop."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: object) -> None:
        """Uvicorn's signal handler, and the word to the streams."""
        self._stopping.set()
        super().handle_exit(sig, frame)  # type: ignore[arg-type] # the frame's type is private


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        AlreadyRunningError: Another server uses the data folder.
        CannotListenError: The address is taken.
        SchemaTooNewError: A newer Lading wrote the database.
        DatabaseDamagedError: The last stop was no clean one, and the database is damaged.
        NetworkFileSystemError: The database lies where SQLite would damage it.
    """
    logging.configure(settings.server.log_format)
    for asked in (signal.SIGTERM, signal.SIGINT):
        # Uvicorn raises the signal once more when it has stopped; by then we are done with it.
        signal.signal(asked, _done)
    with alone(settings.server.data), _sound_database(settings):
        upgrade(settings.database_url)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))


def _sound_database(settings: Settings) -> contextlib.AbstractContextManager[None]:
    path = sqlite_path(settings.database_url)
    if path is None:
        return contextlib.nullcontext()
    soundness.refuse_network(path)
    if soundness.has_wal_reset_bug():
        log.warning(
            "this SQLite has the WAL-reset bug: a newer one is better",
            version=sqlite3.sqlite_version,
            mended_in="3.51.3, 3.50.7, 3.44.6",
        )
    return soundness.watched(path, settings.server.data)


def _done(_signal: int, _frame: object) -> None:
    """Nothing more to do: the server has stopped."""


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        message = (
            f"cannot listen on {address}, port {port} ({os.strerror(error.errno or 0)}): set "
            "`server.address` and `server.port` to ones that are free here"
        )
        raise CannotListenError(message) from error


async def _serve(settings: Settings) -> None:
    server = settings.server
    listener = _listen(server.address, server.port)
    port = listener.getsockname()[1]
    shown = f"[{server.address}]" if ":" in server.address else server.address
    lading = Lading(settings, url=(server.url or f"http://{shown}:{port}").rstrip("/"))
    config = uvicorn.Config(
        lading.app(),
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nothing here depends on who connects
        timeout_graceful_shutdown=STREAM_SECONDS,
    )
    log.info("lading serves", url=lading.url, port=port, hosts=sorted(lading.hosts))
    gc.collect()
    gc.freeze()  # what is wired now stays: collections need not walk through it again
    await _Server(config, lading.stopping).serve(sockets=[listener])
