"""The machine that figures were taken on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import Any

import docker

from scripts.parts.errors import PartError

BUSY = 0.5
"""Load of the last minute above which figures mean little."""


def describe(client: docker.DockerClient) -> dict[str, Any]:
    """What to state beside figures; `memory` in GB, `load` of the last minute."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    version = client.version()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": round(memory / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "engine": f"{version.get('Version')}",
        "load": round(os.getloadavg()[0], 2),
    }


def headline(machine: dict[str, Any]) -> str:
    """The machine in one line."""
    return (
        f"Measured on {machine['date']}: {machine['cores']} cores, {machine['memory']} GB, "
        f"{machine['system']}, Python {machine['python']}, engine {machine['engine']}; "
        f"load before: {machine['load']}"
    )


def two_cores() -> tuple[int, int]:
    """A core for the server and another for whoever loads it.

    Raises:
        PartError: There is only one.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        message = "this row needs two processor cores, one for the server and one for its clients"
        raise PartError(message)
    return cores[0], cores[1]
