"""A container engine: the machine's own where one answers, else a private `dockerd`."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

import docker
from docker.errors import DockerException

from scripts.parts import network
from scripts.parts.errors import PartError, program, say

USUAL = "unix:///var/run/docker.sock"
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0


class _Places(NamedTuple):
    """Where a private engine keeps what it needs; sockets need short paths, so `/run`."""

    state: Path
    run: Path
    bridge: str

    @property
    def data(self) -> Path:
        return self.state / "data"

    @property
    def log(self) -> Path:
        return self.state / "dockerd.log"

    @property
    def pidfile(self) -> Path:
        return self.run / "dockerd.pid"

    @property
    def socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"


@contextlib.contextmanager
def engine(state: Path, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """The URL of an engine that answers, for as long as the context is open.

    `DOCKER_HOST` and the usual socket come first. A private engine keeps images and its cache in
    `state`, so that the next one starts warm; it is shared by all who ask with the same `state`
    at once, and the last one to leave stops it.

    Raises:
        PartError: there is no engine and none can be started here.
    """
    url = running_engine(environ)
    if url is not None:
        yield url
        return
    with engine_in(state) as private:
        yield private


@contextlib.contextmanager
def engine_in(state: Path) -> Iterator[str]:
    """The URL of an engine that keeps everything in `state`, whatever engine there is besides.

    Raises:
        PartError: none can be started here.
    """
    places = _places(state)
    _check_can_start()
    with _shared(places):
        yield places.url


class PrivateEngine:
    """An engine of one's own, that may be stopped, killed and started again.

    It leaves the machine's packet rules alone: containers on it reach nothing.
    """

    def __init__(self, state: Path, *, live_restore: bool) -> None:
        self._places = _places(state)
        # The last word counts: containers cannot be kept apart without packet rules.
        self._flags = ["--iptables=false", "--icc=true"]
        self._flags += ["--live-restore"] if live_restore else []

    @property
    def url(self) -> str:
        """Where it answers while it runs."""
        return self._places.url

    def start(self) -> None:
        """Start it, or start it again."""
        if not self._places.run.exists():
            _start(self._places, *self._flags)
            return
        self._places.pidfile.unlink(missing_ok=True)
        with network.other_engines_rules_kept():
            _launch(self._places, self._places.run / "daemon.json", *self._flags)

    def terminate(self) -> None:
        """SIGTERM; returns when it is gone."""
        end(self._pid(), _STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL; what runs on it runs on. Returns when its containerd, too, is gone."""
        end(self._pid(), 0.0, first=signal.SIGKILL)
        _wait(lambda: _containerd(self._places) is None, _STOP_SECONDS, lambda: False)
        # A dead one that nobody has reaped yet would be taken for one that runs.
        _containerd_pidfile(self._places).unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop it and leave nothing but its data."""
        if _pid(self._places) is None:  # what a killed one left running, only one can remove
            with contextlib.suppress(PartError):
                self.start()
        _stop(self._places)

    def _pid(self) -> int:
        pid = _pid(self._places)
        if pid is None:
            raise PartError("the private engine does not run")
        return pid


@contextlib.contextmanager
def private_engine(state: Path, *, live_restore: bool = False) -> Iterator[PrivateEngine]:
    """An engine of one's own, also where this machine has one, until the block ends.

    Raises:
        PartError: none can be started here.
    """
    _check_can_start()
    made = PrivateEngine(state, live_restore=live_restore)
    try:
        made.start()
        yield made
    finally:
        made.remove()


def running_engine(environ: Mapping[str, str]) -> str | None:
    """The URL of the engine that this machine already has, or `None`."""
    wanted = environ.get("DOCKER_HOST")
    if wanted:
        if answers(wanted):
            return wanted
        say(f"the engine of DOCKER_HOST ({wanted}) does not answer; looking for another")
    return USUAL if answers(USUAL) else None


def answers(url: str) -> bool:
    """Whether an engine answers at this URL within a few seconds."""
    if not _listens(url):
        return False
    try:
        client = docker.DockerClient(base_url=url, version="1.40", timeout=5)
    except DockerException:
        return False
    with contextlib.closing(client):
        try:
            return bool(client.ping())
        except (DockerException, OSError):
            return False


def _listens(url: str) -> bool:
    """Whether somebody is behind a unix socket: the SDK forgets to close one that fails."""
    if not url.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(url.removeprefix("unix://"))
        except OSError:
            return False
    return True


def _places(state: Path) -> _Places:
    state = state.resolve()
    key = hashlib.sha256(os.fsencode(state)).hexdigest()[:8]
    return _Places(state, Path("/run", f"lading-{key}"), f"lad{key}")


def _check_can_start() -> None:
    usual = Path(USUAL.removeprefix("unix://"))
    if usual.exists() and not os.access(usual, os.W_OK):
        raise PartError(
            f"There is an engine at {usual}, but you may not use it. Add yourself to its group "
            "(`sudo usermod -aG docker $USER`, then log in again), or run this as root."
        )
    if os.geteuid() != 0:
        raise PartError(
            "No container engine answers, and only root may start one. Install and start Docker "
            "or Podman, set DOCKER_HOST to an engine you may use, or run this as root."
        )
    program("dockerd")
    program("iptables")


@contextlib.contextmanager
def _shared(places: _Places) -> Iterator[None]:
    """Start the engine unless someone has; stop it unless someone else still uses it.

    A user holds `users.lock` shared; starting and stopping happen under `change.lock`.
    """
    places.state.mkdir(parents=True, exist_ok=True)
    with (places.state / "users.lock").open("w") as users:
        with _locked(places):
            fcntl.flock(users, fcntl.LOCK_SH)
            _ensure_started(places)
        try:
            yield
        finally:
            with _locked(places):
                if _is_last(users):
                    _stop(places)


@contextlib.contextmanager
def _locked(places: _Places) -> Iterator[None]:
    with (places.state / "change.lock").open("w") as change:
        fcntl.flock(change, fcntl.LOCK_EX)
        yield


def _is_last(users: TextIO) -> bool:
    fcntl.flock(users, fcntl.LOCK_UN)
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ensure_started(places: _Places) -> None:
    if _pid(places) is not None and answers(places.url):
        say(f"using the private engine that already runs at {places.url}")
        return
    _stop(places)
    say(f"starting a private container engine (dockerd) at {places.url}, data in {places.data}")
    try:
        _start(places)
    except BaseException:
        _stop(places)
        raise


def _start(places: _Places, *flags: str) -> None:
    places.data.mkdir(parents=True, exist_ok=True)
    places.run.mkdir(mode=0o700, exist_ok=True)
    # An empty file instead of the system's own /etc/docker/daemon.json.
    configuration = places.run / "daemon.json"
    configuration.write_text("{}\n")
    network.create_bridge(places.bridge)
    with network.other_engines_rules_kept():
        _launch(places, configuration, *flags)


def _launch(places: _Places, configuration: Path, *flags: str) -> None:
    with places.log.open("wb") as log:
        # In a session of its own: Ctrl-C is for those who use it, and the last of them stops it.
        subprocess.run(
            ["setsid", "--fork", *_command(places, configuration), *flags],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
        )
    if not _wait(lambda: answers(places.url), _START_SECONDS, lambda: _died(places)):
        raise PartError(
            f"The private container engine (dockerd) did not start within {_START_SECONDS:.0f} s. "
            f"Its log, {places.log}, ends with:\n{_tail(places.log)}\n"
            "Mend that, or install and start an engine yourself and set DOCKER_HOST to it."
        )


def _command(places: _Places, configuration: Path) -> list[str]:
    return [
        program("dockerd"),
        *("--config-file", str(configuration)),
        *("--data-root", str(places.data)),
        *("--exec-root", str(places.run / "exec")),
        *("--pidfile", str(places.pidfile)),
        *("--host", places.url),
        *("--bridge", places.bridge),
        "--icc=false",  # containers must not see each other unless they ask for it
    ]


def _environment() -> dict[str, str]:
    path = os.pathsep.join(
        part for part in (os.environ.get("PATH", ""), "/usr/sbin", "/sbin") if part
    )
    return {**os.environ, "PATH": path}


def _died(places: _Places) -> bool:
    """Whether it started and ended again, so that waiting on is of no use."""
    return b"failed to start daemon" in places.log.read_bytes()


def _stop(places: _Places) -> None:
    """Stop the engine and leave nothing but its data: no process, mount, bridge or rule."""
    pid = _pid(places)
    if pid is not None:
        say("stopping the private container engine")
        with contextlib.suppress(DockerException, OSError):
            _empty(places.url)
        end(pid, _STOP_SECONDS)
    orphan = _containerd(places)
    if orphan is not None:  # dockerd was killed and could not take it along
        end(orphan, _STOP_SECONDS)
    _unmount(places.data, places.run)
    network.remove_bridge(places.bridge)
    shutil.rmtree(places.run, ignore_errors=True)


def _empty(url: str) -> None:
    """Containers, networks and unfinished builds were for this use only; images are kept."""
    with contextlib.closing(docker.DockerClient(base_url=url, timeout=20)) as client:
        for container in client.containers.list(all=True):
            container.remove(force=True, v=True)
        client.networks.prune()
        client.images.prune()


def end(pid: int, seconds: float, *, first: signal.Signals = signal.SIGTERM) -> None:
    """SIGTERM, and SIGKILL after `seconds`; returns when the process is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number, patience in ((first, seconds), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if select.select([handle], [], [], patience)[0]:
                return
    finally:
        os.close(handle)


def _pid(places: _Places) -> int | None:
    return _pid_in(places.pidfile, str(places.run))


def _containerd(places: _Places) -> int | None:
    return _pid_in(_containerd_pidfile(places), str(places.run))


def _containerd_pidfile(places: _Places) -> Path:
    return places.run / "exec" / "containerd" / "containerd.pid"


def _pid_in(pidfile: Path, argument: str) -> int | None:
    """The pid in the file, if that process lives and is ours: a number may have been reused."""
    try:
        pid = int(pidfile.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError):
        return None
    return pid if argument in command else None


def _unmount(*roots: Path) -> None:
    """Take away what a killed engine left mounted on these folders and below, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
    below = [point for point in points if any(point.is_relative_to(root) for root in roots)]
    for point in sorted(below, key=lambda point: len(point.parts), reverse=True):
        subprocess.run(["umount", "--lazy", str(point)], check=False, capture_output=True)


def _wait(ready: Callable[[], bool], seconds: float, hopeless: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not ready():
        if hopeless() or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


if __name__ == "__main__":  # exit code 0 when this machine has an engine that answers
    sys.exit(running_engine(os.environ) is None)
