"""What a person asks for is one transaction: a crash cannot part a run from its status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.progress import State
from tests.builders import House


class FullDiskError(Exception):
    """Nothing more can be written."""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house that can store no status from now on."""

    def refused(*_: object, **__: object) -> bool:
        raise FullDiskError

    made = House(tmp_path)
    monkeypatch.setattr("server.store.statuses.want_status", refused)
    yield made
    made.close()


def test_a_run_is_not_cancelled_without_its_status(house: House) -> None:
    run = house.run().id

    with pytest.raises(FullDiskError):
        asyncio.run(house.actions.cancel(run, by="ada"))

    assert house.fresh(run).state is State.WAITING


def test_a_run_is_not_begun_again_without_its_status(house: House) -> None:
    run = house.run().id
    house.finish(run, State.FAILURE, "test.unit failed")

    with pytest.raises(FullDiskError):
        asyncio.run(house.actions.rerun(run, by="ada"))

    assert house.fresh(run).attempt == 1
