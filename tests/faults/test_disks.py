"""Disks that fill up under a server that serves, and get room again (F24, F25)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx2
import pytest
from pydantic import SecretStr

from pipelines.progress import State
from scripts.parts import base_image
from scripts.parts.engine import engine_in
from server.config import DatabaseSettings, DiskSettings, GitHubSettings, Settings
from server.store.database import sqlite_url
from tests.doubles.base import Delivery, serve, wait_until
from tests.doubles.github import GitHubDouble
from tests.doubles.github import Repository as GitHubRepository
from tests.parts.git_server import Repository, git_server
from tests.parts.lading import Running, lading, settings
from tests.parts.small_disk import SmallDisk, small_disk

SECRET = "a secret between the host and us"
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class House:
    """A server, one repository, and the disk that is filled."""

    server: Running
    disk: SmallDisk
    github: GitHubDouble
    web: GitHubRepository
    repository: Repository
    image: str

    def pushed(self, *commands: str, padding: int = 0) -> Delivery:
        """A commit whose one step runs these commands, and the delivery that tells of it."""
        lines = "".join(f"\n      - {json.dumps(command)}" for command in commands)
        text = f"test:\n  unit:\n    image: {self.image}\n    commands:{lines}\n"
        sha = self.repository.pushed({".lading.yml": text})
        return self.github.push_delivery(self.web, sha=sha, secret=SECRET, message="x" * padding)

    def send(self, delivery: Delivery) -> httpx2.Response:
        """As GitHub would."""
        return self.server.deliver("github", delivery)

    def run_of(self, delivery: Delivery) -> int:
        """Send it; the one run it starts."""
        answer = self.send(delivery)
        assert answer.status_code == 202, answer.text
        (pipeline,) = self.server.decision(answer.json()["delivery"]).pipelines
        assert pipeline.run is not None
        return pipeline.run

    def page(self) -> str:
        """The first page, as somebody who has signed in sees it."""
        token = self.server.api.headers["Authorization"].removeprefix("Bearer ")
        return httpx2.get(
            f"{self.server.url}/", headers={"Cookie": f"lading_token={token}"}, timeout=30
        ).text

    def ready(self) -> httpx2.Response:
        """What it says to whoever asks whether it is ready."""
        return httpx2.get(f"{self.server.url}/readyz", timeout=30)

    def operations(self) -> dict[str, object]:
        """How it does, by its API."""
        found: dict[str, object] = self.server.api.get("/operations").json()
        return found

    def look(self) -> None:
        """Look at the disks now, rather than within five seconds."""
        asyncio.run_coroutine_threadsafe(
            self.server.lading.upkeep.look_at_disks(), self.server.loop
        ).result(30)


@contextlib.contextmanager
def house(
    folder: Path,
    disk: SmallDisk,
    *,
    engine: str,
    image: str,
    change: Callable[[Settings], Settings],
) -> Iterator[House]:
    github = GitHubDouble()
    (folder / "git" / "acme").mkdir(parents=True)
    with serve(github.app) as github_url, git_server(folder / "git") as served:
        host = GitHubSettings(
            kind="github",
            webhook_secret=SecretStr(SECRET),
            token=SecretStr(github.token),
            api_url=github_url,
            url=served.url,
        )
        made = settings(folder / "data", engine=engine, hosts={"github": host})
        with lading(change(made)) as server:
            yield House(
                server=server,
                disk=disk,
                github=github,
                web=github.add_repository("acme/web"),
                repository=Repository(folder / "git" / "acme"),
                image=image,
            )


@pytest.fixture
def database_disk(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[House]:
    """The database alone is on the small disk; below 8 MiB nothing new is begun."""

    def change(made: Settings) -> Settings:
        url = SecretStr(sqlite_url(tmp_path / "small" / "lading.db"))
        return made.model_copy(
            update={
                "database": DatabaseSettings(url=url),
                "disk": DiskSettings(warn="12MiB", pause="8MiB"),
            }
        )

    with (
        small_disk(tmp_path / "small", size=24 * MIB) as disk,
        house(tmp_path, disk, engine=engine_url, image=busybox_image, change=change) as made,
    ):
        yield made


@pytest.fixture
def logs_disk(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[House]:
    """Output alone is on the small disk."""
    with (
        small_disk(tmp_path / "data" / "logs", size=4 * MIB) as disk,
        house(
            tmp_path, disk, engine=engine_url, image=busybox_image, change=lambda made: made
        ) as made,
    ):
        yield made


def rows(disk: SmallDisk) -> tuple[int, int, int]:
    """Deliveries, decisions and runs, counted past the server."""
    with contextlib.closing(sqlite3.connect(disk.path / "lading.db")) as conn:
        counts = [
            conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("deliveries", "decisions", "runs")
        ]
    return counts[0], counts[1], counts[2]


def is_sound(disk: SmallDisk) -> bool:
    with contextlib.closing(sqlite3.connect(disk.path / "lading.db")) as conn:
        checks = ("PRAGMA integrity_check", "PRAGMA foreign_key_check")
        found = [conn.execute(check).fetchall() for check in checks]
    return found == [[("ok",)], []]


def test_while_the_disk_is_nearly_full_pushes_are_taken_and_their_runs_wait(
    database_disk: House,
) -> None:
    database_disk.disk.fill(leave=6 * MIB)
    database_disk.look()

    run = database_disk.run_of(database_disk.pushed("true"))

    assert database_disk.server.run(run).state is State.WAITING
    database_disk.disk.make_room()
    assert database_disk.server.ended(run).state is State.SUCCESS


def test_a_pause_is_told_in_words_on_pages_in_readyz_metrics_and_api(
    database_disk: House,
) -> None:
    said = "No new run starts: the disk of database is nearly full (less than 8 MiB free)."
    assert said not in database_disk.page()

    database_disk.disk.fill(leave=6 * MIB)
    database_disk.look()

    notices = database_disk.operations()["notices"]
    assert isinstance(notices, list)
    assert [notice["text"].startswith(said) for notice in notices] == [True]
    assert said in database_disk.page()
    assert database_disk.ready().json()["notices"][0].startswith(said)
    metrics = httpx2.get(f"{database_disk.server.url}/metrics", timeout=30).text
    assert "lading_paused 1.0" in metrics
    assert f'text="{said}' in metrics

    database_disk.disk.make_room()
    database_disk.look()
    assert said not in database_disk.page()
    assert database_disk.ready().json() == {"ready": True, "faults": {}, "notices": []}


def test_a_full_database_disk_refuses_hooks_with_a_time_to_come_back_and_leaves_no_row(
    database_disk: House,
) -> None:
    before = rows(database_disk.disk)
    delivery = database_disk.pushed("true", padding=2 * MIB)
    database_disk.disk.fill()

    answer = database_disk.send(delivery)

    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "10"
    assert "full" in answer.json()["detail"]
    assert rows(database_disk.disk) == before
    database_disk.disk.make_room()
    database_disk.look()
    assert database_disk.server.ended(database_disk.run_of(delivery)).state is State.SUCCESS
    assert is_sound(database_disk.disk)


def test_a_run_that_goes_on_over_a_full_database_disk_ends_once_there_is_room(
    database_disk: House, docker_client: docker.DockerClient
) -> None:
    server = database_disk.server.lading.server_id
    over = {"label": f"lading.server={server}", "status": "exited"}
    run = database_disk.run_of(database_disk.pushed("sleep 2"))
    database_disk.server.running(run, "test.unit")
    database_disk.disk.fill()
    wait_until(lambda: docker_client.api.containers(filters=over), "the step is over", 30)

    assert "full" in database_disk.ready().json()["faults"]["database"]
    assert database_disk.server.run(run).state is State.RUNNING
    database_disk.disk.make_room()
    assert database_disk.server.ended(run).state is State.SUCCESS
    assert database_disk.server.states(run) == {"test.unit": State.SUCCESS}
    assert is_sound(database_disk.disk)


def test_a_full_disk_of_logs_fails_the_run_that_fills_it_by_name_and_no_other(
    logs_disk: House,
) -> None:
    quiet = logs_disk.run_of(logs_disk.pushed("sleep 4"))
    logs_disk.server.running(quiet, "test.unit")

    loud = logs_disk.run_of(logs_disk.pushed("yes | head -c 20000000"))

    ended = logs_disk.server.ended(loud)
    assert ended.state is State.ERROR
    assert "the disk of Lading's logs is full" in ended.sentence
    (step,) = logs_disk.server.steps(loud)
    assert step.outcome is not None
    assert str(logs_disk.disk.path) in step.outcome.message
    assert logs_disk.server.ended(quiet).state is State.SUCCESS


@pytest.fixture
def engine_disk(tmp_path: Path) -> Iterator[House]:
    """An engine of its own, which keeps images, containers and workspaces on the small disk."""
    with (
        small_disk(tmp_path / "engine", size=96 * MIB) as disk,
        engine_in(tmp_path / "engine") as url,
        house(
            tmp_path, disk, engine=url, image=base_image.busybox(url), change=lambda made: made
        ) as made,
    ):
        yield made


def test_a_full_disk_of_the_engine_fails_the_run_by_name_and_the_next_waits_for_room(
    engine_disk: House,
) -> None:
    filling = engine_disk.run_of(engine_disk.pushed("dd if=/dev/zero of=/workspace/x bs=1M; false"))
    ended = engine_disk.server.ended(filling)
    assert ended.state is State.FAILURE
    assert ended.sentence.startswith("test.unit failed: a disk was full (No space left on device)")

    # A run ends before its workspace is removed, which makes room again.
    worker = engine_disk.server.lading.worker
    wait_until(lambda: not worker.active, "the run's workspace is gone", 30)
    engine_disk.disk.fill()
    engine_disk.look()
    waiting = engine_disk.run_of(engine_disk.pushed("true"))
    assert engine_disk.server.run(waiting).state is State.WAITING
    assert "the disk of engine is nearly full" in engine_disk.page()

    engine_disk.disk.make_room()
    assert engine_disk.server.ended(waiting).state is State.SUCCESS


def test_after_a_full_disk_of_logs_runs_go_on_without_a_restart(logs_disk: House) -> None:
    logs_disk.disk.fill()
    logs_disk.look()
    run = logs_disk.run_of(logs_disk.pushed("echo hello"))
    assert logs_disk.server.run(run).state is State.WAITING

    logs_disk.disk.make_room()

    assert logs_disk.server.ended(run).state is State.SUCCESS
    assert "hello" in logs_disk.server.log(run, "test.unit")
