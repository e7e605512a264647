"""The command against a server that is a process of its own, with a real engine and real pushes."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from server.hosts.git import hook
from tests.doubles.base import wait_until
from tests.integration.client.conftest import Person, read
from tests.parts.git_server import Repository
from tests.parts.process import KEY, LadingProcess

LINES = 40


@pytest.fixture
def server(
    tmp_path: Path, engine_url: str, docker_client: docker.DockerClient
) -> Iterator[LadingProcess]:
    (tmp_path / "git" / "acme").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = LadingProcess(tmp_path, engine=engine_url, git=tmp_path / "git", port=port)
    server.start()
    yield server
    server.stop()
    filters = {"label": f"lading.server={(server.data / 'server-id').read_text()}"}
    for container in docker_client.api.containers(all=True, filters=filters):
        docker_client.api.remove_container(container["Id"], force=True, v=True)


@pytest.fixture
def ada(stranger: Person, server: LadingProcess) -> Person:
    """Somebody signed in to that server."""
    done = stranger.lading("login", server.url, told=server.token)
    assert done.returncode == 0, done.stderr
    return stranger


Push = Callable[..., int]


@pytest.fixture
def push(server: LadingProcess, busybox_image: str) -> Push:
    """Push a pipeline of one step with that command; the run's number."""
    repository = Repository(server.folder / "git" / "acme")
    hook.install(
        repository.bare, server_url=server.url, host_name="git", secret=KEY, name="acme/web"
    )

    def push(command: str, head: str = "") -> int:
        step = f"    image: {busybox_image}\n    commands:\n      - {command}\n"
        repository.commit({".lading.yml": f"{head}test:\n  unit:\n{step}"})
        return int(re.findall(r"/runs/(\d+)", str(repository.push("HEAD:refs/heads/main")))[-1])

    return push


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_of_the_server_costs_who_follows_no_byte(
    ada: Person, server: LadingProcess, push: Push, how: str
) -> None:
    count = f"for i in $(seq {LINES}); do echo line $i; sleep 0.25; done"
    run = push(f'"{count}"')
    server.wait_for_run(run, "running")
    with ada.started("logs", run, "test.unit", "-f") as process:
        got = read(process.stdout, b"line 2\n")
        told: list[bytes] = []
        reading = threading.Thread(target=lambda: told.extend(process.communicate(timeout=120)))
        reading.start()
        if how == "kill":
            server.kill()
        else:
            server.stop()
        server.start()
        reading.join(120)

    log = server.logs.read(run, 1, "test.unit", start=0, limit=1 << 20)
    assert process.returncode == 0, told
    assert got + told[0] == log
    printed = re.findall(rb"^line (\d+)$", log, re.MULTILINE)
    assert [int(number) for number in printed] == list(range(1, LINES + 1))
    assert b"answers again" in told[1]


def test_what_is_started_by_hand_is_followed_to_its_end(ada: Person, push: Push) -> None:
    when = (
        "when:\n  - event: push\n  - event: manual\n    inputs:\n"
        "      level: {type: choice, options: [smoke, full], default: smoke}\n"
    )
    push("echo it is $CI_INPUT_LEVEL", when)

    done = ada.lading("start", "acme/web", "main", "-i", "level=full", "--follow")

    assert done.returncode == 0, done.stderr
    assert "it is full\n" in done.stdout
    assert "test.unit: success" in done.stdout
    assert "1 step passed" in done.stderr
    refused = ada.lading("start", "acme/web", "main", "-i", "level=none")
    assert refused.returncode == 4
    assert "smoke" in refused.stderr


def test_a_run_that_fails_gives_1_and_one_that_is_cancelled_3(ada: Person, push: Push) -> None:
    failed = push("exit 7")
    assert ada.lading("logs", failed, "-f").returncode == 1

    again = ada.lading("rerun", failed, "--failed", "--wait")
    assert again.returncode == 1
    assert "exit code 7" in again.stderr

    asleep = push("sleep 60")
    with ada.started("logs", asleep, "-f") as process:
        wait_until(lambda: ada.json("show", asleep)["state"] == "running", "it runs", 30)
        assert ada.lading("cancel", asleep).returncode == 0
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert b"ancelled" in err


def test_a_secret_set_from_elsewhere_reaches_the_step_and_no_output(
    ada: Person, server: LadingProcess, busybox_image: str, push: Push
) -> None:
    push("true")
    value = "correct-horse-battery"
    made = ada.lading(
        "secret", "set", "npm", "-r", "acme/web", "-s", server.url.partition("//")[2], told=value
    )
    assert made.returncode == 0, made.stderr
    repository = server.folder / "git" / "acme" / "web-work"
    (repository / ".lading.yml").write_text(
        f"test:\n  unit:\n    image: {busybox_image}\n    env: {{NPM: {{from_secret: npm}}}}\n"
        '    commands:\n      - test ${#NPM} = 21\n      - echo "<$NPM>"\n'
    )
    for arguments in (["commit", "-qam", "Use it"], ["push", "-q", "origin", "HEAD:main"]):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=repository,
            check=True,
            capture_output=True,
        )
    newest = ada.json("runs", "-n", 1)[0]["id"]

    done = ada.lading("logs", newest, "-f")

    assert done.returncode == 0, done.stdout
    assert f"<{'*' * 21}>" in done.stdout
    assert value not in done.stdout + ada.lading("secret", "list", "--config", server.config).stdout
