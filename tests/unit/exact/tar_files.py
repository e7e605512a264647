"""Layers made by hand, by a writer that is not ours."""

from __future__ import annotations

import io
import tarfile
from typing import IO, NamedTuple


class Thing(NamedTuple):
    """One entry."""

    name: str
    kind: bytes = tarfile.REGTYPE
    data: bytes = b""
    link: str = ""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    device: tuple[int, int] = (0, 0)
    mtime: float = 1_700_000_000.25
    attributes: dict[str, bytes] = {}


def layer(*things: Thing, form: int = tarfile.PAX_FORMAT) -> IO[bytes]:
    """A layer as `tarfile` writes it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for thing in things:
            entry = tarfile.TarInfo(thing.name)
            entry.type, entry.size, entry.linkname = thing.kind, len(thing.data), thing.link
            entry.mode, entry.mtime = thing.mode, thing.mtime
            entry.uid, entry.gid = thing.owner
            entry.devmajor, entry.devminor = thing.device
            entry.uname, entry.gname = "builder", "staff"
            entry.pax_headers = {
                f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
                for name, value in thing.attributes.items()
            }
            archive.addfile(entry, io.BytesIO(thing.data))
    return file


def read(data: bytes) -> list[tarfile.TarInfo]:
    """What a layer holds, as `tarfile` reads it."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()
