"""What the demonstration puts on its stage: base image, sample repository, server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import docker
import requests
from docker.errors import DockerException, ImageNotFound

from pipelines.engine.client import connect
from pipelines.engine.leftovers import remove_leftovers
from scripts.parts import base_image
from scripts.parts.errors import PartError, say

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "sample-app"
SAMPLE_BASE = "python:3.12-slim"
SAMPLE_REGISTRY = "registry.example.com"
NAME = "sample-app"
HOST = "demo"

_PROBE_SECONDS = 5
_PULL_SECONDS = 120
_START_SECONDS = 30.0


def base(docker_url: str) -> str:
    """The base image: at hand, pulled, or else made from this machine."""
    return (
        SAMPLE_BASE
        if _is_at_hand(docker_url) or _is_pulled(docker_url)
        else base_image.python(docker_url)
    )


def _is_at_hand(docker_url: str) -> bool:
    with contextlib.closing(docker.DockerClient(base_url=docker_url, timeout=20)) as client:
        try:
            client.images.get(SAMPLE_BASE)
        except ImageNotFound:
            return False
        return True


def _is_pulled(docker_url: str) -> bool:
    """Ask the engine's registry first: a pull that cannot succeed takes its time to say so."""
    try:
        with contextlib.closing(
            docker.DockerClient(base_url=docker_url, timeout=_PROBE_SECONDS)
        ) as client:
            client.images.get_registry_data(SAMPLE_BASE)
        say(f"pulling the base image {SAMPLE_BASE}")
        with contextlib.closing(
            docker.DockerClient(base_url=docker_url, timeout=_PULL_SECONDS)
        ) as client:
            client.images.pull(SAMPLE_BASE)
    except (DockerException, requests.RequestException):
        say(f"no registry here gives {SAMPLE_BASE}, so this machine's own Python is the base")
        return False
    return True


class Repository(NamedTuple):
    """The sample application in a bare repository, and a clone of it."""

    bare: Path
    clone: Path

    @property
    def sha(self) -> str:
        """The commit that is pushed."""
        return _git(self.clone, "rev-parse", "HEAD").strip()

    def pushed(self) -> list[str]:
        """Every commit that has been pushed, here or by the person."""
        return _git(self.bare, "rev-list", "--all").split()

    def push(self) -> None:
        """Push for real; git's own output goes to the person.

        Raises:
            PartError: git refused.
        """
        done = subprocess.run(
            ["git", "push", "origin", "main"], cwd=self.clone, env=_git_environment(), check=False
        )
        if done.returncode:
            raise PartError("`git push` failed; git says above why.")


def repository(folder: Path, *, base_name: str, registry: str) -> Repository:
    """A bare repository and a clone with one commit of the sample application, not yet pushed.

    The sample's base image and registry are exchanged for those at hand.
    """
    bare, clone = folder / "git" / f"{NAME}.git", folder / NAME
    bare.parent.mkdir()
    _git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "--template=", str(bare))
    shutil.copytree(
        SAMPLE, clone, ignore=shutil.ignore_patterns("__pycache__", ".ruff_cache", "ruff.toml")
    )
    _exchange(clone / "Dockerfile", SAMPLE_BASE, base_name)
    _exchange(clone / ".lading.yml", SAMPLE_REGISTRY, registry)
    _git(clone, "init", "--quiet", "--initial-branch=main", "--template=")
    _git(clone, "remote", "add", "origin", str(bare))
    _git(clone, "add", "--all")
    _git(clone, "commit", "--quiet", "--message", "Greet by name")
    return Repository(bare, clone)


def _exchange(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if old not in text:
        raise PartError(f"{path.name} of the sample does not name {old}; take its change back.")
    path.write_text(text.replace(old, new))


def _git_environment() -> dict[str, str]:
    """Neither the person's settings (signing, hooks) nor the variables of a hook that calls us."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
    }


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=_git_environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PartError(f"`git {arguments[0]}` failed: {done.stderr.strip()}")
    return done.stdout


class Server(NamedTuple):
    """A Lading server that answers."""

    url: str
    config: Path
    log: Path

    def command(self, *arguments: str) -> str:
        """What `lading …` prints.

        Raises:
            PartError: it failed; with what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", "server.cli", *arguments, "--config", str(self.config)],
            cwd=ROOT,
            env=_server_environment(),
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise PartError(f"`lading {' '.join(arguments)}` failed: {said}")
        return done.stdout


def configuration(folder: Path, *, docker_url: str, port: int) -> Path:
    """A `config.toml` with the embedded default: SQLite and the local engine."""
    key = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    url = f"http://127.0.0.1:{port}"
    tables: dict[str, dict[str, object]] = {
        "server": {"port": port, "url": url, "data": str(folder / "data"), "public": True},
        "engine": {"url": docker_url},
        f"hosts.{HOST}": {"kind": "git", "url": str(folder / "git"), "webhook_secret": key},
    }
    lines = [
        f"[{table}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in keys.items())
        for table, keys in tables.items()
    ]
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text("\n".join(lines))
    return path


def free_port(wanted: int) -> int:
    """The wanted port of loopback if nobody has it, else a free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise PartError("No port of 127.0.0.1 is free. Stop something that listens there.")


@contextlib.contextmanager
def server(config: Path, port: int) -> Iterator[Server]:
    """`lading serve` with this configuration, for as long as the context is open.

    Raises:
        PartError: it ended, or does not answer in time; with the end of its log.
    """
    running = Server(f"http://127.0.0.1:{port}", config, config.with_name("server.log"))
    with running.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "serve", "--config", str(config)],
            cwd=ROOT,
            env=_server_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours; it is stopped in its turn
        )
    try:
        _wait_until_ready(running, process)
        yield running
    finally:
        _stop(process)


def remove_what_runs_left(docker_url: str, config: Path) -> None:
    """Remove containers and volumes of runs: they outlive the server, so that it may be upgraded.

    Args:
        docker_url: The engine.
        config: The stopped server's configuration.
    """
    identity = config.parent / "data" / "server-id"
    if not identity.exists():
        return
    with contextlib.closing(connect(docker_url)) as client:
        remove_leftovers(client, identity.read_text(), set())


def _server_environment() -> dict[str, str]:
    # One left over in the person's shell would overrule the file.
    return {name: value for name, value in os.environ.items() if not name.startswith("LADING_")}


def _wait_until_ready(running: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                if session.get(f"{running.url}/readyz", timeout=5).ok:
                    return
            time.sleep(0.05)
    tail = "\n".join(running.log.read_text(errors="replace").splitlines()[-20:])
    raise PartError(f"The server did not start. Its log ends with:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
