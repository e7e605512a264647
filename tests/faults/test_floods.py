"""Steps that write far more than anybody reads, beside others and across a restart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import httpx2
import pytest

from pipelines.engine.rereading import BEGINNING_GONE
from tests.acceptance.test_adoption import containers, files, log
from tests.acceptance.test_restart import push, remove_everything, repository
from tests.doubles.base import wait_until
from tests.parts.git_server import Repository
from tests.parts.process import LadingProcess

__all__ = ["repository"]

MIB = 2**20
GROWTH = 50_000_000  # bytes
REACHED = b"[lading] the output limit of "

FLOOD = """\
printf '\\000\\377\\n'
until [ -e stop ]; do yes "$(seq 1 20 | tr '\\n' ' ')" | head -c 20000000; done
echo never seen
"""
CALM = """\
until [ -e begin ]; do usleep 20000; done
for i in $(seq 1 30); do echo "calm $i."; usleep 50000; done
touch stop
"""


@pytest.fixture
def limit() -> str:
    """Output kept of one step."""
    return "8MiB"


@pytest.fixture
def server(
    tmp_path: Path, engine_url: str, docker_client: docker.DockerClient, limit: str
) -> Iterator[LadingProcess]:
    (tmp_path / "git" / "acme").mkdir(parents=True)
    server = LadingProcess(tmp_path, engine=engine_url, git=tmp_path / "git")
    text = server.config.read_text()
    text = text.replace("[server]\n", "[server]\npublic = true\n")
    server.config.write_text(text.replace("[worker]\n", f'[worker]\nlog_limit = "{limit}"\n'))
    server.start()
    yield server
    server.stop()
    remove_everything(server, docker_client)


def side_by_side(image: str, **steps: str) -> dict[str, str]:
    """Steps that run at the same time in one workspace."""
    made = files(image, **steps)
    made[".lading.yml"] = re.sub(r"needs: .*", "needs: []", made[".lading.yml"])
    return made


def resident(server: LadingProcess, field: str = "VmRSS") -> int:
    """Bytes; `VmHWM` for the most since `forget_peak`."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) * 1024


def forget_peak(server: LadingProcess) -> None:
    """proc(5): 5 in clear_refs resets the high water mark."""
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


def stored(server: LadingProcess, step: str) -> bytes:
    with suppress(FileNotFoundError):
        return (server.folder / "data" / "logs" / "1" / "1" / f"{step}.log").read_bytes()
    return b""


def state(server: LadingProcess, step: str) -> str:
    steps = server.get("/runs/1").json()["steps"]
    return str(next(one["state"] for one in steps if one["key"] == step))


def test_a_flood_is_cut_off_with_a_line_at_once_and_others_stay_live(
    server: LadingProcess, repository: Repository, busybox_image: str
) -> None:
    before = resident(server)
    forget_peak(server)
    begin = "until [ -e flooded ]; do usleep 20000; done; touch begin\n"
    flood = FLOOD.replace("until", "touch flooded; until", 1)
    push(server, repository, side_by_side(busybox_image, flood=flood, calm=CALM, begin=begin))

    wait_until(lambda: REACHED in stored(server, "test.flood"), "the limit is told", 30)
    path = f"{server.url}/api/v1/runs/1/steps/test.calm/log?follow=1"
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.stream("GET", path, headers=headers, timeout=30) as response:
        lines = (line for line in response.iter_lines() if line.startswith("calm"))
        assert [next(lines) for _ in range(10)] == [f"calm {i}." for i in range(1, 11)]
        assert state(server, "test.flood") == "running"
        assert httpx2.get(f"{server.url}/healthz", timeout=5).status_code == 200
        assert len(list(lines)) == 20

    server.wait_for_run(1, "success")
    written = stored(server, "test.flood")
    assert written.count(REACHED) == 1
    assert re.search(rb"\n\[lading\] [\d,]+ bytes of output were not kept\n$", written)
    assert b"never seen" not in written
    assert b"\x00\xff\n" in written[:100]
    assert len(written) < 8 * MIB + 1000
    assert resident(server, "VmHWM") - before < GROWTH


def test_a_flood_that_was_cut_off_goes_on_after_a_kill_and_is_cut_off_once(
    server: LadingProcess, repository: Repository, busybox_image: str
) -> None:
    calm = f"until [ -e flooded ]; do usleep 20000; done; echo waits; sleep 3; {CALM}"
    flood = FLOOD.replace("until", "touch flooded begin; until", 1)
    push(server, repository, side_by_side(busybox_image, flood=flood, calm=calm))
    wait_until(lambda: REACHED in stored(server, "test.flood"), "the limit is told", 30)
    wait_until(lambda: b"waits" in stored(server, "test.calm"), "the other step waits", 30)
    server.kill()
    before = stored(server, "test.flood")

    server.start()

    server.wait_for_run(1, "success", attempt=1)
    after = stored(server, "test.flood")
    assert after.startswith(before)
    assert re.fullmatch(
        rb"\[lading\] at least [\d,]+ bytes of output were not kept\n", after[len(before) :]
    )
    numbers = re.findall(r"^calm (\d+)\.$", log(server, "test.calm"), re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 31)]


@pytest.mark.parametrize("limit", ["1MiB"])
def test_a_flood_that_the_engine_has_turned_over_while_nobody_was_there_is_told_of(
    server: LadingProcess,
    repository: Repository,
    busybox_image: str,
    docker_client: docker.DockerClient,
) -> None:
    script = "echo first; until [ -e go ]; do usleep 20000; done; seq 1 300000; echo last\n"
    push(server, repository, side_by_side(busybox_image, unit=script))
    wait_until(lambda: b"first" in stored(server, "test.unit"), "the step has begun", 30)
    server.kill()
    (running,) = containers(server, docker_client, running=True)
    went = docker_client.containers.get(running).exec_run(["touch", "go"])
    assert went.exit_code == 0, went.output
    wait_until(
        lambda: not containers(server, docker_client, running=True), "the step has ended", 30
    )

    server.start()

    server.wait_for_run(1, "success", attempt=1)
    written = stored(server, "test.unit")
    assert written.startswith(b"$ sh ./unit.sh\nfirst\n" + BEGINNING_GONE)
    assert written.count(BEGINNING_GONE) == 1


@pytest.mark.parametrize("limit", ["256MiB"])
def test_a_line_of_100_mb_is_stored_as_it_came_and_shown_in_parts(
    server: LadingProcess, repository: Repository, busybox_image: str
) -> None:
    before = resident(server)
    forget_peak(server)
    script = "head -c 100000000 /dev/zero | tr '\\0' '\\377'; printf '\\n\\000end\\n'\n"
    push(server, repository, files(busybox_image, unit=script))
    server.wait_for_run(1, "success")

    page = httpx2.get(f"{server.url}/runs/1?step=test.unit", timeout=30)
    first = httpx2.get(f"{server.url}/runs/1/attempts/1/steps/test.unit?from=2", timeout=30)
    events = httpx2.get(f"{server.url}/runs/1/attempts/1/steps/test.unit/events", timeout=60)

    assert stored(server, "test.unit") == (
        b"$ sh ./unit.sh\n" + b"\xff" * 100_000_000 + b"\n\x00end\n"
    )
    assert "end" in page.text
    assert "more bytes in the plain text" in first.text
    assert max(map(len, events.text.split("\n\n"))) < MIB
    assert "event: end" in events.text
    assert resident(server, "VmHWM") - before < GROWTH
