from __future__ import annotations

import pytest

from benchmarks.__main__ import main
from benchmarks.processes import BrokenError
from benchmarks.rows.burst import pipeline
from benchmarks.rows.latency import chain
from benchmarks.rows.webhooks import CONNECTIONS, Load, as_lua, check_stored
from benchmarks.rows.writing import LINES, long_pipeline
from pipelines.parsing import parse
from tests.doubles import Delivery


def test_a_chain_is_a_valid_pipeline_in_which_each_step_waits_for_the_one_before() -> None:
    found = parse(chain("busybox", steps=3), ".lading.yml")

    assert found.definition is not None, found.problems
    needs = [step.needs for step in found.definition.test.values()]
    assert needs == [(), ("test.step1",), ("test.step2",)]


@pytest.mark.parametrize("stored", [100, 100 + 2 * CONNECTIONS])
def test_every_accepted_row_and_one_unread_answer_for_each_connection_and_load_may_be_stored(
    stored: int,
) -> None:
    check_stored(stored, accepted=100)


@pytest.mark.parametrize("stored", [99, 101 + 2 * CONNECTIONS])
def test_a_lost_row_breaks_the_measurement_and_so_does_one_from_nowhere(stored: int) -> None:
    with pytest.raises(BrokenError, match=f"100 deliveries were accepted and {stored} are stored"):
        check_stored(stored, accepted=100)


def test_a_rate_counts_what_was_accepted() -> None:
    load = Load(accepted=900, refused=0, broken=0, seconds=3.0, p50=4.0, p99=9.0)

    assert load.rate == 300


def test_the_pipeline_of_the_burst_supersedes() -> None:
    found = parse(pipeline("busybox"), ".lading.yml")

    assert found.definition is not None, found.problems
    assert found.definition.concurrency is not None
    assert found.definition.concurrency.cancel_in_progress


def test_pushes_are_handed_to_wrk_byte_for_byte() -> None:
    told = as_lua([Delivery(headers={"X-GitHub-Event": "push"}, body=b'{"a":["]]",1]}')])

    assert told == (
        b'return {\n{headers = {["X-GitHub-Event"] = "push"}, body = [==[{"a":["]]",1]}]==]},\n}\n'
    )


def test_a_row_that_is_not_there_is_refused_before_anything_is_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "no-such-row"])

    assert ended.value.code == 2
    assert "webhooks" in capsys.readouterr().err


def test_the_long_pipeline_is_as_long_as_it_says_and_valid() -> None:
    text = long_pipeline()

    assert len(text.splitlines()) == LINES
    assert parse(text, ".lading.yml").problems == ()
