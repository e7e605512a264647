"""Deliveries on their way in while the server ends: an answer of 2xx is a promise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.progress import State
from server.store import deliveries
from server.store.rows import DeliveryState
from tests.doubles.base import Delivery, wait_until
from tests.faults.conftest import SECRET, Stage

BURST = 40


def burst(stage: Stage) -> list[Delivery]:
    """Deliveries that start nothing, each of a branch of its own."""
    return [
        stage.github.push_delivery(
            stage.web,
            sha="0" * 40,
            before=f"{number:040x}",
            secret=SECRET,
            ref=f"refs/heads/{number}",
        )
        for number in range(1, BURST + 1)
    ]


def all_decided(stage: Stage) -> None:
    """Wait until every stored delivery is decided."""

    def none_waits() -> bool:
        return stage.server.read(deliveries.count_waiting)[0] == 0

    wait_until(none_waits, "no delivery waits", 30)


def test_a_delivery_that_was_not_stored_is_not_answered_and_its_redelivery_makes_one_run(
    stage: Stage,
) -> None:  # F1
    stage.server.start(crash_at="webhooks.taken")
    sha = stage.push("true")
    delivery = stage.delivery(sha)

    assert stage.deliver(delivery) is None
    stage.server.crashed()
    assert stage.stored() == []
    stage.server.start()
    assert stage.deliver(delivery) == 202

    assert stage.ended().state is State.SUCCESS
    stage.told(sha, "success")


def test_a_delivery_that_was_stored_and_not_answered_makes_one_run_with_its_redelivery(
    stage: Stage,
) -> None:  # F2
    stage.server.start(crash_at="webhooks.stored")
    sha = stage.push("true")
    delivery = stage.delivery(sha)

    assert stage.deliver(delivery) is None
    stage.server.crashed()
    stage.server.start()
    assert stage.deliver(delivery) == 202

    assert stage.ended().state is State.SUCCESS
    assert len(stage.stored()) == 1
    stage.told(sha, "success")


def test_what_was_answered_out_of_a_group_that_was_cut_off_is_stored(stage: Stage) -> None:
    stage.server.start(crash_at="store.committing:6")
    sent = burst(stage)
    with ThreadPoolExecutor(BURST) as threads:
        answers = list(threads.map(stage.deliver, sent))
    stage.server.crashed()
    kept = {row.delivery_id for row in stage.stored()}

    promised = {
        delivery.headers["X-GitHub-Delivery"]
        for delivery, answer in zip(sent, answers, strict=True)
        if answer == 202
    }
    assert promised
    assert promised <= kept
    assert len(kept) < BURST
    stage.server.start()
    assert [stage.deliver(delivery) for delivery in sent] == [202] * BURST
    all_decided(stage)
    assert len(stage.stored()) == BURST


def test_no_half_run_is_visible_while_a_delivery_is_being_read(stage: Stage) -> None:  # F4
    stage.server.start(crash_at="mirrors.fetched")
    sha = stage.push("true")
    stage.deliver(stage.delivery(sha))
    stage.server.crashed()

    assert [row.state for row in stage.stored()] == [DeliveryState.WAITING]
    assert stage.runs() == []
    assert stage.github.history(stage.web.full_name, sha, "lading/push/default") == []


class TestPoison:
    """A delivery whose reading fails, again and again (F41)."""

    @pytest.fixture
    def program(self) -> str:
        return "tests.faults.poisoned"

    def test_a_poisoned_delivery_is_set_aside_across_a_kill_and_the_rest_flows(
        self, stage: Stage
    ) -> None:
        stage.server.start()
        sha = stage.push("true")
        poison = stage.github.push_delivery(
            stage.web, sha=sha, secret=SECRET, ref="refs/heads/poison"
        )
        assert stage.deliver(poison) == 202
        wait_until(lambda: stage.stored()[0].tries > 0, "it was tried", 20)

        stage.server.kill()
        tried = stage.stored()[0].tries
        stage.server.start()
        assert stage.deliver(stage.delivery(sha)) == 202

        assert stage.ended().state is State.SUCCESS
        wait_until(
            lambda: stage.stored()[-1].state is DeliveryState.QUARANTINED, "it is set aside", 30
        )
        assert 0 < tried < 3
        assert stage.stored()[-1].tries == 3
