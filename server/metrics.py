"""Whether the server lives, whether it is ready, and its figures for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from pipelines.progress import State
from server.notices import Level
from server.operations import Operations, Report
from server.store.tallies import Tally

_COUNTED = (
    (Tally.STARTS, "starts", "Starts of the server"),
    (Tally.UNCLEAN_STOPS, "unclean_stops", "Starts after a stop that was not clean"),
    (Tally.ADOPTED, "attempts_adopted", "Attempts taken up after a restart"),
    (Tally.LOST, "attempts_lost", "Attempts that ended because something of theirs was gone"),
)


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
        self._report: Report | None = None
        ProcessCollector(registry=registry)
        registry.register(self)

    def delivery_answered(self, host: str, status: int) -> None:
        """Count one answer; `host` is a configured name or "unknown", never a stranger's text."""
        self._answers.labels(host, str(status)).inc()

    def show(self, report: Report) -> None:
        """Take over what the rows say."""
        self._report = report

    def collect(self) -> Iterable[Metric]:
        """The report as Prometheus wants it."""
        report = self._report
        if report is None:
            return
        yield from _rows(report)
        yield from _machine(report)
        for tally, name, what in _COUNTED:
            yield CounterMetricFamily(
                f"lading_{name}", f"{what}, over all restarts.", value=report.count(tally)
            )


def _rows(report: Report) -> Iterator[Metric]:
    """What waits."""
    states = GaugeMetricFamily(
        "lading_runs", "Runs by the state of their newest attempt.", labels=["state"]
    )
    for state in State:
        states.add_metric([state], report.runs.get(state, 0))
    yield states
    for name, what, backlog in (
        ("queue", "Attempts that wait for a slot", report.queue),
        ("deliveries_waiting", "Deliveries that no decision was made about", report.deliveries),
        (
            "deliveries_quarantined",
            "Deliveries set aside because reading them failed again and again",
            report.quarantined,
        ),
        ("outbox", "Commit statuses that their host has not taken", report.outbox),
    ):
        yield GaugeMetricFamily(f"lading_{name}", f"{what}.", value=backlog.count)
        yield GaugeMetricFamily(
            f"lading_{name}_age_seconds", f"{what}: seconds of the oldest.", value=backlog.age
        )
    wait = GaugeMetricFamily(
        "lading_host_next_try_seconds",
        "Hosts that have not taken some statuses: seconds until they are asked again.",
        labels=["host"],
    )
    for host in report.hosts:
        wait.add_metric([host.host], max((host.next_try - report.at).total_seconds(), 0.0))
    yield wait


def _machine(report: Report) -> Iterator[Metric]:
    """What stands in the way of work, now or soon."""
    paused = any(notice.level is Level.PAUSE for notice in report.notices)
    yield GaugeMetricFamily("lading_paused", "1 while no new run may start.", value=paused)
    notices = GaugeMetricFamily(
        "lading_notice",
        "What is paused or about to be, why, and what to do, in words.",
        labels=["part", "level", "text"],
    )
    for notice in report.notices:
        notices.add_metric([notice.part, notice.level, notice.text], 1)
    yield notices
    yield GaugeMetricFamily(
        "lading_engine_up", "Whether the container engine answers.", value=not report.engine_fault
    )
    for name, what in (("free", "may still be written"), ("size", "there are in all")):
        family = GaugeMetricFamily(
            f"lading_disk_{name}_bytes",
            f"Bytes that {what} on the disk of what `holds` names.",
            labels=["holds"],
        )
        for disk in report.disks:
            value = disk.free if name == "free" else disk.total
            family.add_metric([",".join(disk.holds)], value)
        yield family
    yield GaugeMetricFamily(
        "lading_last_backup_timestamp_seconds",
        "When `lading backup` last wrote a copy; 0: never.",
        value=0 if report.last_backup is None else report.last_backup.timestamp(),
    )


def operations_routes(metrics: Metrics, operations: Operations) -> list[BaseRoute]:
    """`/healthz`, `/readyz` and `/metrics`; none needs a token, none tells whose runs there are."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})

    async def readyz(_request: Request) -> Response:
        faults = await operations.faults()
        # A pause is no fault: webhooks are taken meanwhile, so nobody should send them elsewhere.
        notices = [notice.text for notice in operations.notices]
        return JSONResponse(
            {"ready": not faults, "faults": faults, "notices": notices},
            503 if faults else 200,
            {"Cache-Control": "no-store"},
        )

    async def show(_request: Request) -> Response:
        metrics.show(await operations.report())
        text = await asyncio.to_thread(generate_latest, metrics.registry)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", show, methods=["GET"]),
    ]
