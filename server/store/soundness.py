"""Whether a SQLite file may be trusted: how the server ended last, where it lies, which SQLite."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import structlog

from pipelines.problems import LadingError

log = structlog.get_logger(__name__)

MARKER = "running"
"""A file in the data folder; it is there while a server runs, and after one that was killed."""
MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    {
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
    }
)
"""File systems on which several machines, each with a page cache of its own, see one file."""


class DatabaseDamagedError(LadingError):
    """The database's own check found damage."""


class NetworkFileSystemError(LadingError):
    """The database lies where its write-ahead log cannot work."""


@contextlib.contextmanager
def watched(database: Path, data: Path) -> Iterator[None]:
    """Mark that a server runs; where an earlier one left its mark, check the database first.

    Raises:
        DatabaseDamagedError: The check found damage; the mark stays.
    """
    marker = data / MARKER
    refuse_damaged(database, quick=True)
    if marker.exists():
        log.info("the last stop was not a clean one: the database is checked first")
        refuse_damaged(database)
    with marker.open("w") as file:
        file.write(f"{os.getpid()}\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(data)
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def stopped_uncleanly(data: Path) -> bool:
    """Whether a server was here and did not stop by itself; to be asked before `watched`."""
    return (data / MARKER).exists()


def refuse_damaged(database: Path, *, quick: bool = False) -> None:
    """Check a database that is there; `quick` looks at its head alone.

    Raises:
        DatabaseDamagedError: The check found damage.
    """
    if not database.exists():
        return
    found = _unreadable(database) if quick else damage(database)
    if found:
        raise damaged(database, found)


def damaged(database: Path, found: str) -> DatabaseDamagedError:
    """The sentence for a database in which damage was found."""
    return DatabaseDamagedError(
        f"the database {database} is damaged ({found}), and Lading does not work with it: stop the "
        "server, put a backup in its place with `lading restore FILE`, and start it again; the "
        "damaged file is kept then"
    )


def tells_of_damage(error: BaseException | None) -> bool:
    """Whether SQLite's error means that the file itself is damaged, or no database."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def damage(database: Path) -> str:
    """What SQLite's own check finds wrong with a file; empty when all is well.

    It reads every page, but does not hold indexes against their tables
    (https://www.sqlite.org/pragma.html#pragma_quick_check).
    """
    try:
        with contextlib.closing(sqlite3.connect(database)) as conn:
            found = str(conn.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else found.replace("\n", ": ")


def _unreadable(database: Path) -> str:
    try:
        with contextlib.closing(sqlite3.connect(database)) as conn:
            conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return ""  # locked, or not ours to read: opening it for good tells more
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_network(database: Path, mounts: Path = MOUNTS) -> None:
    """Refuse a database on a network file system: a write-ahead log needs shared memory.

    See https://www.sqlite.org/wal.html: "WAL does not work over a network filesystem".

    Raises:
        NetworkFileSystemError: With the kind of file system.
    """
    if not mounts.exists():
        return
    kind = file_system(database.absolute().parent, mounts.read_text(errors="replace"))
    if kind in NETWORK:
        raise NetworkFileSystemError(
            f"the database {database} would lie on a network file system ({kind}), on which SQLite "
            "damages it: set `server.data`, or `database.url` alone, to a disk of this machine"
        )


def file_system(path: Path, mountinfo: str) -> str:
    """The kind of file system that holds a path.

    Args:
        path: An absolute path; it need not exist yet.
        mountinfo: As in `proc_pid_mountinfo(5)`; of two mounts at one point the later counts.
    """
    resolved = path.resolve()
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:  # noqa: PLR2004 - the mount point is the fifth
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4]))
        depth = len(point.parts)
        if depth >= best and resolved.is_relative_to(point):
            best, kind = depth, after.split(" ")[0]
    return kind


def has_wal_reset_bug(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether a SQLite may damage a database when two connections write and checkpoint at once.

    From 3.7.0 through 3.51.2, but for 3.44.6 and 3.50.7, which have the mended code
    (https://www.sqlite.org/wal.html#walresetbug). Here one connection of the server does all
    checkpoints and nearly all writes, see `database.py`.
    """
    mended_lines = {(3, 44): 6, (3, 50): 7}
    patch = mended_lines.get((version[0], version[1]))
    if patch is not None and version[2] >= patch:
        return False
    return (3, 7, 0) <= version < (3, 51, 3)
