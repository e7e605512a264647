"""What an image is made of: the manifests and blobs that must be there for a pull to work."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from pipelines.values import Value

DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
MOST_PARTS = 2000
"""Parts of one image; a manifest of the 4 MiB that registries take could name 20,000."""
# What names no bytes of the registry's own: layers that Windows pulls from elsewhere.
_FOREIGN = ("foreign", "nondistributable")


class PartKind(StrEnum):
    """What a part of an image is."""

    MANIFEST = "manifest"
    CONFIG = "configuration"
    LAYER = "layer"


class Part(Value):
    """A manifest or a blob of an image, by its digest."""

    kind: PartKind
    digest: str
    size: int
    """Bytes, as the manifest above it says."""

    def __str__(self) -> str:
        """As it stands in a sentence: `layer sha256:…`."""
        return f"{self.kind} {self.digest}"


class UnreadableError(ValueError):
    """A manifest that is none; the message says why."""


def read_parts(body: bytes) -> tuple[Part, ...]:
    """The parts that a manifest or an index itself names, each once.

    Raises:
        UnreadableError: It is no manifest, or names a part by no digest of SHA-256.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("it is no JSON") from error
    if not isinstance(told, dict):
        raise UnreadableError("it is no object")
    found = {part.digest: part for part in _parts(told)}
    if not found:
        raise UnreadableError("it names no part")
    if len(found) > MOST_PARTS:
        raise UnreadableError(f"it names more than {MOST_PARTS} parts")
    return tuple(found.values())


def _parts(told: dict[str, Any]) -> Iterator[Part]:
    for kind, key in (
        (PartKind.MANIFEST, "manifests"),
        (PartKind.LAYER, "layers"),
        (PartKind.LAYER, "blobs"),
    ):
        listed = told.get(key) or ()
        if not isinstance(listed, list | tuple):
            raise UnreadableError(f"its {key} are no list")
        for each in listed:
            if not _is_foreign(each):
                yield _part(kind, each)
    if told.get("config") is not None:
        yield _part(PartKind.CONFIG, told["config"])


def _part(kind: PartKind, told: object) -> Part:
    if not isinstance(told, dict):
        raise UnreadableError(f"a {kind} of it is no descriptor")
    digest, size = told.get("digest"), told.get("size")
    if not isinstance(digest, str) or DIGEST.fullmatch(digest) is None:
        raise UnreadableError(f"a {kind} of it has no digest of SHA-256")
    if not isinstance(size, int) or size < 0:
        raise UnreadableError(f"a {kind} of it has no size")
    return Part(kind=kind, digest=digest, size=size)


def _is_foreign(told: object) -> bool:
    kind = told.get("mediaType") if isinstance(told, dict) else None
    return isinstance(kind, str) and any(word in kind for word in _FOREIGN)
