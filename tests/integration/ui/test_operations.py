"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.problems import ExecutorUnavailableError
from server import operations as room
from server.metrics import Metrics, operations_routes
from server.store import deliveries, runs
from tests.builders import EngineDouble, House


@pytest.fixture
def engine(house: House) -> EngineDouble:
    return house.engine


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def client(house: House, metrics: Metrics) -> TestClient:
    return TestClient(Starlette(routes=operations_routes(metrics, house.operations)))


def sample(client: TestClient, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for one in family.samples:
            if one.name == name and one.labels == labels:
                return one.value
    return None


def test_the_process_is_alive_whatever_the_engine_does(
    client: TestClient, engine: EngineDouble
) -> None:
    engine.hangs = True

    assert client.get("/healthz").text == "ok\n"


def test_it_is_ready_when_database_and_engine_are(client: TestClient) -> None:
    response = client.get("/readyz")

    assert (response.status_code, response.json()) == (
        200,
        {"ready": True, "faults": {}, "notices": []},
    )


def test_it_is_not_ready_without_the_engine_and_says_why(
    client: TestClient, engine: EngineDouble
) -> None:
    engine.fault = ExecutorUnavailableError("the engine does not answer: start it")

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["faults"] == {"engine": "the engine does not answer: start it"}


def test_an_engine_that_hangs_does_not_hang_the_answer(
    client: TestClient, engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "CHECK_SECONDS", 0.05)
    engine.hangs = True

    assert "does not answer" in client.get("/readyz").json()["faults"]["engine"]


def test_many_who_ask_make_one_check(client: TestClient, engine: EngineDouble) -> None:
    for _ in range(5):
        client.get("/readyz")

    assert engine.asked == 1


def test_runs_are_counted_by_state_and_the_queue_has_an_age(
    house: House, client: TestClient
) -> None:
    house.failed()
    house.run()
    house.clock.forward(seconds=30)

    assert sample(client, "lading_runs", state="failure") == 1
    assert sample(client, "lading_runs", state="success") == 0
    assert sample(client, "lading_queue") == 1
    assert sample(client, "lading_queue_age_seconds") == 30


def test_waiting_deliveries_and_the_outbox_have_an_age(house: House, client: TestClient) -> None:
    house.succeeded()
    house.delivery()
    house.clock.forward(seconds=7)

    assert sample(client, "lading_deliveries_waiting") == 1
    assert sample(client, "lading_deliveries_waiting_age_seconds") == 7
    assert sample(client, "lading_outbox") == 1
    assert sample(client, "lading_outbox_age_seconds") == 7


def test_an_empty_server_has_no_ages(client: TestClient) -> None:
    assert sample(client, "lading_queue_age_seconds") == 0
    assert sample(client, "lading_outbox_age_seconds") == 0


def test_answers_to_deliveries_are_counted_by_host_and_status(
    client: TestClient, metrics: Metrics
) -> None:
    metrics.delivery_answered("forge", 202)
    metrics.delivery_answered("forge", 202)

    assert sample(client, "lading_deliveries_total", host="forge", status="202") == 2


def test_the_process_memory_is_told(client: TestClient) -> None:
    assert (sample(client, "process_resident_memory_bytes") or 0) > 1_000_000


def test_a_run_that_is_taken_leaves_the_queue(house: House, client: TestClient) -> None:
    house.run()
    house.database.run(runs.claim_attempt, at=house.clock())

    assert sample(client, "lading_queue") == 0
    assert sample(client, "lading_runs", state="running") == 1


def test_deliveries_set_aside_are_counted_apart(house: House, client: TestClient) -> None:
    delivery = house.delivery()
    house.database.run(deliveries.note_failed_try, delivery.id, error="boom", quarantine_after=1)

    assert sample(client, "lading_deliveries_quarantined") == 1
    assert sample(client, "lading_deliveries_waiting") == 0
