"""Why a real part cannot be had, and what to do about it."""

from __future__ import annotations

import shutil
import sys

PACKAGES = {
    "busybox": "busybox-static",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "git": "git",
    "htpasswd": "apache2-utils",
    "iptables": "iptables",
    "ldd": "libc-bin",
    "wrk": "wrk",
}
"""Program to the package of Debian and Ubuntu that brings it."""

SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where system programs are, even when the person's own path leaves `sbin` out."""


class PartError(Exception):
    """A real part cannot be had; the message says which, why, and what to do next."""


def program(name: str) -> str:
    """Path of a system program.

    Raises:
        PartError: with the package to install, when it is not on this machine.
    """
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_FOLDERS)
    if found is None:
        raise PartError(
            f"`{name}` is not on this machine. Run `scripts/system` as root, or install it "
            f"yourself: `apt-get install --no-install-recommends {PACKAGES[name]}`."
        )
    return found


def say(text: str) -> None:
    """Tell the person what is started, on standard error."""
    print(f"lading: {text}", file=sys.stderr, flush=True)
