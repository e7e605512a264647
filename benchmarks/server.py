"""The real server as a process of its own, and what a host would send it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import sqlite3
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.processes import BrokenError, Process, checked, started, until
from tests.doubles import Delivery

HOST = "github"
SECRET = "a secret of the benchmarks alone"
START_SECONDS = 60.0


class Server:
    """A Lading that serves."""

    def __init__(self, process: Process, url: str, data: Path, client: httpx2.Client) -> None:
        self.process = process
        self.url = url
        self._data = data
        self._client = client
        self._token: str | None = None

    @property
    def token(self) -> str:
        """A token for the API, made at first use."""
        if self._token is None:
            command = [sys.executable, "-m", "server.cli", "token", "create", "bench"]
            command += ["--config", str(self._data.parent / "config.toml")]
            self._token = checked(command, env=_environment()).stdout.decode().strip()
        return self._token

    def use_token(self, token: str) -> None:
        """Take one that was made before."""
        self._token = token

    @property
    def folder(self) -> Path:
        """What it serves from; see `served`."""
        return self._data.parent

    def cancel(self, run: int) -> None:
        """Ask a run to stop."""
        headers = {"Authorization": f"Bearer {self.token}"}
        self._client.post(f"/api/v1/runs/{run}/cancel", headers=headers).raise_for_status()

    def end_of_log(self, run: int, step: str) -> str:
        """The last bytes of a step's output as the API gives them now."""
        headers = {"Authorization": f"Bearer {self.token}", "Range": "bytes=-200"}
        with contextlib.suppress(httpx2.TransportError):
            return self._client.get(f"/api/v1/runs/{run}/steps/{step}/log", headers=headers).text
        return ""

    def get(self, path: str) -> Any:  # noqa: ANN401 (any JSON value)
        """Ask the API; None while there is no such thing, or nobody answers."""
        headers = {"Authorization": f"Bearer {self.token}"}
        with contextlib.suppress(httpx2.TransportError):
            answer = self._client.get(f"/api/v1{path}", headers=headers)
            return answer.json() if answer.status_code == 200 else None
        return None

    def lines(self, run: int, step: str, *, follow: bool = True) -> Iterator[str]:
        """A step's output through the API, each line as it comes, until the step has ended."""
        path = f"{self.url}/api/v1/runs/{run}/steps/{step}/log?follow={int(follow)}"
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx2.stream("GET", path, headers=headers, timeout=60) as response:
            yield from response.iter_lines()

    def read(self, run: int, step: str) -> int:
        """Follow a step's output through the API to its end; how many bytes came."""
        path = f"{self.url}/api/v1/runs/{run}/steps/{step}/log?follow=1"
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx2.stream("GET", path, headers=headers, timeout=60) as response:
            return sum(len(piece) for piece in response.iter_raw())

    def deliver(self, delivery: Delivery) -> float:
        """Send a webhook; when, in seconds since 1970."""
        at = time.time()
        answer = self._client.post(
            f"/webhooks/{HOST}", content=delivery.body, headers=delivery.headers
        )
        if answer.status_code != 202:
            message = f"the server answered a delivery with {answer.status_code}: {answer.text}"
            raise BrokenError(message)
        return at

    def accepted(self) -> int:
        """How many deliveries the server says it answered with 202."""
        wanted = f'lading_deliveries_total{{host="{HOST}",status="202"}} '
        for line in self._client.get("/metrics").text.splitlines():
            if line.startswith(wanted):
                return int(float(line.removeprefix(wanted)))
        return 0

    def stored(self) -> int:
        """How many deliveries are in the database, counted past the server."""
        return int(self._query("SELECT count(*) FROM deliveries")[0][0])

    def count(self, of: str) -> int:
        """How many rows there are of something: a table, with joins and conditions."""
        return int(self._query(f"SELECT count(*) FROM {of}")[0][0])

    def step_seconds(self, run: int) -> float:
        """The time between start and end of a run's one step."""
        rows = self._query("SELECT (ended_at - started_at) / 1e6 FROM steps WHERE run = ?", run)
        if len(rows) != 1 or rows[0][0] is None:
            message = f"run {run} has {len(rows)} steps in the database, wanted one that has ended"
            raise BrokenError(message)
        return float(rows[0][0])

    def step_gaps(self, run: int) -> list[float]:
        """In a run whose steps stand in a row, the times from one's end to the next one's start."""
        rows = self._query(
            "SELECT started_at / 1e6, ended_at / 1e6 FROM steps WHERE run = ? ORDER BY position",
            run,
        )
        if any(at is None for row in rows for at in row):
            message = f"run {run} has steps in the database that were not run"
            raise BrokenError(message)
        return [start - end for (_, end), (start, _) in itertools.pairwise(rows)]

    def steps_seconds(self, run: int) -> float:
        """The time from the start of a run's first step to the end of its last."""
        ((took,),) = self._query(
            "SELECT (max(ended_at) - min(started_at)) / 1e6 FROM steps WHERE run = ?", run
        )
        return float(took)

    def log_file(self, run: int, step: str) -> Path:
        """Where a step's output is kept, as bytes."""
        return self._data / "logs" / str(run) / "1" / f"{step}.log"

    def _query(self, text: str, *arguments: object) -> list[tuple[float, ...]]:
        address = f"file:{self._data / 'lading.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=30)) as database:
            return database.execute(text, arguments).fetchall()


