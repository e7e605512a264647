"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.problems import ExecutorUnavailableError
from server import marks
from server import operations as room
from server.disks import Disk
from server.metrics import Metrics, operations_routes
from server.notices import Level, Notice
from server.store import deliveries, pauses, runs, tallies
from server.store.rows import PauseKind
from server.store.tallies import Tally
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


def test_deliveries_set_aside_have_an_age(house: House, client: TestClient) -> None:
    delivery = house.delivery()
    house.database.run(deliveries.note_failed_try, delivery.id, error="boom", quarantine_after=1)
    house.clock.forward(seconds=90)

    assert sample(client, "lading_deliveries_quarantined_age_seconds") == 90


def test_what_happened_over_all_restarts_is_counted(house: House, client: TestClient) -> None:
    assert sample(client, "lading_attempts_adopted_total") == 0
    house.database.run(tallies.count, Tally.ADOPTED, at=house.clock(), by=3)
    house.database.run(tallies.count, Tally.ADOPTED, at=house.clock())
    house.database.run(tallies.count, Tally.LOST, at=house.clock())
    house.database.run(tallies.count, Tally.STARTS, at=house.clock())

    assert sample(client, "lading_attempts_adopted_total") == 4
    assert sample(client, "lading_attempts_lost_total") == 1
    assert sample(client, "lading_starts_total") == 1


def test_disks_engine_and_last_backup_are_told(house: House, client: TestClient) -> None:
    house.disks = [Disk(holds=("database", "logs"), path="/var", free=5, total=10)]
    marks.note_backup(house.data, house.clock())

    assert sample(client, "lading_disk_free_bytes", holds="database,logs") == 5
    assert sample(client, "lading_disk_size_bytes", holds="database,logs") == 10
    assert sample(client, "lading_engine_up") == 1
    assert sample(client, "lading_last_backup_timestamp_seconds") == house.clock().timestamp()


def test_an_engine_that_is_away_is_told_with_the_rest(
    client: TestClient, engine: EngineDouble
) -> None:
    engine.fault = ExecutorUnavailableError("the engine does not answer: start it")

    assert sample(client, "lading_engine_up") == 0


def test_a_host_that_is_left_alone_for_a_while_is_told(house: House, client: TestClient) -> None:
    house.succeeded()
    until = house.clock() + timedelta(seconds=60)
    house.database.run(
        pauses.pause, "forge", kind=PauseKind.QUIET, reason="", now=house.clock(), until=until
    )

    assert sample(client, "lading_host_next_try_seconds", host="forge") == 60


def test_a_pause_is_no_reason_to_send_webhooks_elsewhere(house: House, client: TestClient) -> None:
    text = "No new run starts: make room"
    house.board.put(Notice(part="disk", level=Level.PAUSE, text=text, since=house.clock()))

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["notices"]) == (200, [text])
    assert sample(client, "lading_paused") == 1
    assert sample(client, "lading_notice", part="disk", level="pause", text=text) == 1


def test_the_page_tells_in_sentences_how_the_server_does(house: House, person: TestClient) -> None:
    house.disks = [Disk(holds=("database",), path="/var", free=2**30, total=2**34)]
    house.failed()
    for _ in range(3):
        house.run()
    house.clock.forward(minutes=2)
    house.delivery()
    aside = house.delivery("d-2")
    house.database.run(deliveries.note_failed_try, aside.id, error="boom", quarantine_after=1)
    house.clock.forward(seconds=5)

    page = person.get("/operations").text

    assert "None runs; 3 wait, the oldest for 2 min 5 s." in page
    assert "1 waits to be read, for 5 s." in page
    assert "One is set aside, since 5 s" in page
    assert "The disk of database: 1 GiB of 16 GiB free (6 %)." in page
    assert 'href="/operations" aria-current="page"' in page


def test_every_page_says_what_is_paused(house: House, person: TestClient) -> None:
    text = "No new run starts: <make room>"
    house.board.put(Notice(part="disk", level=Level.PAUSE, text=text, since=house.clock()))

    for path in ("/", "/deliveries", "/operations", "/login", "/nothing"):
        assert "No new run starts: &lt;make room&gt;" in person.get(path).text


def test_strangers_learn_nothing_of_how_the_server_does(stranger: TestClient) -> None:
    assert stranger.get("/operations").status_code == 303
