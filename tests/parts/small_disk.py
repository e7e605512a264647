"""A real small disk, to be filled: a file system in memory, mounted for as long as a test."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted file system of a few MiB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    @property
    def free(self) -> int:
        """Bytes that can be written."""
        figures = os.statvfs(self.path)
        return figures.f_bavail * figures.f_frsize

    def fill(self, *, leave: int = 0) -> None:
        """Fill it, but for some bytes; what others write meanwhile takes room, too."""
        with self._ballast.open("ab") as file:
            while (more := self.free - leave) > 0:
                with contextlib.suppress(OSError):
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, more)

    def make_room(self) -> None:
        """Take away what filled it."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path, *, size: int) -> Iterator[SmallDisk]:
    """Mount one of so many bytes at a folder, which is made; unmounted whatever happens."""
    if os.geteuid() != 0:
        pytest.fail("only root may mount the small disk that this test fills", pytrace=False)
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={size},mode=0777", "lading-test", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: what a failed test has left open must not keep it mounted.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
