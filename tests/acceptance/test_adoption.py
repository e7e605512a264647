"""Steps outlive the server, and the server that comes next goes on with them."""

from __future__ import annotations

import re
from collections.abc import Callable

import docker
import pytest

from tests.acceptance.test_restart import push, repository, server
from tests.doubles.base import wait_until
from tests.parts.git_server import Repository
from tests.parts.process import LadingProcess

__all__ = ["repository", "server"]

ENDS: dict[str, Callable[[LadingProcess], object]] = {
    "killed": LadingProcess.kill,
    "told to stop": LadingProcess.stop,
}

COUNTING = """\
i=0
while [ $i -lt 1500 ]; do
  i=$((i + 1)); echo "out-$i."; echo "err-$i." >&2
  [ $((i % 5)) -ne 0 ] || usleep 10000
done
"""


@pytest.fixture(params=sorted(ENDS))
def end(request: pytest.FixtureRequest) -> Callable[[LadingProcess], object]:
    """How the server ends."""
    return ENDS[str(request.param)]


def files(image: str, **steps: str) -> dict[str, str]:
    """A chain of test steps, each a script, every one after the one before."""
    lines, before = ["test:"], ""
    for name in steps:
        lines += [f"  {name}:", f"    image: {image}"]
        lines += [f"    needs: [test.{before}]"] if before else []
        lines += ["    commands:", f"      - sh ./{name}.sh"]
        before = name
    scripts = {f"{name}.sh": script for name, script in steps.items()}
    return {".lading.yml": "\n".join(lines) + "\n", **scripts}


def log(server: LadingProcess, step: str) -> str:
    return server.get(f"/runs/1/steps/{step}/log").text


def wait_for_output(server: LadingProcess, step: str, text: str) -> None:
    def written() -> bool:
        run = server.get("/runs/1")
        assert run.status_code != 200 or run.json()["state"] != "error", run.text
        return text in log(server, step)

    wait_until(written, f"{step} has written {text}", 30)


def containers(server: LadingProcess, client: docker.DockerClient, *, running: bool) -> list[str]:
    filters = {"label": f"lading.server={(server.folder / 'data' / 'server-id').read_text()}"}
    if running:
        filters["status"] = "running"
    return [str(found["Id"]) for found in client.api.containers(all=True, filters=filters)]


def test_a_running_step_goes_on_with_every_line_once(
    server: LadingProcess,
    repository: Repository,
    busybox_image: str,
    docker_client: docker.DockerClient,
    end: Callable[[LadingProcess], object],
) -> None:
    push(server, repository, files(busybox_image, unit=COUNTING, after="cat unit.sh; echo then"))
    wait_for_output(server, "test.unit", "out-200.")
    before = containers(server, docker_client, running=True)

    end(server)
    assert containers(server, docker_client, running=True) == before
    server.start()

    server.wait_for_run(1, "success", attempt=1)
    written = log(server, "test.unit")
    for stream in ("out", "err"):
        numbers = [int(number) for number in re.findall(rf"{stream}-(\d+)\.", written)]
        assert numbers == list(range(1, 1501))
    assert log(server, "test.after").endswith("then\n")
    assert len(server.get("/runs/1").json()["attempts"]) == 1
    wait_until(
        lambda: not containers(server, docker_client, running=False), "no container is left", 20
    )


@pytest.mark.parametrize("code", [0, 7])
def test_a_step_that_ended_without_the_server_is_read_as_it_ended(
    server: LadingProcess,
    repository: Repository,
    busybox_image: str,
    docker_client: docker.DockerClient,
    code: int,
) -> None:
    script = f"echo first; sleep 2; echo last; echo problem >&2; exit {code}\n"
    push(server, repository, files(busybox_image, unit=script))
    wait_for_output(server, "test.unit", "first")

    server.kill()
    wait_until(
        lambda: not containers(server, docker_client, running=True), "the step has ended", 20
    )
    server.start()

    server.wait_for_run(1, "failure" if code else "success", attempt=1)
    assert server.get("/runs/1").json()["steps"][0]["outcome"]["exit_code"] == code
    written = log(server, "test.unit")
    assert [written.count(word) for word in ("first", "last", "problem")] == [1, 1, 1]


def test_a_step_whose_container_somebody_removed_meanwhile_is_an_error_that_says_so(
    server: LadingProcess,
    repository: Repository,
    busybox_image: str,
    docker_client: docker.DockerClient,
) -> None:
    push(server, repository, files(busybox_image, unit="echo first; sleep 600"))
    wait_for_output(server, "test.unit", "first")

    server.kill()
    for container in containers(server, docker_client, running=False):
        docker_client.api.remove_container(container, force=True)
    server.start()

    server.wait_for_run(1, "error", attempt=1)
    assert "was removed while Lading was restarted" in server.get("/runs/1").text
    told = server.get("/operations").json()
    assert (told["adopted"]["count"], told["lost"]["count"]) == (1, 1)
    assert (told["starts"]["count"], told["unclean_stops"]["count"]) == (2, 1)


def test_a_run_can_be_cancelled_after_it_was_taken_up(
    server: LadingProcess,
    repository: Repository,
    busybox_image: str,
    docker_client: docker.DockerClient,
) -> None:
    push(server, repository, files(busybox_image, unit="echo first; sleep 600"))
    wait_for_output(server, "test.unit", "first")
    server.kill()
    server.start()

    server.post("/runs/1/cancel")

    server.wait_for_run(1, "cancelled", attempt=1)
    wait_until(
        lambda: not containers(server, docker_client, running=False), "no container is left", 20
    )


def test_a_build_that_was_cut_off_is_done_again_in_the_same_attempt(
    server: LadingProcess, repository: Repository, busybox_image: str
) -> None:
    definition = "build:\n  web:\n    dockerfile: Dockerfile\n"
    recipe = f"FROM {busybox_image}\nRUN echo building; sleep 3\n"
    push(server, repository, {".lading.yml": definition, "Dockerfile": recipe})
    wait_for_output(server, "build.web", "RUN echo building")

    server.kill()
    server.start()

    server.wait_for_run(1, "success", attempt=1)
    assert "[lading] Lading was restarted: this begins anew" in log(server, "build.web")


def test_sigterm_with_a_running_step_ends_the_server_soon(
    server: LadingProcess, repository: Repository, busybox_image: str
) -> None:
    push(server, repository, files(busybox_image, unit="echo first; sleep 600"))
    wait_for_output(server, "test.unit", "first")

    assert server.stop(within=10) == 0

    assert "run ended" not in (server.folder / "server-1.log").read_text()
