"""Attempts on their way from the rows to an end, without an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from pipelines.plan import Plan
from pipelines.progress import State
from pipelines.redaction import StepSecrets
from pipelines.testing import ScriptedExecutor
from server.mirrors import Mirrors
from server.store import runs
from server.store.rows import AttemptRow, RunRow
from server.worker import Worker
from tests.builders import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def worker(house: House, tmp_path: Path) -> Worker:
    """One whose attempts end in an error where they are begun: their host is not configured."""

    async def no_leftovers() -> None:
        """There is no engine to leave anything on."""

    async def no_secrets(_run: RunRow, _plan: Plan) -> StepSecrets:
        return StepSecrets()

    def executor(**_: object) -> ScriptedExecutor:
        raise AssertionError("an attempt was begun")

    return Worker(
        database=house.database,
        logs=house.logs,
        artifacts=house.artifacts,
        keep_for=86400.0,
        mirrors=Mirrors(tmp_path / "mirrors"),
        hosts={},
        clock=house.clock,
        slots=2,
        parallel_steps=2,
        grace=1.0,
        make_executor=executor,
        secrets=no_secrets,
        remove_leftovers=no_leftovers,
        tell=lambda: None,
        run_url=str,
    )


async def until_ended(house: House, worker: Worker, run: int) -> None:
    working = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while True:
            row = await house.database.read(runs.run, run)
            if row is not None and row.state.ended:
                break
            await asyncio.sleep(0.01)
    working.cancel()
    await asyncio.wait({working})


def test_a_cancel_written_while_an_attempt_is_taken_is_heard(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = worker(house, tmp_path)
    run = house.run().id
    claim = runs.claim_attempt

    def claimed_and_cancelled(conn: Connection, *, at: datetime) -> AttemptRow | None:
        claimed = claim(conn, at=at)
        if claimed is not None:
            runs.request_cancel(conn, run, by="ada", at=at)
            made.interrupt(run, 1)
        return claimed

    monkeypatch.setattr("server.store.runs.claim_attempt", claimed_and_cancelled)
    asyncio.run(until_ended(house, made, run))

    assert house.fresh(run).state is State.CANCELLED
    assert house.fresh(run).sentence == "cancelled by ada"


def test_a_cancel_written_while_an_attempt_is_taken_up_is_heard(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = worker(house, tmp_path)
    run = house.run().id
    house.take()
    unfinished = runs.unfinished_attempts

    def read_and_cancelled(conn: Connection) -> list[AttemptRow]:
        found = unfinished(conn)
        house.database.run(runs.request_cancel, run, by="ada", at=house.clock())
        made.interrupt(run, 1)
        return found

    monkeypatch.setattr("server.store.runs.unfinished_attempts", read_and_cancelled)
    asyncio.run(until_ended(house, made, run))

    assert house.fresh(run).state is State.CANCELLED


def test_a_deploy_that_runs_has_its_turn_before_anything_is_taken_up(
    house: House, tmp_path: Path
) -> None:
    run = house.asking()
    asyncio.run(house.actions.approve(run.id, by="ada"))
    house.take()
    house.begin(run.id, "deploy.live")

    async def others_turn() -> bool:
        made, over = worker(house, tmp_path), asyncio.Event()
        over.set()
        for attempt in await house.database.read(runs.unfinished_attempts):
            await made._keep_turns(attempt)
        async with made._turns.at((run.repository, "deploy.live"), run.id + 1, over) as came:
            return came

    assert not asyncio.run(others_turn())
