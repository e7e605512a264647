"""What an engine hands out of an image: its configuration, and those layers that are wanted.

The stream is that of `docker save`. Engines write it in three ways (folders named by ids of their
own, blobs named by digest, blobs compressed), so a layer is known by the digest of its content and
nothing else. Only wanted layers reach the disk for longer than it takes to look at one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import IO, Any, NamedTuple

from pipelines.images.exact.compression import decompressed
from pipelines.images.exact.shelf import Shelf
from pipelines.images.exact.tars import PIECE, LayerError
from pipelines.tarstream import as_file

_MOST_JSON = 4 * 2**20
_INDEX = "manifest.json"


class Exported:
    """An image that was read: lives as long as the block that made it."""

    def __init__(self) -> None:
        self.layers: dict[str, IO[bytes]] = {}
        """The wanted layers as tars, by the digest of each."""
        self.passed: dict[str, str] = {}
        """Names that the stream gave to layers, with their digests."""
        self._texts: dict[str, bytes] = {}

    @property
    def config(self) -> dict[str, Any]:
        """The image's configuration as the engine has it.

        Raises:
            LayerError: The stream held none.
        """
        try:
            (image,) = json.loads(self._texts[_INDEX])
            found = json.loads(self._texts[image["Config"]])
        except (KeyError, ValueError, TypeError) as error:
            raise LayerError("the engine's copy of the image has no configuration") from error
        if not isinstance(found, dict):
            raise LayerError("the engine's copy of the image has no configuration")
        return found

    def take_text(self, name: str, data: bytes) -> None:
        """Keep something small that is no layer."""
        self._texts[name] = data


@contextlib.contextmanager
def exported(
    stream: Iterable[bytes],
    shelf: Shelf,
    *,
    wanted: Collection[str],
    unwanted: Callable[[str], bool] = lambda _: False,
) -> Iterator[Exported]:
    """Read an engine's copy of an image. Blocking.

    Args:
        stream: The archive, as the engine sends it.
        shelf: Has room for the layers meanwhile.
        wanted: Digests of layers.
        unwanted: Whether what has this name in the stream is known to be no wanted layer.

    Raises:
        LayerError: A wanted layer is not in it, or it cannot be read.
    """
    found = Exported()
    with contextlib.ExitStack() as held:
        try:
            with tarfile.open(fileobj=as_file(stream), mode="r|") as archive:
                for entry in archive:
                    content = archive.extractfile(entry) if entry.isreg() else None
                    if content is not None and not unwanted(entry.name):
                        _take(found, entry, content, _Place(shelf, wanted, held))
        except (tarfile.TarError, zlib.error) as error:
            message = f"the engine's copy of the image cannot be read: {error}"
            raise LayerError(message) from error
        missing = set(wanted) - found.layers.keys()
        if missing:
            raise LayerError(f"the engine's copy of the image lacks layer {min(missing)}")
        yield found


class _Place(NamedTuple):
    """Where layers go."""

    shelf: Shelf
    wanted: Collection[str]
    held: contextlib.ExitStack


def _take(
    found: Exported,
    entry: tarfile.TarInfo,
    content: IO[bytes],
    place: _Place,
) -> None:
    if entry.name.endswith((".json", "/json", "VERSION")) or entry.name == "repositories":
        if entry.size <= _MOST_JSON:
            found.take_text(entry.name, content.read())
        return
    with contextlib.ExitStack() as own:
        file = own.enter_context(place.shelf.scratch())
        told = hashlib.sha256()
        for piece in decompressed(iter(lambda: content.read(PIECE), b"")):
            told.update(piece)
            file.write(piece)
        digest = f"sha256:{told.hexdigest()}"
        found.passed[entry.name] = digest
        if digest in place.wanted and digest not in found.layers:
            found.layers[digest] = file
            place.held.push(own.pop_all())
        elif file.tell() <= _MOST_JSON:
            file.seek(0)
            if (text := file.read()).startswith((b"{", b"[")):
                found.take_text(entry.name, text)
