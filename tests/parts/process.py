"""`lading serve` as a process of its own, to be killed."""

from __future__ import annotations

import base64
import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import httpx2
import sqlalchemy as sa

from pipelines import crashing
from server.logs import LogStore
from tests.doubles.base import Delivery, wait_until

P = ParamSpec("P")
T = TypeVar("T")

ROOT = Path(__file__).parents[2]
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()


@dataclass(frozen=True, kw_only=True)
class GitHubPlaces:
    """Where a double of GitHub is, and what it and the server know of each other."""

    api_url: str
    url: str
    """Of the git server."""
    token: str
    secret: str

    @property
    def table(self) -> str:
        """The host's table in the configuration."""
        return (
            f'[hosts.github]\nkind = "github"\napi_url = "{self.api_url}"\nurl = "{self.url}"\n'
            f'token = "{self.token}"\nwebhook_secret = "{self.secret}"\n'
        )


class LadingProcess:
    """The server over one data folder; may be started again after its death.

    Args:
        git: The folder of a plain git host's repositories.
        github: A double of GitHub, as a second host.
        program: The module that is the `lading` command, or does something to it first.
        port: Where it listens; 0: anywhere, and after each start somewhere else.
        slots: Runs at the same time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        engine: str,
        git: Path,
        github: GitHubPlaces | None = None,
        program: str = "server.cli",
        port: int = 0,
        slots: int = 2,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._program = program
        self.config = folder / "config.toml"
        self.config.write_text(
            f'[server]\nport = {port}\ndata = "{folder / "data"}"\n'
            f'[engine]\nurl = "{engine}"\n'
            f'[worker]\ngrace = "1s"\nslots = {slots}\n'
            f'[hosts.git]\nkind = "git"\nurl = "{git}"\nwebhook_secret = "{KEY}"\n'
            f"{'' if github is None else github.table}"
        )
        self.url = f"http://127.0.0.1:{port}" if port else ""
        self.logs = LogStore(self.data / "logs", limit=0)
        # One for good, since making one costs more than asking; no connection outlives a server.
        self._client = httpx2.Client(
            timeout=30, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0)
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @functools.cached_property
    def token(self) -> str:
        """An API token, made when it is first needed."""
        return self.command("token", "create", "test").stdout.strip()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any other `lading` command on the same configuration."""
        return subprocess.run(
            [sys.executable, "-m", "server.cli", *arguments, "--config", str(self.config)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def log(self) -> Path:
        """What the process that was started last has written about itself."""
        return self.folder / f"server-{self._starts}.log"

    def launch(self, *, crash_at: str | None = None) -> None:
        """Start it, and do not wait.

        Args:
            crash_at: Where it shall end at once: a name in `pipelines.crashing.POINTS`, perhaps
                with `:3` behind it, for the third time.
        """
        assert crash_at is None or crash_at.partition(":")[0] in crashing.POINTS
        self._starts += 1
        armed = {} if crash_at is None else {crashing.VARIABLE: crash_at}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._program, "serve", "--config", str(self.config)],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                env={**os.environ, "NO_COLOR": "1", **armed},
            )

    def start(self, *, crash_at: str | None = None) -> None:
        """Start it and wait until it answers."""
        self.launch(crash_at=crash_at)
        wait_until(lambda: self._address(self.log) is not None, "the server tells its address", 30)
        self.url = str(self._address(self.log))
        wait_until(self.answers, "the server answers", 30)

    @property
    def alive(self) -> bool:
        """Whether the process that was started last is still there."""
        return self._process is not None and self._process.poll() is None

    def exit_code(self, *, within: float = 30) -> int:
        """How it ended, once it has."""
        assert self._process is not None
        code = self._process.wait(within)
        self._process = None
        return code

    def crashed(self, *, within: float = 30) -> None:
        """Wait until it has ended at the point it was armed for."""
        assert self.exit_code(within=within) == crashing.EXIT_CODE, self.log.read_text()[-2000:]

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self, *, within: float = 30) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM, within)

    def deliver(self, host: str, delivery: Delivery) -> int | None:
        """Send a webhook as a host would: the status code, None where there was no answer."""
        url = f"{self.url}/webhooks/{host}"
        try:
            answer = self._client.post(url, content=delivery.body, headers=delivery.headers)
        except httpx2.TransportError:
            return None
        return answer.status_code

    def read(
        self, verb: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Ask the rows themselves; past the server, and without a trace after its death."""
        address = f"sqlite:///file:{self.data / 'lading.db'}?mode=ro&uri=true"
        engine = sa.create_engine(address, poolclass=sa.pool.NullPool)
        with engine.connect() as conn:
            return verb(conn, *args, **kwargs)

    def resident(self) -> int:
        """Its resident memory now, in KiB."""
        return self._memory("VmRSS")

    def peak(self) -> int:
        """The most resident memory it ever had, in KiB."""
        return self._memory("VmHWM")

    def get(self, path: str) -> httpx2.Response:
        """Ask the API."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx2.get(f"{self.url}/api/v1{path}", headers=headers, timeout=10)

    def post(self, path: str, json: object = None) -> httpx2.Response:
        """Ask the API to change something."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx2.post(f"{self.url}/api/v1{path}", headers=headers, json=json, timeout=10)

    def wait_for_run(
        self, run: int, state: str, *, attempt: int | None = None, within: float = 60.0
    ) -> None:
        """Wait until a run's newest attempt, which may have to be the one given, is in a state."""

        def reached() -> bool:
            answer = self.get(f"/runs/{run}")
            if answer.status_code != 200:
                return False
            found = answer.json()
            return found["state"] == state and attempt in (None, found["attempt"])

        wait_until(reached, f"run {run} (attempt {attempt or 'any'}) is {state}", within)

    def _memory(self, field: str) -> int:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0])

    def _end(self, how: signal.Signals, within: float = 30) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(how)
        code = self._process.wait(within)
        self._process = None
        return code

    def _address(self, log: Path) -> str | None:
        found = re.search(r"url=(http\S+)", log.read_text(errors="replace"))
        return found.group(1) if found else None

    def answers(self) -> bool:
        """Whether it answers now."""
        try:
            return self._client.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False
