"""Layers of an image as tar archives: any writer's read, ours written, and nothing left to chance.

The writer is ours and not `tarfile`'s, whose bytes differ from one Python to the next: POSIX pax,
extended headers only where a field does not fit or an extended attribute stands, records sorted.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple, cast

from pipelines.problems import LadingError

BLOCK = tarfile.BLOCKSIZE
PIECE = 256 * 1024
"""Bytes read at once."""
END = bytes(2 * BLOCK)
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"

_XATTR = "SCHILY.xattr."
_LARGEST = 8**11 - 1
_LARGEST_ID = 8**7 - 1
_NAME_FIELD = 100
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_KINDS = frozenset(
    {*_LINKS, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE}
)
Key = tuple[tuple[int, bytes], ...]
"""Sorts folders before what is in them, and whiteouts before what stands beside them."""


class LayerError(LadingError):
    """A layer cannot be read; the message says what is in the way."""


class Entry(NamedTuple):
    """One thing in a layer, and where its content stands in the file read."""

    name: bytes
    """Without slashes at its ends; the root is empty."""
    kind: bytes
    """tar's letter."""
    mode: int
    uid: int
    gid: int
    size: int
    link: bytes
    device: tuple[int, int]
    attributes: tuple[tuple[bytes, bytes], ...]
    """Extended attributes, capabilities among them, sorted."""
    parts: tuple[tuple[int, int, int], ...]
    """Where content is: place in the content, place in the file, bytes. Between are holes."""


def entries(file: IO[bytes]) -> Iterator[Entry]:
    """What a layer holds, in its own order. The file must be seekable.

    Raises:
        LayerError: It is no tar, is cut off, or holds what no layer may.
    """
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive:
            while (found := archive.next()) is not None:
                yield _entry(found)
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep every one
    except (tarfile.TarError, OSError, ValueError) as error:
        raise LayerError(f"a layer of the image cannot be read: {error}") from error


def _entry(found: tarfile.TarInfo) -> Entry:
    kind = tarfile.REGTYPE if found.isreg() else found.type
    name = _bytes(found.name).strip(b"/")
    while name.startswith(b"./"):
        name = name[2:].lstrip(b"/")
    name = b"" if name == b"." else name
    if kind not in _KINDS or b".." in name.split(b"/"):
        raise LayerError(f"a layer of the image holds {found.name!r}, which no layer may")
    regular = kind == tarfile.REGTYPE
    return Entry(
        name=name,
        kind=kind,
        mode=found.mode & 0o7777,
        uid=found.uid,
        gid=found.gid,
        size=found.size if regular else 0,
        link=_bytes(found.linkname) if kind in _LINKS else b"",
        device=(found.devmajor, found.devminor)
        if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE)
        else (0, 0),
        attributes=tuple(
            sorted(
                (_bytes(key), _bytes(value))
                for key, value in found.pax_headers.items()
                if key.startswith(_XATTR)
            )
        ),
        parts=_parts(found) if regular else (),
    )


def _parts(found: tarfile.TarInfo) -> tuple[tuple[int, int, int], ...]:
    sparse = cast("list[tuple[int, int]] | None", found.sparse)  # typeshed takes it for bytes
    if sparse is None:
        return ((0, found.offset_data, found.size),) if found.size else ()
    at, parts = found.offset_data, []
    for place, size in sparse:
        if size:
            parts.append((place, at, size))
        at += size
    return tuple(parts)


def content(file: IO[bytes], entry: Entry) -> Iterator[bytes]:
    """A file's bytes, holes filled with zeros.

    Raises:
        LayerError: The file ends too soon.
    """
    done = 0
    for place, at, size in entry.parts:
        yield from _zeros(place - done)
        file.seek(at)
        left = size
        while left:
            data = file.read(min(left, PIECE))
            if not data:
                raise LayerError("a layer of the image ends too soon")
            left -= len(data)
            yield data
        done = place + size
    yield from _zeros(entry.size - done)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, PIECE))
        count -= PIECE


def key(name: bytes) -> Key:
    """For sorting names of entries."""
    return tuple((_rank(part), part) for part in name.split(b"/")) if name else ()


def _rank(part: bytes) -> int:
    if part == OPAQUE:
        return 0
    return 1 if part.startswith(WHITEOUT) else 2


