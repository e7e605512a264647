"""Whether the server lives, whether it is ready, and its figures for Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from pipelines.problems import LadingError
from pipelines.progress import State
from pipelines.values import Value
from server.clock import Clock
from server.clock import now as machine_time
from server.store import Database, probe
from server.store import deliveries as delivery_verbs
from server.store import runs as run_verbs
from server.store import statuses as status_verbs

CHECK_SECONDS = 5.0
"""How long one part may take to answer before it counts as not ready."""
REMEMBERED = 2.0
"""Seconds for which an answer of `/readyz` is given again: strangers may ask, disks are slow."""

EngineAnswers = Callable[[], Awaitable[None]]


class Backlog(Value):
    """How many things wait, and how many seconds the oldest has waited."""

    count: int
    age: float

    @classmethod
    def of(cls, count: int, oldest: datetime | None, now: datetime) -> Backlog:
        """A backlog from a verb's answer."""
        age = 0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0)
        return cls(count=count, age=age)


class Figures(Value):
    """What the rows say at one moment."""

    runs: dict[State, int]
    queue: Backlog
    deliveries: Backlog
    quarantined: int
    outbox: Backlog


class Metrics(Collector):
    """The server's figures, in the registry handed in.

    Those of the rows are read when somebody asks; the rest is counted as it happens.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._answers = Counter(
            "lading_deliveries",
            "Webhook calls answered, by host and HTTP status.",
            ("host", "status"),
            registry=registry,
        )
        self._figures: Figures | None = None
        ProcessCollector(registry=registry)
        registry.register(self)

    def delivery_answered(self, host: str, status: int) -> None:
        """Count one answer; `host` is a configured name or "unknown", never a stranger's text."""
        self._answers.labels(host, str(status)).inc()

    def show(self, figures: Figures) -> None:
        """Take over what the rows say."""
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """The rows' figures as Prometheus wants them."""
        figures = self._figures
        if figures is None:
            return
        states = GaugeMetricFamily(
            "lading_runs", "Runs by the state of their newest attempt.", labels=["state"]
        )
        for state in State:
            states.add_metric([state], figures.runs.get(state, 0))
        yield states
        yield GaugeMetricFamily(
            "lading_deliveries_quarantined",
            "Deliveries set aside because reading them failed again and again.",
            value=figures.quarantined,
        )
        for name, what, backlog in (
            ("queue", "Attempts that wait for a slot", figures.queue),
            (
                "deliveries_waiting",
                "Deliveries that no decision was made about",
                figures.deliveries,
            ),
            ("outbox", "Commit statuses that their host has not taken", figures.outbox),
        ):
            yield GaugeMetricFamily(f"lading_{name}", f"{what}.", value=backlog.count)
            yield GaugeMetricFamily(
                f"lading_{name}_age_seconds", f"{what}: seconds of the oldest.", value=backlog.age
            )


async def figures(database: Database, now: datetime) -> Figures:
    """Read the rows' figures."""
    waiting, oldest_delivery = await database.read(delivery_verbs.count_waiting)
    due, oldest_status = await database.read(status_verbs.count_due)
    runs = await database.read(run_verbs.count_by_state)
    oldest_run = await database.read(run_verbs.oldest_waiting)
    return Figures(
        runs=runs,
        queue=Backlog.of(runs.get(State.WAITING, 0), oldest_run, now),
        deliveries=Backlog.of(waiting, oldest_delivery, now),
        quarantined=await database.read(delivery_verbs.count_quarantined),
        outbox=Backlog.of(due, oldest_status, now),
    )


class Readiness:
    """Asks each part whether it can be used; an answer is good for two seconds."""

    def __init__(self, *, database: Database, engine_answers: EngineAnswers) -> None:
        self._parts: dict[str, EngineAnswers] = {
            "database": lambda: database.write(probe.write_something),
            "engine": engine_answers,
        }
        self._lock = asyncio.Lock()
        self._known: dict[str, str] = {}
        self._until = 0.0

    async def faults(self) -> dict[str, str]:
        """The parts that cannot be used, each with the reason."""
        async with self._lock:
            if time.monotonic() >= self._until:
                reasons = await asyncio.gather(*map(_reason, self._parts.values()))
                named = zip(self._parts, reasons, strict=True)
                self._known = {name: reason for name, reason in named if reason}
                self._until = time.monotonic() + REMEMBERED
            return self._known


async def _reason(part: EngineAnswers) -> str:
    try:
        await asyncio.wait_for(part(), CHECK_SECONDS)
    except TimeoutError:
        return f"does not answer within {CHECK_SECONDS:.0f} s"
    except LadingError as error:
        return str(error)
    return ""


def operations_routes(
    metrics: Metrics,
    *,
    database: Database,
    engine_answers: EngineAnswers,
    clock: Clock = machine_time,
) -> list[BaseRoute]:
    """`/healthz`, `/readyz` and `/metrics`; none needs a token, none tells whose runs there are.

    Args:
        metrics: What to show.
        database: Whose rows.
        engine_answers: Raises a `LadingError` while the engine cannot be used.
        clock: For ages.
    """
    readiness = Readiness(database=database, engine_answers=engine_answers)

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})

    async def readyz(_request: Request) -> Response:
        faults = await readiness.faults()
        return JSONResponse(
            {"ready": not faults, "faults": faults},
            503 if faults else 200,
            {"Cache-Control": "no-store"},
        )

    async def show(_request: Request) -> Response:
        metrics.show(await figures(database, clock()))
        text = await asyncio.to_thread(generate_latest, metrics.registry)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", show, methods=["GET"]),
    ]
