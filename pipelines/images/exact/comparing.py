"""Which files two images have differently, and what differs about them."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple

from pipelines.images.exact.tars import Entry, arranged, content, entries
from pipelines.values import Value

_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "pipe",
}


class Difference(Value):
    """One place in which two images differ."""

    path: str
    """From the image's root; of the configuration, `configuration: config.Env`."""
    what: str
    """`only in the registry`, `content`, `mode 0644, now 0755`."""


class Held(NamedTuple):
    """An entry and the digest of its content."""

    entry: Entry
    digest: str


def held(layers: Iterable[IO[bytes]]) -> dict[bytes, Held]:
    """What layers hold, the lowest first: of several with one name the last counts.

    Raises:
        LayerError: One cannot be read.
    """
    found: dict[bytes, Held] = {}
    for file in layers:
        for entry in arranged(entries(file)):
            told = hashlib.sha256()
            for piece in content(file, entry):
                told.update(piece)
            digest = told.hexdigest()
            if entry.kind == tarfile.LNKTYPE and entry.link in found:
                digest = found[entry.link].digest
            found[entry.name] = Held(entry, digest)
    return found


def file_differences(
    before: Mapping[bytes, Held], now: Mapping[bytes, Held]
) -> Iterator[Difference]:
    """By path; times do not count, for they are ours."""
    for name in sorted(before.keys() | now.keys()):
        path = name.decode(errors="replace") or "."
        old, new = before.get(name), now.get(name)
        if new is None:
            yield Difference(path=path, what="only in the registry")
        elif old is None:
            yield Difference(path=path, what="only in the new build")
        elif what := ", ".join(_differing(old, new)):
            yield Difference(path=path, what=what)


def _differing(old: Held, new: Held) -> Iterator[str]:
    was, now = old.entry, new.entry
    if was.kind != now.kind:
        yield f"{_KINDS[was.kind]}, now {_KINDS[now.kind]}"
        return
    if old.digest != new.digest:
        sizes = "" if was.size == now.size else f" ({was.size} bytes, now {now.size})"
        yield f"content{sizes}"
    if was.mode != now.mode:
        yield f"mode {was.mode:04o}, now {now.mode:04o}"
    if (was.uid, was.gid) != (now.uid, now.gid):
        yield f"owner {was.uid}:{was.gid}, now {now.uid}:{now.gid}"
    if was.link != now.link:
        old_way, new_way = (each.link.decode(errors="replace") for each in (was, now))
        yield f"leads to {old_way}, now {new_way}"
    if was.device != now.device:
        yield "device number"
    if was.attributes != now.attributes:
        yield "extended attributes"


def config_differences(before: bytes, now: bytes) -> Iterator[Difference]:
    """By key; digests of layers are left out, for what they hold is told by file."""
    old, new = _flat(json.loads(before)), _flat(json.loads(now))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and not key.startswith("rootfs"):
            what = f"{_short(old.get(key))}, now {_short(new.get(key))}"
            yield Difference(path=f"configuration: {key}", what=what)


def _flat(value: Any, key: str = "") -> dict[str, Any]:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for name, inner in value.items():
            found |= _flat(inner, f"{key}.{name}" if key else str(name))
        return found
    if isinstance(value, list) and key == "history":
        return {f"{key}[{number}]": inner for number, inner in enumerate(value)}
    return {key: value}


def _short(value: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 200 else text[:199] + "…"  # noqa: PLR2004 - a line or two
