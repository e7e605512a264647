"""A machine with a container engine of its own, whose power may be cut."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import docker

from scripts.parts.engine import _check_can_start, _places, _start, _stop
from tests.doubles.base import wait_until


class Machine:
    """What matters here of one: the engine, what runs on it, and `/run`, which a boot empties.

    Args:
        state: Where the engine keeps its images and containers, as on a disk.
    """

    def __init__(self, state: Path) -> None:
        self._places = _places(state)
        self.url = self._places.url

    def boot(self) -> None:
        """Start the engine, as the machine's start does."""
        _start(self._places)

    def cut_power(self) -> None:
        """End everything at once: nobody is told, and nobody sees the end of anybody else."""
        with contextlib.closing(docker.APIClient(self.url, version="auto")) as engine:
            steps = [
                engine.inspect_container(one["Id"])["State"]["Pid"] for one in engine.containers()
            ]
        # Engine, containerd and shims name this folder in their command lines; nobody else does.
        for pid in [*self._engine(), *steps]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        gone = [Path(f"/proc/{pid}/root/") for pid in steps]
        wait_until(lambda: not self._engine(), "the engine is gone", 10)
        wait_until(lambda: not any(path.exists() for path in gone), "the steps are gone", 10)
        _stop(self._places)

    def close(self) -> None:
        """Leave nothing but the engine's data."""
        _stop(self._places)

    def _engine(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if os.fsencode(self._places.run) in path.read_bytes():
                    found.append(int(path.parent.name))
        return found


@contextlib.contextmanager
def machine(state: Path) -> Iterator[Machine]:
    """One that has booted, until the block ends."""
    _check_can_start()
    made = Machine(state)
    made.close()  # what a test that was killed left
    made.boot()
    try:
        yield made
    finally:
        made.close()
