"""Which runs at home are alive: each holds a lock on a file, and a process that dies lets go.

So the next run knows what a killed one has left on the engine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

_SUFFIX = ".run"
_ID = "id"
HOME = "local-"
"""How the names of all that run at home begin on an engine."""


class Marks:
    """The marks of one person's runs on one machine."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or _usual()

    @property
    def server(self) -> str:
        """A name for all these runs on an engine, which others may use too."""
        path = self._folder / _ID
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(4))
        return f"{HOME}{path.read_text() or 'x'}"

    @contextlib.contextmanager
    def alive(self) -> Iterator[str]:
        """A name for a run that counts as alive for as long as the context is open."""
        name = f"{os.getpid()}-{secrets.token_hex(3)}"
        path = self._folder / f"{name}{_SUFFIX}"
        with (self._folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Nobody may find it before it is locked.
            (self._folder / name).rename(path)
            try:
                yield name
            finally:
                path.unlink(missing_ok=True)

    def dead(self) -> list[str]:
        """The names of runs that ended without a word."""
        found = self._folder.glob(f"*{_SUFFIX}")
        return [path.stem for path in found if not _is_held(path)]

    def forget(self, name: str) -> None:
        """Nothing of a dead run is left."""
        (self._folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _usual() -> Path:
    """A folder that is the person's own."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or cache).expanduser() / "lading"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="lading-"))  # then nobody learns of our end, either
    return folder
