"""gzip whose bytes depend on nothing but what is compressed.

zlib's output differs from one build to the next (distributions put zlib-ng or a vendor's own in its
place), ISA-L's from one processor to the next. libdeflate's is the same on every processor for one
version of it, the version is pinned with all our dependencies, and it is some four times as fast.
It compresses whole buffers, so a layer is a row of gzip members, which every reader takes as one
stream (https://www.rfc-editor.org/rfc/rfc1952#page-5).
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import deflate

LEVEL = 4
_GZIP = b"\x1f\x8b"
_MEMBER_BITS = 31  # one gzip member
MEMBER = 2**20
"""Bytes compressed at once; another number gives other bytes."""


def compressor() -> str:
    """What compresses here: `deflate 0.9.0, level 4`."""
    return f"deflate {version('deflate')}, level {LEVEL}"


def compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces as one gzip stream, without a name and without a time.

    How the input is cut into pieces has no influence on the bytes.
    """
    waiting = bytearray()
    begun = False
    for piece in pieces:
        waiting += piece
        while len(waiting) >= MEMBER:
            yield bytes(deflate.gzip_compress(waiting[:MEMBER], LEVEL))
            del waiting[:MEMBER]
            begun = True
    if waiting or not begun:
        yield bytes(deflate.gzip_compress(bytes(waiting), LEVEL))


def decompressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What one or more gzip members hold; what is not compressed is handed on as it is.

    Raises:
        zlib.error: It is damaged.
    """
    left = iter(pieces)
    first = next(left, b"")
    if not first.startswith(_GZIP):
        yield first
        yield from left
        return
    inflate = zlib.decompressobj(wbits=_MEMBER_BITS)
    for each in itertools.chain((first,), left):
        piece = each
        while piece:
            yield inflate.decompress(piece)
            piece = inflate.unused_data
            if inflate.eof:
                inflate = zlib.decompressobj(wbits=_MEMBER_BITS)
