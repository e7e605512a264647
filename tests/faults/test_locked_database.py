"""A database that another process holds for longer than we can wait (F23)."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
from pydantic import SecretStr

from pipelines.progress import State
from server.config import GitHubSettings
from tests.doubles.base import Delivery, serve, wait_until
from tests.doubles.github import GitHubDouble
from tests.parts.git_server import Repository, git_server
from tests.parts.lading import Running, lading, settings

SECRET = "a secret between the host and us"
PROMISED = 8.0
"""Seconds within which a hook is answered; GitHub gives up after ten."""


@contextlib.contextmanager
def held(database: Path) -> Iterator[sqlite3.Connection]:
    """Another process holds the database, until it is rolled back."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield holder


def is_sound(database: Path) -> bool:
    with contextlib.closing(sqlite3.connect(database)) as conn:
        return conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def answered(server: Running, delivery: Delivery) -> tuple[httpx2.Response, float]:
    began = time.monotonic()
    answer = server.deliver("github", delivery)
    return answer, time.monotonic() - began


def test_hooks_wait_eight_seconds_for_a_locked_database_and_everything_goes_on_after(
    tmp_path: Path, engine_url: str, busybox_image: str
) -> None:
    github = GitHubDouble()
    web = github.add_repository("acme/web")
    (tmp_path / "git" / "acme").mkdir(parents=True)
    repository = Repository(tmp_path / "git" / "acme")
    database = tmp_path / "data" / "lading.db"

    def pushed(command: str) -> Delivery:
        text = f"test:\n  unit:\n    image: {busybox_image}\n    commands: [{command}]\n"
        sha = repository.pushed({".lading.yml": text})
        return github.push_delivery(web, sha=sha, secret=SECRET)

    def run_of(server: Running, answer: httpx2.Response) -> int:
        (pipeline,) = server.decision(answer.json()["delivery"]).pipelines
        assert pipeline.run is not None
        return pipeline.run

    with serve(github.app) as github_url, git_server(tmp_path / "git") as served:
        host = GitHubSettings(
            kind="github",
            webhook_secret=SecretStr(SECRET),
            token=SecretStr(github.token),
            api_url=github_url,
            url=served.url,
        )
        configured = settings(tmp_path / "data", engine=engine_url, hosts={"github": host})
        with lading(configured) as server, ThreadPoolExecutor(5) as senders:
            running = run_of(server, server.deliver("github", pushed("sleep 2")))
            server.running(running, "test.unit")
            deliveries = [pushed("'true'") for _ in range(5)]

            with held(database) as holder:
                tried = list(senders.map(lambda one: answered(server, one), deliveries))
                holder.execute("ROLLBACK")

            assert [answer.status_code for answer, _ in tried] == [503] * 5
            assert [answer.headers["retry-after"] for answer, _ in tried] == ["10"] * 5
            # Not one after the other; the second that is added is for this machine, not for us.
            assert max(seconds for _, seconds in tried) < PROMISED + 1
            again = [server.deliver("github", one) for one in deliveries]
            assert [answer.status_code for answer in again] == [202] * 5
            runs = [running, *(run_of(server, answer) for answer in again)]
            assert [server.ended(run).state for run in runs] == [State.SUCCESS] * 6
            sha = server.run(runs[-1]).sha
            wait_until(
                lambda: github.latest("acme/web", sha, "lading/push/default") is not None,
                "its status is told",
                30,
            )
    assert is_sound(database)
