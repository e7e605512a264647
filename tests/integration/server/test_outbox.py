"""Statuses outlive hosts that are down, refuse the token, or want to be left alone.

The clock is moved from one try to the next, so that days take a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from server.config import GitHubSettings
from server.hosts.github import GitHubHost
from server.hosts.port import RepositoryRef, StatusState
from server.reporting import Reporting
from server.store import pauses, repositories, statuses
from server.store.rows import PauseKind, PauseRow
from tests.builders import SHA, House
from tests.doubles import GitHubDouble, serve
from tests.doubles.base import wait_until

DAY = timedelta(days=1)


class Telling:
    """A house whose statuses GitHub shall show."""

    def __init__(self, folder: Path, url: str, double: GitHubDouble) -> None:
        self.house = House(folder)
        self.double = double
        self.begin = self.house.clock()
        table = {"kind": "github", "api_url": url, "token": double.token}
        self.host = GitHubHost(
            "github", GitHubSettings.model_validate(table), now=self.house.clock, request_timeout=1
        )

    def want(self, repository: str, *, pipeline: str = "web") -> None:
        """A status that waits to be told."""
        known = self.house.database.run(
            repositories.remember_repository,
            host="github",
            ref=RepositoryRef(external_id=repository, full_name=repository),
            at=self.house.clock(),
        )
        named = {
            "repository": known.id,
            "host": "github",
            "full_name": repository,
            "pipeline": pipeline,
        }
        self.house.database.run(
            statuses.want_status,
            run=self.house.run().model_copy(update=named),
            attempt=1,
            state=StatusState.SUCCESS,
            description="3 steps passed",
            target_url="https://ci.example/runs/1",
            at=self.house.clock(),
        )

    def shown(self, repository: str) -> bool:
        """Whether GitHub shows it."""
        return self.double.latest(repository, SHA, "lading/push/web") is not None

    def pauses(self) -> list[PauseRow]:
        """What is left alone."""
        return self.house.database.run(pauses.all_pauses, now=self.house.clock())

    def tell(self, until: Callable[[], bool], *, at_most: timedelta) -> None:
        """Let time pass until the condition holds, or for so long."""
        end = self.house.clock() + at_most

        async def run() -> None:
            reporting = Reporting(
                hosts={"github": self.host}, database=self.house.database, clock=self.house.clock
            )
            task = asyncio.create_task(reporting.run())
            try:
                while not until() and self.house.clock() < end:
                    await asyncio.to_thread(wait_until, self._nothing_is_due, "all was tried", 10)
                    due = self._next_due()
                    self.house.clock.at = end if due is None else min(due, end)
                    reporting.notify()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(run())

    def _next_due(self) -> datetime | None:
        return self.house.database.run(statuses.next_due, "github")

    def _nothing_is_due(self) -> bool:
        due = self._next_due()
        return due is None or due > self.house.clock()


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Telling]:
    double = GitHubDouble()
    double.add_repository("acme/web")
    double.add_repository("acme/api")
    with serve(double.app) as url:
        made = Telling(tmp_path, url, double)
        yield made
        made.house.close()


def test_a_status_outlives_a_host_that_is_down_for_three_days(telling: Telling) -> None:
    telling.double.fail_next(10_000, status=502)
    telling.want("acme/web")

    telling.tell(lambda: False, at_most=3 * DAY)
    tries = len(telling.double.requests)
    assert 100 < tries < 300  # about every half an hour

    telling.double.forgive()
    telling.tell(lambda: telling.shown("acme/web"), at_most=timedelta(hours=1))
    assert telling.shown("acme/web")


def test_quiet_that_a_host_asks_for_is_kept_by_all_its_statuses(telling: Telling) -> None:
    telling.double.fail_next(1, 403, {"Retry-After": "3600"})
    for pipeline in ("web", "docs", "lint"):
        telling.want("acme/web", pipeline=pipeline)

    telling.tell(lambda: bool(telling.pauses()), at_most=timedelta(minutes=1))
    (pause,) = telling.pauses()
    assert (pause.kind, pause.of, pause.statuses) == (PauseKind.QUIET, "github", 3)
    telling.want("acme/api")
    telling.tell(lambda: False, at_most=timedelta(minutes=50))

    assert len(telling.double.requests) == 1
    telling.tell(lambda: telling.shown("acme/api"), at_most=timedelta(hours=1))
    assert len(telling.double.statuses) == 4
    assert telling.pauses() == []


def test_a_token_that_is_revoked_is_tried_hourly_and_all_is_told_once_it_works(
    telling: Telling,
) -> None:
    telling.double.token, right = "another", telling.double.token
    for count in range(20):
        telling.want("acme/web", pipeline=f"part-{count}")
    telling.want("acme/api")

    telling.tell(lambda: False, at_most=DAY)

    assert len(telling.double.requests) <= 25
    (pause,) = telling.pauses()
    assert (pause.kind, pause.of, pause.since) == (PauseKind.REFUSED, "github", telling.begin)
    telling.double.token = right
    telling.tell(lambda: len(telling.double.statuses) == 21, at_most=timedelta(hours=2))
    assert len(telling.double.statuses) == 21
    assert telling.pauses() == []


def test_a_repository_that_is_taken_from_the_token_holds_up_no_other(telling: Telling) -> None:
    del telling.double.repositories["acme/web"]
    telling.want("acme/web")
    telling.want("acme/api")

    telling.tell(lambda: telling.shown("acme/api"), at_most=timedelta(minutes=1))

    assert telling.shown("acme/api")
    telling.tell(lambda: False, at_most=DAY)
    refused = [one for one in telling.double.requests if "/acme/web/" in one.path]
    assert 20 < len(refused) <= 25
    (pause,) = telling.pauses()
    assert (pause.of, pause.statuses) == ("acme/web on github", 1)


def test_a_status_of_a_commit_that_is_gone_is_tried_once(telling: Telling) -> None:
    telling.double.add_repository("acme/web", commits=set())
    telling.want("acme/web")

    telling.tell(lambda: False, at_most=DAY)

    assert len(telling.double.requests) == 1
    assert telling.pauses() == []


def test_a_new_start_tries_at_once_what_was_refused_and_still_keeps_quiet(
    telling: Telling,
) -> None:
    now = telling.house.clock()
    for kind in PauseKind:
        telling.house.database.run(
            pauses.pause,
            "github",
            kind=kind,
            reason="because",
            now=now,
            until=now + DAY,
        )

    telling.house.database.run(pauses.try_again, now=now)

    later = {row.kind for row in telling.pauses() if row.until > now}
    assert later == {PauseKind.QUIET}
