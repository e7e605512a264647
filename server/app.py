"""The composition root: the only place that wires the rooms together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import structlog
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import Mount

from pipelines.engine.client import Engine
from pipelines.engine.containers import Attempt, Limits
from pipelines.engine.executor import EngineExecutor
from pipelines.engine.interruption import Patience
from pipelines.engine.leftovers import find_leftovers, remove_leftovers
from pipelines.executor import Executor
from pipelines.images.exact.shelf import Shelf
from pipelines.plan import Plan
from pipelines.planning import PlanDefaults
from pipelines.problems import ExecutorUnavailableError, LadingError
from pipelines.recipes import catalogue
from pipelines.redaction import StepSecrets
from pipelines.registries.logins import Login
from pipelines.source import Source
from server import api, clock, logging, schedules, ui
from server.actions import Actions
from server.alone import alone
from server.artifacts import ArtifactStore
from server.config import Settings
from server.disks import PART as DISK
from server.disks import DiskWatch
from server.dockerfiles import Dockerfiles
from server.engine_watch import EngineWatch
from server.hosts.factory import make_hosts
from server.housekeeping import BuildCache, Housekeeping
from server.intake import Intake
from server.logs import LogStore
from server.metrics import Metrics, operations_routes
from server.mirrors import MirrorKey, Mirrors
from server.notices import Board
from server.operations import Operations
from server.recovery import Heads, Lists
from server.registries import Registries
from server.releases import Announcing, Deploying, Holding, Releases, RunChannels
from server.reporting import Reporting
from server.secrets import Secrets, refuse_lost_keys
from server.store import Database, deliveries, pauses, repositories, runs, soundness
from server.store.database import sqlite_path
from server.store.rows import RunRow
from server.store.upgrading import bring_up_to_date
from server.timetable import Timetable
from server.upkeep import Upkeep, disk_folders
from server.vault import Vault
from server.webhooks import Pressure, Webhooks
from server.worker import Worker

log = structlog.get_logger(__name__)

ENGINE_THREADS = 16
BACKLOG = 2048  # connections that wait to be accepted
RESTART_SECONDS = 1.0
FORCED_SECONDS = 0.1  # between two looks whether the person at the keyboard insists
HEADS_MINUTES = 13.0  # with the minute of grace, a missed push is found within 15
STREAM_SECONDS = 5  # how long open responses may keep the server from stopping


class CannotListenError(LadingError):
    """The configured address and port cannot be had."""


class Lading:
    """Every room of one server, wired.

    Args:
        settings: The checked configuration.
        url: The address people reach it under, without a slash at the end.
        unclean: Whether the server before did not stop by itself.
    """

    def __init__(self, settings: Settings, *, url: str, unclean: bool = False) -> None:
        self.settings = settings
        self.url = url
        self.board = Board()
        data = settings.server.data
        self.database = Database(settings.database_url)
        vault = Vault(settings.key_file)
        self.database.run(refuse_lost_keys, vault)
        self.delivery_ids = deliveries.DeliveryIds(self.database.run(deliveries.newest_id))
        self.logs = LogStore(data / "logs", limit=settings.worker.log_limit)
        self.artifacts = ArtifactStore(
            data / "artifacts", limit=settings.artifacts.limit, room=settings.artifacts.room
        )
        self.hosts = make_hosts(settings)
        self.mirrors = Mirrors(data / "mirrors")
        self.dockerfiles = Dockerfiles(self.database, self.mirrors)
        self.engine = Engine(
            settings.engine.url,
            ThreadPoolExecutor(ENGINE_THREADS, thread_name_prefix="engine"),
            runtime=settings.engine.runtime,
        )
        self.server_id = _server_id(data)
        self.shelf = Shelf(data / "layers")
        self.stopping = asyncio.Event()
        self.pressure = Pressure()
        self.reporting = Reporting(hosts=self.hosts, database=self.database, clock=clock.now)
        self.engine_watch = EngineWatch(
            answers=self.engine_answers,
            board=self.board,
            database=self.database,
            clock=clock.now,
            again=self._engine_is_back,
        )
        self.announcing = Announcing(
            database=self.database, clock=clock.now, settings=settings.announce, base_url=url
        )
        self.secrets = Secrets(database=self.database, vault=vault, clock=clock.now)
        self.registries = self._registries(vault)
        self.releases = Releases(
            database=self.database, registries=self.registries, clock=clock.now
        )
        self.worker = self._worker()
        self.intake = self._intake()
        self.timetable = Timetable(
            database=self.database, clock=clock.now, start=self.intake.start_slot
        )
        self.heads = Heads(
            hosts=self.hosts,
            database=self.database,
            mirrors=self.mirrors,
            clock=clock.now,
            wake=self.intake.notify,
            new_id=self.delivery_ids.new,
        )
        self.lists = Lists(hosts=self.hosts, database=self.database, clock=clock.now, url=url)
        self.actions = self._actions()
        self.metrics = Metrics(CollectorRegistry())
        self._rooms: list[asyncio.Task[None]] = []
        self.disks = DiskWatch(
            folders=disk_folders(settings),
            settings=settings.disk,
            board=self.board,
            clock=clock.now,
            room_again=self.worker.notify,
        )
        self.operations = self._operations()
        self.housekeeping = self._housekeeping()
        self.upkeep = self._upkeep(unclean=unclean)

    def run_url(self, run: int) -> str:
        """A run's page."""
        return f"{self.url}/runs/{run}"

    def _registries(self, vault: Vault) -> Registries:
        settings = self.settings
        return Registries(
            database=self.database,
            vault=vault,
            clock=clock.now,
            settings=settings.registries,
            private=settings.network.private,
        )

    def _intake(self) -> Intake:
        settings = self.settings
        return Intake(
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
            interrupt=self.worker.interrupt,
            run_url=self.run_url,
            strangers=settings.strangers,
            templates=catalogue(settings.recipes.folder),
        )

    def _actions(self) -> Actions:
        return Actions(
            database=self.database,
            clock=clock.now,
            starter=self.intake,
            wake=self.worker.notify,
            interrupt=self.worker.interrupt,
            tell=self.reporting.notify,
            run_url=self.run_url,
            answered=self.worker.answered,
        )

    def _operations(self) -> Operations:
        return Operations(
            database=self.database,
            engine_answers=self.engine_answers,
            board=self.board,
            disks=lambda: self.disks.disks,
            data=self.settings.server.data,
            clock=clock.now,
        )

    def _housekeeping(self) -> Housekeeping:
        settings = self.settings
        return Housekeeping(
            database=self.database,
            logs=self.logs,
            artifacts=self.artifacts,
            engine=BuildCache(self.engine, server=self.server_id),
            settings=settings.retention,
            clock=clock.now,
            busy=lambda: bool(self.worker.active),
            scarce=lambda: self.board.about(DISK) is not None,
        )

    def _upkeep(self, *, unclean: bool) -> Upkeep:
        return Upkeep(
            database=self.database,
            disks=self.disks,
            housekeeping=self.housekeeping,
            clock=clock.now,
            data=self.settings.server.data,
            engine_folder=lambda: self.engine.data_root if self.engine.is_connected else None,
            unclean=unclean,
        )

    def _worker(self) -> Worker:
        worker = self.settings.worker
        return Worker(
            database=self.database,
            logs=self.logs,
            artifacts=self.artifacts,
            keep_for=self.settings.artifacts.expire_in,
            mirrors=self.mirrors,
            hosts=self.hosts,
            clock=clock.now,
            slots=worker.slots,
            parallel_steps=worker.parallel_steps,
            grace=worker.grace,
            make_executor=self._executor,
            secrets=self._secrets_of,
            remove_leftovers=self._remove_leftovers,
            tell=self.reporting.notify,
            run_url=self.run_url,
            ready=self.engine_watch.ready,
            held=lambda: self.board.paused,
        )

    def _engine_is_back(self) -> None:
        self.worker.notify()

    def _executor(
        self, *, run: RunRow, attempt: int, plan: Plan, source: Source, secrets: StepSecrets
    ) -> Executor:
        worker = self.settings.worker
        executor = EngineExecutor(
            engine=self.engine,
            attempt=Attempt(
                run=str(run.id),
                attempt=attempt,
                repository=run.full_name,
                repository_id=str(run.repository),
                server=self.server_id,
            ),
            plan=plan,
            source=source,
            limits=Limits(
                memory=worker.memory,
                cpus=worker.cpus,
                pids=worker.pids,
                cache=worker.cache_limit,
                log=worker.log_limit,
            ),
            secrets=secrets,
            logins=self.logins_for(run),
            patience=Patience(silence=self.settings.engine.patience),
            shelf=self.shelf,
        )
        holding = Holding(executor, held=self.releases.held)
        return Deploying(holding, channels=RunChannels(self.releases, run))

    def logins_for(self, run: RunRow) -> Mapping[str, Login]:
        """Registry logins by host; a run that is not trusted gets none of them."""
        return self.registries.logins if run.trusted else {}

    async def _secrets_of(self, run: RunRow, plan: Plan) -> StepSecrets:
        """What the steps get; registry logins are made ready on the way."""
        await self.registries.refresh()
        return await self.secrets.of(run, plan)

    async def _remove_leftovers(self) -> None:
        """Remove what attempts that are over left on the engine: it was away, or we were."""
        try:
            await self.engine.connected()
        except ExecutorUnavailableError as error:
            log.warning("leftovers stay for now", why=str(error))
            return
        # Looked for first: what begins after this line must not be taken for a leftover.
        found = await self.engine.call(find_leftovers, self.engine.client, self.server_id)
        # Also those that nobody has taken up yet.
        running = await self.database.read(runs.begun_attempts)
        keep = {(str(attempt.run), attempt.number) for attempt in running}
        keep |= {(str(run), attempt) for run, attempt in self.worker.active}
        removed = await self.engine.call(
            remove_leftovers,
            self.engine.client,
            self.server_id,
            keep,
            await self._attempts_with_images(),
            found,
        )
        if removed:
            log.info("leftovers removed", count=removed)

    async def _attempts_with_images(self) -> set[tuple[str, int]]:
        """Attempts whose images a re-run of what failed may want."""
        since = clock.now() - timedelta(seconds=self.settings.retention.images)
        wanted = await self.database.read(runs.attempts_with_images, since=since)
        return {(str(run), attempt) for run, attempt in wanted}

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
            new_id=self.delivery_ids.new,
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
                        artifacts=self.artifacts,
                        actions=self.actions,
                        clock=clock.now,
                        base_url=self.url,
                        stopping=self.stopping,
                        operations=self.operations,
                        secrets=self.secrets,
                        registries=self.registries,
                        releases=self.releases,
                        dockerfiles=self.dockerfiles,
                    ),
                ),
                *operations_routes(self.metrics, self.operations),
                *ui.routes(
                    database=self.database,
                    logs=self.logs,
                    artifacts=self.artifacts,
                    actions=self.actions,
                    clock=clock.now,
                    base_url=self.url,
                    public=self.settings.server.public,
                    stopping=self.stopping,
                    operations=self.operations,
                    secrets=self.secrets,
                    releases=self.releases,
                    dockerfiles=self.dockerfiles,
                ),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        await self.upkeep.look_at_disks()  # before any run is taken
        counting = asyncio.create_task(self.upkeep.count_start())
        self._rooms = [
            asyncio.create_task(_kept_running(name, room))
            for name, room in (
                ("intake", self.intake.run),
                ("engine watch", self.engine_watch.run),
                ("worker", self.worker.run),
                ("reporting", self.reporting.run),
            )
        ]
        jobs = {
            "leftovers": (schedules.every_minute(), self._remove_leftovers),
            "mirrors": (schedules.every_night(), self._maintain_mirrors),
            **self.upkeep.jobs(),
            "registries": (schedules.every_minute(), self.registries.refresh),
            "announcements": (schedules.every_few_seconds(), self.announcing.look),
            "moves": (schedules.every_minute(), self.releases.settle),
            "schedules": (schedules.every_few_seconds(), self.timetable.look),
            "approvals": (schedules.every_few_seconds(), self.actions.expire_approvals),
            "missed deliveries": (schedules.now_and_every(minutes=1), self.lists.look),
            "new repositories": (schedules.every_minute(), self.heads.meet),
            "missed pushes": (schedules.now_and_every(minutes=HEADS_MINUTES), self.heads.look),
        }
        # What a token was refused for may have been mended before this start.
        await self.database.write(pauses.try_again, now=clock.now())
        try:
            async with schedules.ticking(jobs):
                yield
        finally:
            await self.hand_over()
            await asyncio.wait({counting}, timeout=STREAM_SECONDS)
            self.releases.close()
            self.registries.close()
            self.engine.close()
            self.database.close()

    async def hand_over(self) -> None:
        """Stop every room, and leave what they were at to the next process. The door stays open."""
        log.info("lading hands over", attempts=len(self.worker.active))
        for room in self._rooms:
            room.cancel()
        await asyncio.gather(*self._rooms, return_exceptions=True)


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


