"""A real API on a real port, behind a wire that can be cut, and the command as people give it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from server import api
from tests.builders import House
from tests.integration.api.live import served
from tests.parts.proxy import Proxy, proxy

ROOT = Path(__file__).parents[3]
Kept = subprocess.CompletedProcess[str]


class Person:
    """Somebody with a folder for configuration of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = folder / "config" / "lading" / "servers.json"
        kept = {name: text for name, text in os.environ.items() if not name.startswith("LADING_")}
        self.env = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "NO_PROXY": "*",
        }

    def lading(self, *arguments: object, told: str = "", **env: str) -> Kept:
        """Give a command and wait for its end."""
        return subprocess.run(
            [sys.executable, "-m", "server.cli", *map(str, arguments)],
            cwd=self.folder,
            env={**self.env, **env},
            input=told,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextlib.contextmanager
    def started(self, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        """Give a command, and do something meanwhile."""
        with subprocess.Popen(
            [sys.executable, "-m", "server.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def json(self, *arguments: object) -> Any:  # noqa: ANN401 - any JSON
        """What a command tells programs."""
        done = self.lading(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def read(stream: IO[bytes] | None, until: bytes) -> bytes:
    """Output up to and with some bytes."""
    assert stream is not None
    data = b""
    while until not in data:
        piece = stream.read1(65536)  # type: ignore[attr-defined] # buffered, as Popen makes it
        assert piece, (data[-500:], until)
        data += piece
    return data


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    folder = tmp_path / "house"
    folder.mkdir()
    made = House(folder)
    yield made
    made.close()


@pytest.fixture
def wire(house: House) -> Iterator[Proxy]:
    """The way to the API."""
    routes = api.routes(
        database=house.database,
        logs=house.logs,
        actions=house.actions,
        clock=house.clock,
        base_url="https://public.test",
        stopping=house.stopping,
        operations=house.operations,
        artifacts=house.artifacts,
        registries=house.registries,
        releases=house.releases,
        dockerfiles=house.dockerfiles,
        secrets=house.secrets,
    )
    app = Starlette(routes=[Mount("/api/v1", routes=routes)])
    with (
        served(app, house.stopping) as url,
        proxy(url.removeprefix("http://")) as made,
    ):
        yield made


@pytest.fixture
def url(wire: Proxy) -> str:
    return f"http://{wire.address}"


@pytest.fixture
def stranger(tmp_path: Path) -> Person:
    """Somebody who has signed in nowhere."""
    return Person(tmp_path)


@pytest.fixture
def person(stranger: Person, house: House, url: str) -> Person:
    """Somebody who has signed in as ada."""
    done = stranger.lading("login", url, "--name", "work", told=f"{house.token('ada')}\n")
    assert done.returncode == 0, done.stderr
    return stranger


@pytest.fixture
def fails(person: Person) -> Callable[..., str]:
    """Give a command that must fail with a code; what it says."""

    def fails(code: int, *arguments: object) -> str:
        done = person.lading(*arguments)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stderr

    return fails
