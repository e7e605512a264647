"""What a person sees when the server dies and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import httpx2
import pytest

from server.hosts.git import hook
from tests.doubles.base import wait_until
from tests.parts.git_server import Repository
from tests.parts.process import KEY, LadingProcess


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


def remove_everything(server: LadingProcess, client: docker.DockerClient) -> None:
    """Steps outlive their server; nothing of them shall outlive the test."""
    filters = {"label": f"lading.server={(server.folder / 'data' / 'server-id').read_text()}"}
    for container in client.api.containers(all=True, filters=filters):
        client.api.remove_container(container["Id"], force=True, v=True)
    for volume in client.api.volumes(filters=filters)["Volumes"] or []:
        client.api.remove_volume(volume["Name"], force=True)


@pytest.fixture
def repository(server: LadingProcess) -> Repository:
    return Repository(server.folder / "git" / "acme")


def push(server: LadingProcess, repository: Repository, files: dict[str, str]) -> str:
    """Commit and push; what the person who pushes sees."""
    hook.install(
        repository.bare, server_url=server.url, host_name="git", secret=KEY, name="acme/web"
    )
    repository.commit(dict(files))
    return repository.push()


def wait_for_step(server: LadingProcess) -> None:
    """Wait until the first step of run 1 runs."""

    def runs() -> bool:
        answer = server.get("/runs/1")
        return answer.status_code == 200 and answer.json()["steps"][0]["running_at"] is not None

    wait_until(runs, "the step runs", 30)


def pipeline(image: str, command: str) -> dict[str, str]:
    return {
        ".lading.yml": f"test:\n  unit:\n    image: {image}\n    commands:\n      - {command}\n"
    }


def test_a_delivery_that_was_accepted_before_a_kill_is_decided_after_it(
    server: LadingProcess, repository: Repository, busybox_image: str
) -> None:
    server.kill()
    said = push(server, repository, pipeline(busybox_image, "true"))
    assert "kept" in said  # by the hook, for the next push

    server.start()
    push(server, repository, {"more": "1"})
    server.kill()
    server.start()

    server.wait_for_run(1, "success")
    server.wait_for_run(2, "success")


def test_a_second_server_on_the_same_data_refuses_and_names_the_first(
    server: LadingProcess,
) -> None:
    done = server.command("serve")

    assert done.returncode != 0
    assert "another Lading (process " in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_ends_the_server_with_an_open_log_stream_within_seconds(
    server: LadingProcess, repository: Repository, busybox_image: str
) -> None:
    push(server, repository, pipeline(busybox_image, "sleep 600"))
    wait_for_step(server)
    path = f"{server.url}/api/v1/runs/1/steps/test.unit/log?follow=1"
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.stream("GET", path, headers=headers, timeout=30) as response:
        next(response.iter_raw())

        code = server.stop()

    assert code == 0
