from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.parts import network
from scripts.parts.engine import answers, end, engine, running_engine
from scripts.parts.errors import PartError, program

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture(autouse=True)
def no_usual_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the private one, also on a machine that has its own."""
    monkeypatch.setattr("scripts.parts.engine.USUAL", "unix:///nowhere/usual.sock")


@pytest.fixture
def state() -> Iterator[Path]:
    # Not below a long temporary path, and on the disk, as in a checkout.
    folder = Path(__file__).parents[3] / ".lading" / f"test-{os.getpid()}"
    yield folder
    if folder.exists():
        shutil.rmtree(folder)


def traces(name: str) -> list[str]:
    """What of this machine's network names the bridge; other engines may change the rest."""
    rules = [
        line
        for table in ("filter", "nat")
        for line in subprocess.run(
            [program("iptables"), "-t", table, "-S"], check=True, capture_output=True, text=True
        ).stdout.splitlines()
    ]
    interfaces = [path.name for path in Path("/sys/class/net").iterdir()]
    return [line for line in rules + interfaces if name in line]


def pid_of(url: str) -> int:
    return int(Path(url.removeprefix("unix://")).with_name("dockerd.pid").read_text())


def test_an_engine_that_answers_is_used_as_it_is(engine_url: str, state: Path) -> None:
    with engine(state, {"DOCKER_HOST": engine_url}) as url:
        assert url == engine_url

    assert not state.exists()


def test_an_engine_that_does_not_answer_is_none() -> None:
    assert running_engine(NO_ENGINE) is None


def test_a_private_engine_leaves_only_its_data_behind(state: Path) -> None:
    with engine(state, NO_ENGINE) as url:
        run = Path(url.removeprefix("unix://")).parent
        bridge = run.name.replace("lading-", "lad")
        assert answers(url)
        assert traces(bridge)

    assert not answers(url)
    assert not run.exists()
    assert traces(bridge) == []
    assert (state / "data").is_dir()


def test_a_second_user_shares_the_engine_and_the_last_one_stops_it(state: Path) -> None:
    other = (
        "import json, sys\nfrom pathlib import Path\nfrom scripts.parts.engine import engine\n"
        f"with engine(Path({str(state)!r}), {NO_ENGINE!r}) as url:\n"
        "    print(json.dumps(url), flush=True)\n    sys.stdin.readline()\n"
    )
    with engine(state, NO_ENGINE) as url:
        second = subprocess.Popen(
            [sys.executable, "-c", other],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        with second:
            assert second.stdout is not None
            assert json.loads(second.stdout.readline()) == url
            second.communicate(b"\n")
        assert second.returncode == 0
        assert answers(url)

    assert not answers(url)


def test_an_engine_that_was_killed_is_started_again(state: Path) -> None:
    with engine(state, NO_ENGINE) as url:
        first = pid_of(url)
        os.kill(first, signal.SIGKILL)
        end(first, 5)
        assert not answers(url)

        with engine(state, NO_ENGINE) as again:
            assert answers(again)
            assert pid_of(again) != first

    assert str(state) not in Path("/proc/self/mountinfo").read_text()


def test_the_rules_of_other_engines_are_kept_when_one_starts(state: Path) -> None:
    iptables = program("iptables")
    with engine(state, NO_ENGINE):  # there are chains of engines from here on
        pass
    theirs = ["DOCKER-ISOLATION-STAGE-2", "-o", "lading-other0", "-j", "DROP"]
    subprocess.run([iptables, "-I", *theirs], check=True)
    try:
        with engine(state, NO_ENGINE):
            kept = subprocess.run([iptables, "-C", *theirs], check=False).returncode == 0
    finally:
        subprocess.run([iptables, "-D", *theirs], check=False)

    assert kept


def test_without_dockerd_the_package_to_install_is_told(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("scripts.parts.errors.SYSTEM_FOLDERS", "/nowhere")

    with pytest.raises(PartError, match=r"scripts/system.*docker\.io"), engine(state, NO_ENGINE):
        pass


def test_without_root_it_is_told_who_may_start_an_engine(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(PartError, match="only root may start one"), engine(state, NO_ENGINE):
        pass


def test_a_bridge_takes_a_subnet_that_no_route_covers() -> None:
    names = [f"ladtest{number}" for number in range(2)]
    for name in names:
        network.create_bridge(name)
    try:
        routes = list(network.routes())
    finally:
        for name in names:
            network.remove_bridge(name)

    assert len(routes) == len({str(route) for route in routes})
    assert not any(network.exists(name) for name in names)
