"""`lading approve` and `lading decline`, on the database of a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.progress import State
from server.cli.approvals import say
from server.cli.settings import UsageError
from server.config import ServerSettings, Settings
from server.store import approvals, statuses
from server.store.rows import Verdict
from tests.builders import House, event


def held(house: House) -> int:
    happening = event(kind="pull_request", ref="refs/pull/7/head", pull_request=7, from_fork=True)
    return house.run(happening=happening, stranger="666").id


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(server=ServerSettings(data=tmp_path))


def test_approving_lets_the_run_go_on_and_says_so(tmp_path: Path, settings: Settings) -> None:
    house = House(tmp_path)
    run = held(house)

    (told,) = say(settings, run, Verdict.APPROVED, step=None)

    assert told.startswith(f"Run {run}: its commit approved.")
    assert house.fresh(run).state is State.WAITING
    (row,) = house.database.run(approvals.approvals_of, run)
    assert str(row.answered_by).endswith(" at the command line")
    house.close()


def test_declining_a_step_names_it_and_leads_the_status_to_the_run(
    tmp_path: Path, settings: Settings
) -> None:
    house = House(tmp_path)
    run = house.asking("live", "dev").id

    (told,) = say(settings, run, Verdict.DECLINED, step="deploy.dev")

    assert told.startswith(f"Run {run}: deploy.dev declined.")
    (status,) = house.database.run(statuses.statuses_of_run, run)
    assert status.target_url == f"http://127.0.0.1:8000/runs/{run}"
    house.close()


def test_what_waits_for_nobody_is_told(tmp_path: Path, settings: Settings) -> None:
    house = House(tmp_path)
    run = house.run().id

    with pytest.raises(UsageError, match=f"run {run} waits for no approval"):
        list(say(settings, run, Verdict.APPROVED, step=None))
    with pytest.raises(UsageError, match="there is no run 99"):
        list(say(settings, 99, Verdict.APPROVED, step=None))
    house.close()