def arranged(found: Iterable[Entry]) -> list[Entry]:
    """Entries in canonical order.

    Of several with one name the last counts, as it does for who extracts them. Of files that are
    one file the first by name has the content, and the others are links to it, whichever the
    writer met first.
    """
    named = {entry.name: entry for entry in found}
    families: dict[bytes, list[bytes]] = {}
    for name, entry in named.items():
        if entry.kind == tarfile.LNKTYPE:
            families.setdefault(_root(named, name), []).append(name)
    for root, links in families.items():
        original = named.get(root)
        if original is None:  # it is in a layer below
            continue
        first = min([root, *links], key=key)
        for name in (root, *links):
            named[name] = original._replace(name=name, kind=tarfile.LNKTYPE, link=first, size=0)
            named[name] = named[name]._replace(parts=())
        named[first] = original._replace(name=first)
    return sorted(named.values(), key=lambda entry: key(entry.name))


def _root(named: dict[bytes, Entry], name: bytes) -> bytes:
    """Where a chain of hard links begins."""
    seen = set()
    while name not in seen and name in named and named[name].kind == tarfile.LNKTYPE:
        seen.add(name)
        name = _clean(named[name].link)
    return name


def _clean(link: bytes) -> bytes:
    link = link.strip(b"/")
    while link.startswith(b"./"):
        link = link[2:].lstrip(b"/")
    return link


def normalised(file: IO[bytes], *, time: int) -> Iterator[bytes]:
    """The layer in its one form: `normalised` of what it gives is the same bytes again.

    Args:
        file: A layer as a tar, seekable.
        time: Seconds since 1970 that every entry gets.

    Raises:
        LayerError: It cannot be read.
    """
    for entry in arranged(entries(file)):
        yield header(entry, time=time)
        yield from content(file, entry)
        yield bytes(-entry.size % BLOCK)
    yield END


def header(entry: Entry, *, time: int) -> bytes:
    """The blocks in front of an entry's content."""
    name = entry.name + b"/" if entry.kind == tarfile.DIRTYPE else entry.name
    name = name if entry.name else b"./"
    records = dict(entry.attributes)
    texts = ((b"path", name), (b"linkpath", entry.link))
    records |= {f: text for f, text in texts if len(text) > _NAME_FIELD or not text.isascii()}
    for field, number, largest in (
        (b"uid", entry.uid, _LARGEST_ID),
        (b"gid", entry.gid, _LARGEST_ID),
        (b"size", entry.size, _LARGEST),
        (b"mtime", time, _LARGEST),
    ):
        if not 0 <= number <= largest:
            records[field] = b"%d" % number
    return _extended(records) + _block(entry, name, time)


def _extended(records: dict[bytes, bytes]) -> bytes:
    if not records:
        return b""
    text = b"".join(_record(name, value) for name, value in sorted(records.items()))
    head = _fields(b"PaxHeader", b"x", mode=0o644, size=len(text))
    return head + text + bytes(-len(text) % BLOCK)


def _record(name: bytes, value: bytes) -> bytes:
    """`<length> <name>=<value>` and a line's end, where the length counts its own digits too."""
    rest = len(name) + len(value) + 3
    length = rest + len(b"%d" % rest)
    length = rest + len(b"%d" % length)
    return b"%d %s=%s\n" % (length, name, value)


def _block(entry: Entry, name: bytes, time: int) -> bytes:
    return _fields(
        name,
        entry.kind,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        time=time,
        link=entry.link,
        device=entry.device,
    )


def _fields(
    name: bytes,
    kind: bytes,
    *,
    mode: int,
    size: int,
    uid: int = 0,
    gid: int = 0,
    time: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    # https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06
    block = b"".join(
        (
            _text(name, _NAME_FIELD),
            _octal(mode, 7),
            _octal(uid, 7),
            _octal(gid, 7),
            _octal(size, 11),
            _octal(time, 11),
            b" " * 8,
            kind,
            _text(link, _NAME_FIELD),
            b"ustar\x0000",
            bytes(64),
            _octal(device[0], 7),
            _octal(device[1], 7),
            bytes(155 + 12),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _text(text: bytes, room: int) -> bytes:
    """A field of text; what does not fit stands in the extended header."""
    return text[:room].ljust(room, b"\0")


def _octal(number: int, digits: int) -> bytes:
    return b"%0*o\0" % (digits, number if 0 <= number < 8**digits else 0)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def content_of(file: IO[bytes]) -> Iterator[bytes]:
    """A whole file from its start."""
    file.seek(0)
    while data := file.read(PIECE):
        yield data
