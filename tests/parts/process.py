"""`lading serve` as a process of its own, to be killed."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.doubles.base import wait_until

ROOT = Path(__file__).parents[2]
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()


class LadingProcess:
    """The server over one data folder; may be started again after its death."""

    def __init__(self, folder: Path, *, engine: str, git: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.config.write_text(
            f'[server]\nport = 0\ndata = "{folder / "data"}"\n'
            f'[engine]\nurl = "{engine}"\n'
            '[worker]\ngrace = "1s"\n'
            f'[hosts.git]\nkind = "git"\nurl = "{git}"\nwebhook_secret = "{KEY}"\n'
        )
        self.url = ""
        self.token = self.command("token", "create", "test").stdout.strip()
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

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

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._starts += 1
        log = self.folder / f"server-{self._starts}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server.cli", "serve", "--config", str(self.config)],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                env={**os.environ, "NO_COLOR": "1"},
            )
        wait_until(lambda: self._address(log) is not None, "the server tells its address", 30)
        self.url = str(self._address(log))
        wait_until(self._answers, "the server answers", 30)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self, *, within: float = 30) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM, within)

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

    def post(self, path: str) -> httpx2.Response:
        """Ask the API to change something."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx2.post(f"{self.url}/api/v1{path}", headers=headers, timeout=10)

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

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False