@contextlib.contextmanager
def serving(
    folder: Path,
    *,
    engine: str,
    api_url: str,
    git_url: str,
    token: str,
    core: int | None = None,
    log_limit: str = "256MiB",
) -> Iterator[Server]:
    """Serve from a fresh folder until the block ends.

    Args:
        folder: Made here; for configuration, rows, logs and mirrors.
        engine: URL of the container engine.
        api_url: Of the git host's double.
        git_url: Where repositories are cloned from.
        token: That the double wants.
        core: The one processor core the server may use; None: any.
        log_limit: Output kept of one step.
    """
    folder.mkdir()
    tables = _configuration(
        free_port(),
        engine=engine,
        api_url=api_url,
        git_url=git_url,
        token=token,
        log_limit=log_limit,
    )
    (folder / "config.toml").write_text(tables)
    with served(folder, core=core) as server:
        yield server


@contextlib.contextmanager
def served(folder: Path, *, core: int | None = None, ready: bool = True) -> Iterator[Server]:
    """Serve what is in a folder, once more if need be, until the block ends.

    Args:
        folder: One that `serving` made.
        core: The one processor core the server may use; None: any.
        ready: Wait until it is.
    """
    configuration = folder / "config.toml"
    port = tomllib.loads(configuration.read_text())["server"]["port"]
    command = [sys.executable, "-m", "server.cli", "serve", "--config", str(configuration)]
    url = f"http://127.0.0.1:{port}"
    with (
        started(command, log=folder / "server.log", env=_environment(), core=core) as process,
        httpx2.Client(base_url=url, timeout=60) as client,
    ):

        def answers() -> bool:
            process.check()
            with contextlib.suppress(httpx2.TransportError):
                return client.get("/readyz").status_code == 200
            return False

        if ready:
            until(answers, f"the server is ready\n{process.words()}", within=START_SECONDS)
        yield Server(process, url, folder / "data", client)
        if not process.killed:
            process.check()


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _configuration(
    port: int, *, engine: str, api_url: str, git_url: str, token: str, log_limit: str
) -> str:
    text = json.dumps  # a basic string of TOML is one of JSON
    return f"""\
[server]
port = {port}
data = "data"

[engine]
url = {text(engine)}

[worker]
slots = 2
log_limit = {text(log_limit)}

[hosts.{HOST}]
kind = "github"
webhook_secret = {text(SECRET)}
token = {text(token)}
api_url = {text(api_url)}
url = {text(git_url)}
"""


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LADING_")}