class _Server(uvicorn.Server):
    """Tells open streams to end as soon as the process is asked to stop, and hands work over.

    A push may take a while to end. Until then deliveries are taken: what is stored now, the next
    process reads; at a closed door most senders would only count a failure.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        stopping: asyncio.Event,
        hand_over: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._hand_over = hand_over

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's way to the end, behind ours; a second Ctrl-C cuts ours short."""
        handing_over = asyncio.ensure_future(self._hand_over())
        while not (handing_over.done() or self.force_exit):
            await asyncio.wait({handing_over}, timeout=FORCED_SECONDS)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: object) -> None:
        """Uvicorn's signal handler, and the word to the streams."""
        self._stopping.set()
        super().handle_exit(sig, frame)  # type: ignore[arg-type] # the frame's type is private


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        AlreadyRunningError: Another server uses the data folder or the database.
        BackupError: The database must be upgraded, and could not be copied before.
        CannotListenError: The address is taken.
        SchemaTooNewError: A newer Lading wrote the database.
        DatabaseDamagedError: The last stop was no clean one, and the database is damaged.
        NetworkFileSystemError: The database lies where SQLite would damage it.
    """
    logging.configure(settings.server.log_format)
    _when_asked_to_stop(_leave)
    database = sqlite_path(settings.database_url)
    unclean = soundness.stopped_uncleanly(settings.server.data)
    with alone(settings.server.data, database), _sound_database(settings):
        bring_up_to_date(settings.database_url, at=clock.now())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, unclean=unclean))


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


def _when_asked_to_stop(do: Callable[[int, object], None]) -> None:
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, do)


def _leave(_signal: int, _frame: object) -> None:
    """Nothing serves yet, so nothing is to be handed over."""
    raise SystemExit(0)


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


async def _serve(settings: Settings, *, unclean: bool) -> None:
    server = settings.server
    listener = _listen(server.address, server.port)
    port = listener.getsockname()[1]
    shown = f"[{server.address}]" if ":" in server.address else server.address
    lading = Lading(
        settings, url=(server.url or f"http://{shown}:{port}").rstrip("/"), unclean=unclean
    )
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
    # Uvicorn raises the signal once more when it has stopped; by then we are done with it.
    _when_asked_to_stop(_done)
    await _Server(config, lading.stopping, lading.hand_over).serve(sockets=[listener])
