"""Lock records: what an image was made from, and by what, so that it can be made once more."""

from __future__ import annotations

from enum import StrEnum

from pipelines.values import Value


class Level(StrEnum):
    """How far it is known that an image can be made again; each holds what those before hold."""

    RECORDED = "R0"
    """It is written down what it was made from."""
    PINNED = "R1"
    """Every image it was made from has a digest in a registry."""
    ALIKE = "R2"
    """A second build without cache had the same files; the bytes around them differed."""
    SAME = "R3"
    """A second build without cache gave the same digest, on the engine of the first."""
    SAME_ELSEWHERE = "R4"
    """A second build without cache gave the same digest, on another engine."""


LEVELS: dict[Level, str] = {
    Level.RECORDED: "what it was made from is recorded",
    Level.PINNED: "all it was made from is pinned by digest",
    Level.ALIKE: "built again with the same files, not the same digest",
    Level.SAME: "built again with the same digest",
    Level.SAME_ELSEWHERE: "built again on another engine with the same digest",
}
"""In words for people."""


class Base(Value):
    """An image that a build took something from."""

    name: str
    """As the Dockerfile has it."""
    image: str
    """The engine's id."""
    digest: str | None = None
    """`sha256:…` of its manifest in its registry; None: it is on the engine alone."""
    layers_from: str | None = None
    """Registry that its layers' compressed bytes are of; None: compressed here."""


class Lock(Value):
    """What an image was made from, and by what."""

    commit: str
    created: int
    """Seconds since 1970: the commit's own time."""
    dockerfile: str
    context: str
    target: str | None = None
    args: dict[str, str] = {}
    recipe_digest: str
    """Of the Dockerfile's text, the arguments and the target."""
    context_digest: str
    """Of the context as the builder got it, a tar."""
    bases: tuple[Base, ...] = ()
    base: str | None = None
    """Name of the one whose layers are the lowest; None: it starts from scratch."""
    platform: str
    """`linux/amd64`."""
    builder: str
    """`engine 28.5.2, classic`."""
    engine: str
    """The engine's own id and the folder it keeps images in."""
    normaliser: str
    """What wrote layers, configuration and manifest: our version and the compressor's."""
    layer_times: tuple[int, ...] = ()
    """Seconds since 1970 that the files of each added layer carry, the lowest layer first."""

    @property
    def level(self) -> Level:
        """How far it goes before anybody has built it again."""
        pinned = all(base.digest is not None for base in self.bases)
        return Level.PINNED if pinned else Level.RECORDED


class Exact(Value):
    """An image in its one form, which is what a registry gets."""

    digest: str
    """`sha256:…` of the manifest."""
    size: int
    """Bytes of the manifest."""
    image: str
    """The engine's id of the image as its builder left it, from which all can be made again."""
    lock: Lock
