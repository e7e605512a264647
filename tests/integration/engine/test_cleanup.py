"""What builds have left on a real engine, found and taken away."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator

import docker
import pytest

from pipelines.engine.cleanup import OldImage, find_unused, remove_unused
from pipelines.engine.client import Client, connect
from pipelines.engine.containers import Attempt, attempt_tag, image_repository

ROOM = 2**40


@pytest.fixture
def client(engine_url: str) -> Iterator[Client]:
    client = connect(engine_url)
    yield client
    client.close()


class Builds:
    """Images as the builds of one repository leave them."""

    def __init__(self, docker_client: docker.DockerClient, base: str) -> None:
        self.name = f"acme/{uuid.uuid4().hex[:8]}"
        self.attempt = Attempt(server="s", run="1", attempt=1, repository=self.name)
        self.repository = image_repository(self.attempt, "web")
        self.built: list[str] = []
        self._docker = docker_client
        self._base = base

    def build(self, *tags: str, size: int = 1000) -> str:
        """An image of one layer of its own, with these tags; its id."""
        container = self._docker.api.create_container(
            self._base, ["dd", "if=/dev/urandom", "of=/x", f"bs={size}", "count=1"]
        )["Id"]
        self._docker.api.start(container)
        self._docker.api.wait(container)
        image = str(self._docker.api.commit(container)["Id"])
        self.built.append(image)
        self._docker.api.remove_container(container)
        for tag in tags:
            self._docker.api.tag(image, self.repository, tag)
        return image

    def there(self, image: str) -> bool:
        """Whether the engine has it."""
        return image in {str(one["Id"]) for one in self._docker.api.images(all=True)}


@pytest.fixture
def builds(docker_client: docker.DockerClient, busybox_image: str) -> Iterator[Builds]:
    made = Builds(docker_client, busybox_image)
    yield made
    for image in made.built:
        with contextlib.suppress(docker.errors.ImageNotFound):
            docker_client.api.remove_image(image, force=True)


def found(client: Client, builds: Builds, *, before: float, room: int = ROOM) -> list[OldImage]:
    """What would go of this repository and of nobody's."""
    return list(find_unused(client, [builds.name], before=before, room=room).images)


def test_a_build_that_nobody_has_used_for_long_goes(client: Client, builds: Builds) -> None:
    image = builds.build("latest")
    later = time.time() + 5

    unused = find_unused(client, [builds.name], before=later, room=ROOM)
    ours = unused.model_copy(
        update={"images": tuple(one for one in unused.images if one.id == image)}
    )
    remove_unused(client, ours, seconds=1, room=ROOM)

    assert [one.names for one in ours.images] == [(f"{builds.repository}:latest",)]
    assert not builds.there(image)


def test_a_build_that_was_used_lately_stays(client: Client, builds: Builds) -> None:
    image = builds.build("latest")

    assert image not in [one.id for one in found(client, builds, before=time.time() - 60)]


def test_an_image_that_an_attempt_still_needs_stays(client: Client, builds: Builds) -> None:
    image = builds.build("latest", attempt_tag(builds.attempt))

    assert image not in [one.id for one in found(client, builds, before=time.time() + 5)]


def test_an_image_that_lost_its_name_goes(client: Client, builds: Builds) -> None:
    image = builds.build()

    assert image in [one.id for one in found(client, builds, before=time.time() + 5)]


def test_other_peoples_images_stay(
    client: Client, builds: Builds, docker_client: docker.DockerClient, busybox_image: str
) -> None:
    stranger = builds.build("latest")
    docker_client.api.tag(stranger, f"example.test/{builds.name}", "mine")
    other = Builds(docker_client, busybox_image)
    others = other.build("latest")

    ids = [one.id for one in found(client, builds, before=time.time() + 5)]

    assert stranger not in ids
    assert others not in ids
    docker_client.api.remove_image(others, force=True)


def test_what_is_too_much_goes_the_oldest_first(client: Client, builds: Builds) -> None:
    old = builds.build("latest", size=300_000)
    # The engine tells times of tags, by which the newer is known, to the nanosecond.
    builds.repository = builds.repository.replace("/web", "/api")
    new = builds.build("latest", size=300_000)

    ids = [one.id for one in found(client, builds, before=0, room=450_000)]

    assert old in ids
    assert new not in ids
