"""A stored delivery is read once more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.store import deliveries
from server.store.rows import DecisionOutcome, DecisionRow, DeliveryRow, DeliveryState, NewRun
from server.store.runs import add_run
from tests.builders import House, event, plan


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def decide(
    house: House,
    delivery: DeliveryRow,
    outcome: DecisionOutcome,
    *,
    key: str | None = "the happening",
    duplicate_of: int | None = None,
) -> int:
    return house.database.run(
        deliveries.add_decision,
        delivery=delivery.id,
        repository=house.repository().id,
        event=event(),
        event_key=key,
        outcome=outcome,
        reason="because",
        duplicate_of=duplicate_of,
        at=house.clock(),
    )


def start(house: House, decision: int) -> None:
    new = NewRun(pipeline="web", file=".lading.yml", definition="", plan=plan(), sentence="")
    house.database.run(
        add_run,
        repository=house.repository().id,
        decision=decision,
        event=event(),
        new=new,
        at=house.clock(),
    )


def requeue(house: House, delivery: DeliveryRow) -> DeliveryRow:
    assert house.database.run(deliveries.requeue_delivery, delivery.id)
    row = house.database.run(deliveries.delivery, delivery.id)
    assert row is not None
    return row


def of_the_happening(house: House) -> DecisionRow | None:
    return house.database.run(deliveries.decision_of_event, house.repository().id, "the happening")


def test_a_delivery_that_was_set_aside_waits_again_with_all_its_tries(house: House) -> None:
    delivery = house.delivery()
    for _ in range(3):
        house.database.run(
            deliveries.note_failed_try, delivery.id, error="boom", quarantine_after=3
        )
    aside = house.database.run(deliveries.delivery, delivery.id)
    assert aside is not None
    assert aside.state is DeliveryState.QUARANTINED

    assert requeue(house, delivery) == delivery


def test_a_decision_that_started_nothing_lets_the_happening_start_now(house: House) -> None:
    delivery = house.delivery()
    old = decide(house, delivery, DecisionOutcome.NOTHING)

    requeue(house, delivery)

    assert of_the_happening(house) is None
    kept = house.database.run(deliveries.decision, old)
    assert kept is not None
    assert (kept.delivery, kept.reason) == (None, "because")
    assert decide(house, delivery, DecisionOutcome.STARTED) != old


def test_a_decision_that_started_runs_keeps_its_happening(house: House) -> None:
    delivery = house.delivery()
    old = decide(house, delivery, DecisionOutcome.STARTED)
    start(house, old)

    requeue(house, delivery)

    found = of_the_happening(house)
    assert found is not None
    assert (found.id, found.delivery) == (old, None)


@pytest.mark.parametrize("started", [True, False])
def test_a_repeated_happening_may_start_only_where_its_first_telling_started_nothing(
    house: House, started: bool
) -> None:
    first = decide(house, house.delivery("d-1"), DecisionOutcome.STARTED)
    if started:
        start(house, first)
    second = house.delivery("d-2")
    decide(house, second, DecisionOutcome.DUPLICATE, key=None, duplicate_of=first)

    requeue(house, second)

    assert (of_the_happening(house) is not None) is started


def test_a_delivery_that_waits_is_left_alone(house: House) -> None:
    delivery = house.delivery()

    assert not house.database.run(deliveries.requeue_delivery, delivery.id)
    assert not house.database.run(deliveries.requeue_delivery, "none")
