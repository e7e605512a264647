"""A server that is killed in the middle of a push, and the server that comes next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from scripts.parts.registry import registry as running_registry
from tests.acceptance.test_adoption import log
from tests.acceptance.test_restart import push, remove_everything, repository
from tests.parts.git_server import Repository
from tests.parts.process import LadingProcess
from tests.parts.proxy import Proxy, proxy

__all__ = ["repository"]


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Proxy]:
    """The way to a registry of its own, which wants no login."""
    with running_registry(tmp_path / "registry") as registry, proxy(registry.address) as way:
        yield way


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
    server_id = (server.folder / "data" / "server-id").read_text()
    for image in docker_client.api.images(filters={"reference": "lading/*/*"}):
        for name in image["RepoTags"] or ():
            if f":attempt.{server_id}." in name:
                docker_client.api.remove_image(name, noprune=True)


def files(way: Proxy, image: str, **more: str) -> dict[str, str]:
    settings = "".join(f", {name}: {value}" for name, value in more.items())
    return {
        "Dockerfile": f"FROM {image}\nRUN head -c 100000 /dev/urandom > /data\n",
        ".lading.yml": "build: {web: }\ntest: {unit: {commands: echo tested}}\n"
        f"push: {{web: {{to: {way.address}/acme/web, tags: [a, b]{settings}}}}}\n",
    }


def killed(server: LadingProcess, way: Proxy) -> None:
    """Kill the server where the proxy stops the push, and start the next one."""
    assert way.stopped.wait(60), "the push came to where it is stopped"
    server.kill()
    way.go_down()
    way.requests.clear()
    way.go_on()
    server.start()


def step(server: LadingProcess, key: str) -> dict[str, Any]:
    steps = server.get("/runs/1").json()["steps"]
    found: dict[str, Any] = next(each for each in steps if each["key"] == key)
    return found


def writes(way: Proxy) -> list[str]:
    return [each for each in way.requests if not each.startswith(("GET", "HEAD"))]


def test_a_push_that_got_there_before_a_kill_is_a_success_and_is_not_made_again(
    server: LadingProcess, repository: Repository, way: Proxy, busybox_image: str
) -> None:
    way.stop_at("PUT .*/manifests/b$", answer=True)
    push(server, repository, files(way, busybox_image))

    killed(server, way)

    server.wait_for_run(1, "success", attempt=1)
    (version,) = server.get("/runs/1").json()["images"]
    assert version["tags"] == ["a", "b"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", version["digest"])
    assert writes(way) == []


def test_a_push_that_was_cut_off_is_unknown_and_can_be_made_again_alone(
    server: LadingProcess, repository: Repository, way: Proxy, busybox_image: str
) -> None:
    way.stop_at("PUT .*/manifests/b$")
    push(server, repository, files(way, busybox_image))

    killed(server, way)

    server.wait_for_run(1, "error", attempt=1)
    message = step(server, "push.web")["outcome"]["message"]
    assert message.startswith("unknown: Lading was restarted in the middle; ")
    assert "has this image as a, nothing as b" in message
    assert writes(way) == []
    assert server.get("/runs/1").json()["images"] == []
    image = step(server, "build.web")["outcome"]["built"]["image_id"]

    server.post("/runs/1/attempts", json={"only": "failed"})

    server.wait_for_run(1, "success", attempt=2)
    assert [step(server, key)["carried_from"] for key in ("build.web", "test.unit")] == [1, 1]
    assert step(server, "build.web")["outcome"]["built"]["image_id"] == image
    assert "tested" in log(server, "test.unit")
    (version,) = server.get("/runs/1").json()["images"]
    assert (version["attempt"], version["tags"]) == (2, ["a", "b"])


def test_a_push_that_may_be_repeated_is_made_again_by_itself(
    server: LadingProcess, repository: Repository, way: Proxy, busybox_image: str
) -> None:
    way.stop_at("PUT .*/blobs/uploads/")
    push(server, repository, files(way, busybox_image, retry="safe"))

    killed(server, way)

    server.wait_for_run(1, "success", attempt=1)
    told = log(server, "push.web")
    assert "has nothing as a and b." in told
    assert "[lading] Lading was restarted: this begins anew" in told


def test_what_failed_runs_again_also_where_its_image_is_gone(
    server: LadingProcess,
    repository: Repository,
    way: Proxy,
    busybox_image: str,
    docker_client: docker.DockerClient,
) -> None:
    way.go_down()
    push(server, repository, files(way, busybox_image, timeout="1s"))
    server.wait_for_run(1, "error", attempt=1)
    assert "unavailable for the push of" in step(server, "push.web")["outcome"]["message"]
    image = step(server, "build.web")["outcome"]["built"]["image_id"]
    for name in docker_client.images.get(image).tags:
        docker_client.images.remove(name, force=True)
    way.go_on()
    server.post("/runs/1/attempts", json={"only": "failed"})

    server.wait_for_run(1, "success", attempt=2)
    assert step(server, "build.web")["carried_from"] is None
    assert step(server, "build.web")["outcome"]["built"]["image_id"] != image
