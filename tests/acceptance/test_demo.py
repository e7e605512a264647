from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".lading"


@pytest.fixture(autouse=True)
def nothing_left_behind(docker_client: docker.DockerClient) -> Iterator[None]:
    """The demonstration finds the tests' engine running, and must leave it as it was."""
    before = left_over(docker_client)
    yield
    assert left_over(docker_client) == before


def left_over(client: docker.DockerClient) -> set[str]:
    samples = {"label": "org.opencontainers.image.title=sample-app"}
    return {
        *(str(path) for path in STATE.glob("demo-*")),
        *(str(image.id) for image in client.images.list(filters=samples)),
        *(volume.name for volume in client.volumes.list()),
        *(str(container.name) for container in client.containers.list(all=True)),
    }


def demo(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.demonstration", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_once_ends_with_a_line_of_json_and_leaves_nothing_behind() -> None:
    with demo("--once") as running:
        output, _ = running.communicate(timeout=100)

    assert running.returncode == 0, output
    result = json.loads(output.splitlines()[-1])
    assert set(result) == {"run", "state", "image", "digest", "seconds"}
    assert result["state"] == "success"
    assert result["digest"].startswith("sha256:")
    assert "✓ test.unit: success" in output
    assert "remote: Lading" in output


def test_it_stays_up_until_ctrl_c_and_stops_all_it_started() -> None:
    with demo() as running:
        assert running.stdout is not None
        seen = []
        for line in running.stdout:
            seen.append(line)
            if "stays up" in line:
                break
        else:
            pytest.fail("".join(seen))
        running.send_signal(signal.SIGINT)
        running.stdout.read()
        running.wait(timeout=60)

    assert running.returncode == 0
    assert any("pull 127.0.0.1:" in line for line in seen)


def test_ctrl_c_in_the_middle_stops_all_it_started() -> None:
    with demo("--once") as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "▶" in line:
                break
        running.send_signal(signal.SIGINT)
        started = time.monotonic()
        running.stdout.read()
        running.wait(timeout=60)

    assert running.returncode == 130
    assert time.monotonic() - started < 30
