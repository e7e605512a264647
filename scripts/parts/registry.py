"""A container registry on loopback: Debian's `docker-registry`, with or without a login."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scripts.parts.errors import PartError, program, say

_START_SECONDS = 20.0


class Registry(NamedTuple):
    """A registry that answers."""

    address: str
    """`127.0.0.1:<port>`, as it stands in front of an image's name."""
    username: str | None
    password: str | None


@contextlib.contextmanager
def registry(
    folder: Path,
    *,
    username: str | None = None,
    password: str | None = None,
    port: int = 0,
    auth: dict[str, Any] | None = None,
) -> Iterator[Registry]:
    """A registry that keeps its images in `folder`, for as long as the context is open.

    With `username` and `password` it wants that login; `port` 0 takes a free one. Deleting is
    allowed. `auth` is its own setting of that name, for any other way of telling who asks.

    Raises:
        PartError: it is not installed, or does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "registry.json"
    settings = _settings(folder, _login_file(folder, username, password), port)
    if auth is not None:
        settings["auth"] = auth
    # JSON is YAML. The file holds the secret of upload states, so it is the owner's alone.
    configuration.write_text(json.dumps(settings, indent=1))
    configuration.chmod(0o600)
    log = folder / "registry.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program("docker-registry"), "serve", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(),
            start_new_session=True,
        )
    try:
        address = _wait_for_address(process, log)
        say(f"started a container registry (docker-registry) at {address}")
        yield Registry(address, username, password)
    finally:
        _stop(process)


def _settings(folder: Path, login: Path | None, port: int) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info", "formatter": "json"},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "images")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", "secret": secrets.token_hex(16)},
    }
    if login is not None:
        settings["auth"] = {"htpasswd": {"realm": "lading", "path": str(login)}}
    return settings


def _login_file(folder: Path, username: str | None, password: str | None) -> Path | None:
    if username is None or password is None:
        return None
    done = subprocess.run(
        [program("htpasswd"), "-niB", username],
        input=password,
        check=True,
        capture_output=True,
        text=True,
    )
    path = folder / "htpasswd"
    path.write_text(done.stdout)
    path.chmod(0o600)
    return path


def _environment() -> dict[str, str]:
    # REGISTRY_… variables would override the file.
    return {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        found = re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text(errors="replace"))
        if found and _answers(found[1]):
            return found[1]
        time.sleep(0.02)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    raise PartError(
        f"The container registry (docker-registry) did not start. Its log, {log}, ends with:\n"
        f"{tail}\nIf the port is taken, stop what listens there and try again."
    )


def _answers(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"http://{address}/v2/", timeout=5).close()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code == 401
    except OSError:
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
