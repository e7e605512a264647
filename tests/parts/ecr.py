"""Amazon ECR's API, by moto: real boto3 on one side, a server of its own process on the other."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
_START_SECONDS = 60.0


@contextlib.contextmanager
def ecr(log: Path) -> Iterator[str]:
    """The API's address, for `AWS_ENDPOINT_URL_ECR`, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait(process, url, log)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), opener.open(f"{url}/moto-api/", timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError(f"moto did not start: {log.read_text(errors='replace')[-2000:]}")
