"""Many deliveries at once, at a server in a process of its own."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import docker
import pytest

from server.hosts import signing
from tests.acceptance.test_restart import remove_everything
from tests.doubles.base import Delivery, wait_until
from tests.parts.burst import Push, Sent, histories, send
from tests.parts.git_server import Repository
from tests.parts.process import KEY, LadingProcess

SIZE = 8 * 1024
REPOSITORIES, BRANCHES, PUSHES = 2, 2, 250


@pytest.fixture
def server(
    tmp_path: Path, engine_url: str, docker_client: docker.DockerClient
) -> Iterator[LadingProcess]:
    (tmp_path / "git" / "acme").mkdir(parents=True)
    server = LadingProcess(tmp_path, engine=engine_url, git=tmp_path / "git")
    server.start()
    yield server
    server.stop()
    remove_everything(server, docker_client)


def signed(body: bytes, delivery: str) -> Delivery:
    headers = signing.sign(signing.key(KEY), delivery, datetime.now(UTC), body)
    return Delivery(headers=headers, body=body)


def told(repository: str, push: Push) -> bytes:
    """What the hook would send, as large as a push of some commits to a host with more to say."""
    body = {"type": "push", "repository": repository, "default_branch": "main"}
    body |= {"ref": push.ref, "before": push.before, "after": push.sha}
    return json.dumps(body | {"message": "x" * (SIZE - len(json.dumps(body)))}).encode()


def burst(server: LadingProcess, deliveries: Sequence[Delivery]) -> Sent:
    return send(f"{server.url}/webhooks/git", deliveries)


def rows(server: LadingProcess, query: str) -> list[tuple[object, ...]]:
    """What the database says, past the server."""
    address = f"file:{server.folder / 'data' / 'lading.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=30)) as database:
        return database.execute(query).fetchall()


def wait_until_decided(server: LadingProcess, *, within: float) -> None:
    waiting = "SELECT 1 FROM deliveries WHERE state = 'waiting' LIMIT 1"
    wait_until(lambda: rows(server, waiting) == [], "every delivery is decided", within)


def pipeline(image: str) -> str:
    return (
        "concurrency: {cancel_in_progress: true}\n"
        f"test:\n  unit:\n    image: {image}\n    commands: ['true']\n"
    )


@pytest.mark.parametrize("ids", [1, 100])
def test_a_push_told_100_times_at_once_is_accepted_each_time_and_run_once(
    server: LadingProcess, busybox_image: str, ids: int
) -> None:
    repository = Repository(server.folder / "git" / "acme")
    sha = repository.pushed({".lading.yml": pipeline(busybox_image)})
    body = told("acme/web", Push(ref="refs/heads/main", before="0" * 40, sha=sha))

    sent = burst(server, [signed(body, f"told-{number % ids}") for number in range(100)])

    assert sent.answers == {202: 100}
    wait_until_decided(server, within=30)
    assert rows(server, "SELECT count(*) FROM deliveries") == [(ids,)]
    outcomes = Counter(row[0] for row in rows(server, "SELECT outcome FROM decisions"))
    assert outcomes == Counter(started=1, duplicate=ids - 1)
    assert len(server.get("/runs").json()["items"]) == 1
    server.wait_for_run(1, "success")


def test_of_1000_pushes_in_a_burst_none_is_lost_and_the_newest_of_each_branch_runs(
    server: LadingProcess, busybox_image: str
) -> None:
    idle = server.resident()
    waves = []
    for name in (f"project-{number}" for number in range(REPOSITORIES)):
        repository = Repository(server.folder / "git" / "acme", name)
        files = {".lading.yml": pipeline(busybox_image)}
        pushes = histories(repository, files, branches=BRANCHES, pushes=PUSHES)
        waves.append([told(f"acme/{name}", push) for push in pushes])
    bodies = [body for wave in zip(*waves, strict=True) for body in wave]

    sent = burst(server, [signed(body, f"push-{number}") for number, body in enumerate(bodies)])

    assert sent.answers == {202: len(bodies)}
    wait_until_decided(server, within=60)
    assert rows(server, _LED_TO_NOTHING) == []
    assert rows(server, "SELECT count(*) FROM runs") == [(len(bodies),)]
    open_runs = "SELECT 1 FROM runs WHERE state IN ('waiting', 'running')"
    wait_until(lambda: rows(server, open_runs) == [], "every run has ended", 60)
    newest = "SELECT max(id) FROM runs GROUP BY repository, branch"
    ended = rows(server, f"SELECT state, count(*) FROM runs WHERE id IN ({newest}) GROUP BY 1")
    assert ended == [("success", REPOSITORIES * BRANCHES)]
    others = rows(
        server,
        f"SELECT DISTINCT state, substr(sentence, 1, 17) FROM runs WHERE id NOT IN ({newest})"
        " AND state != 'success'",
    )
    assert others == [("cancelled", "superseded by run")]
    assert server.peak() < 2 * idle


_LED_TO_NOTHING = """
SELECT id FROM deliveries WHERE state != 'decided'
UNION ALL
SELECT deliveries.id FROM deliveries LEFT JOIN decisions ON decisions.delivery = deliveries.id
WHERE decisions.id IS NULL
UNION ALL
SELECT decisions.delivery FROM decisions LEFT JOIN runs ON runs.decision = decisions.id
WHERE decisions.outcome = 'started' AND runs.id IS NULL
"""
