"""Layers and configurations at hand, on disk: what would be made anew from the engine's image.

Everything here can be thrown away at any time. A layer that the registry has already need not be
read again from the engine; one that it has not is kept until room is wanted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from pydantic import ValidationError

from pipelines.images.exact.configuration import LAYER, Blob, Layer
from pipelines.values import Value

ROOM = 4 * 2**30
"""Bytes of layers that are kept."""
RECORDS = 20_000
"""Notes that are kept; each is a file of some hundred bytes."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

V = TypeVar("V", bound=Value)
Compress = Callable[[Iterable[bytes]], Iterator[bytes]]


class Shelf:
    """A folder of ours alone; several processes may use it at once. Blocking.

    Args:
        folder: Made where it is missing.
        room: Bytes of layers to keep.
    """

    def __init__(self, folder: Path, *, room: int = ROOM) -> None:
        self._folder = folder
        self._room = room

    def note(self, kind: str, key: str, value: Value) -> None:
        """Remember something about what has that key, if there is room."""
        place = self._note(kind, key)
        with contextlib.suppress(OSError):
            with self._written(place.parent) as (file, name):
                file.write(value.model_dump_json().encode())
            name.replace(place)

    def noted(self, kind: str, key: str, model: type[V]) -> V | None:
        """What was remembered of it."""
        try:
            text = self._note(kind, key).read_bytes()
            return model.model_validate_json(text)
        except (OSError, ValidationError):
            return None

    @contextlib.contextmanager
    def scratch(self) -> Iterator[IO[bytes]]:
        """A file that is gone behind the block."""
        place = self._made("blobs")
        with tempfile.TemporaryFile(dir=place) as file:
            yield file

    def put_layer(self, tar: Iterable[bytes], compress: Compress) -> Layer:
        """Keep a layer under its digest.

        Args:
            tar: The layer, not compressed.
            compress: What it is compressed by.
        """
        place = self._made("blobs")
        inside, outside = hashlib.sha256(), hashlib.sha256()
        size = 0

        def counted() -> Iterator[bytes]:
            for each in tar:
                inside.update(each)
                yield each

        with self._written(place) as (file, name):
            for piece in compress(counted()):
                outside.update(piece)
                size += len(piece)
                file.write(piece)
        digest = f"sha256:{outside.hexdigest()}"
        name.replace(self._blob(digest))
        self._make_room(place)
        blob = Blob(media_type=LAYER, digest=digest, size=size)
        return Layer(blob=blob, diff_id=f"sha256:{inside.hexdigest()}")

    def blob(self, digest: str) -> IO[bytes] | None:
        """A layer's bytes as the registry gets them; None: it is not here."""
        try:
            file = self._blob(digest).open("rb")
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(file.fileno())
        return file

    @contextlib.contextmanager
    def _written(self, folder: Path) -> Iterator[tuple[IO[bytes], Path]]:
        folder.mkdir(parents=True, exist_ok=True)
        number, made = tempfile.mkstemp(prefix=".new-", dir=folder)
        name = Path(made)
        try:
            with os.fdopen(number, "wb") as file:
                yield file, name
        except BaseException:
            _unlink(name)
            raise

    def _make_room(self, place: Path) -> None:
        """Throw away what nobody has asked for the longest."""
        found = _by_age(place)
        size = sum(each[1] for each in found)
        for _, less, path in found[:-1]:
            if size <= self._room:
                break
            _unlink(path)
            size -= less
        for kind in self._folder.iterdir():
            if kind != place and len(notes := _by_age(kind)) > RECORDS:
                for _, _, path in notes[: RECORDS // 2]:
                    _unlink(path)

    def _blob(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest[:80]!r} is no digest")
        return self._folder / "blobs" / digest.replace(":", "-")

    def _note(self, kind: str, key: str) -> Path:
        return self._folder / kind / hashlib.sha256(key.encode()).hexdigest()

    def _made(self, name: str) -> Path:
        place = self._folder / name
        place.mkdir(parents=True, exist_ok=True)
        return place


def _by_age(folder: Path) -> list[tuple[float, int, Path]]:
    """Files with their time and size, the oldest first."""
    found = []
    for each in folder.iterdir():
        with contextlib.suppress(OSError):
            told = each.stat()
            found.append((told.st_mtime, told.st_size, each))
    return sorted(found)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
