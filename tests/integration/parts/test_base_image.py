from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from typing import cast

import docker

from scripts.parts import base_image


def test_the_small_image_has_a_shell_and_the_usual_tools(
    docker_client: docker.DockerClient, busybox_image: str
) -> None:
    said = docker_client.containers.run(
        busybox_image, ["sh", "-ec", "seq 3 | tail -n 1; id -un; echo x > /tmp/x"], remove=True
    )

    assert said == b"3\nroot\n"


def test_the_python_image_runs_the_whole_standard_library(
    docker_client: docker.DockerClient, python_image: str
) -> None:
    modules = "bz2, ctypes, hashlib, lzma, socket, sqlite3, ssl, unittest, venv, zlib"
    said = docker_client.containers.run(
        python_image, ["python", "-c", f"import {modules}; print('ok')"], remove=True
    )

    assert said == b"ok\n"


def test_the_python_image_runs_for_a_user_without_rights(
    docker_client: docker.DockerClient, python_image: str
) -> None:
    command = ["python", "-c", "import getpass; print(getpass.getuser())"]

    said = docker_client.containers.run(python_image, command, user="nobody", remove=True)

    assert said == b"nobody\n"


def test_no_certificate_of_this_machine_is_in_an_image(
    docker_client: docker.DockerClient, python_image: str
) -> None:
    container = docker_client.containers.create(python_image)
    try:
        # The stubs say text; it is bytes.
        content = b"".join(cast("Iterable[bytes]", container.export()))
    finally:
        container.remove()
    with tarfile.open(fileobj=io.BytesIO(content)) as tree:
        names = tree.getnames()

    wanted = (".pem", ".crt", ".key", "ca-certificates")
    assert [name for name in names if any(part in name for part in wanted)] == []
    assert "usr/local/bin/python3" in names


def test_an_image_that_is_there_is_not_made_again(
    engine_url: str, docker_client: docker.DockerClient, busybox_image: str
) -> None:
    before = docker_client.images.get(busybox_image).id

    assert base_image.busybox(engine_url) == busybox_image
    assert docker_client.images.get(busybox_image).id == before
