"""From the image that a builder left on the engine to the one that a registry gets."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipelines.engine.client import PIECE
from pipelines.images.exact import NORMALISER
from pipelines.images.exact.compression import compressed, compressor
from pipelines.images.exact.configuration import Blob, Layer, configuration, digest_of, manifest
from pipelines.images.exact.exporting import Exported, exported
from pipelines.images.exact.shelf import Shelf
from pipelines.images.exact.tars import LayerError, content_of, normalised
from pipelines.images.session import ImageSession
from pipelines.problems import LadingError
from pipelines.values import Value

Times = Callable[[Mapping[str, Any]], Sequence[int]]
"""The time of each added layer, by the engine's configuration of the image."""


class NotExactError(LadingError):
    """The image cannot be brought into its one form; the message says why."""


class Image(Value):
    """What the engine has."""

    image: str
    """Its id."""
    diff_ids: tuple[str, ...]
    below: int
    """How many of them are the base's."""
    base_layers: tuple[Layer, ...] | None = None
    """As the base's registry has them; None: they are compressed here."""


class Made(Value):
    """An image in its one form."""

    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]
    times: tuple[int, ...]

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return digest_of(self.manifest)


class _Text(Value):
    """A text that was noted."""

    text: str


def normaliser() -> str:
    """What writes layers, configurations and manifests here."""
    return f"{NORMALISER}, {compressor()}"


async def make(
    session: ImageSession,
    shelf: Shelf,
    image: Image,
    *,
    times: Times,
    created: int,
    labels: Mapping[str, str],
) -> Made:
    """Bring an image into its one form; layers that were seen before are not read again.

    Raises:
        NotExactError: It cannot be.
        StoppedError: The step was asked to stop.
        ExecutorUnavailableError: The engine is gone.
    """
    known = await session.ask(lambda: _noted(shelf, image, times))
    told, found = known or await _read(session, shelf, image, times)
    layers = (*(image.base_layers or ()), *found[0])
    config = configuration(
        told, created=created, labels=labels, diff_ids=[each.diff_id for each in layers]
    )
    blobs = [each.blob for each in layers]
    return Made(
        manifest=manifest(config, blobs, labels), config=config, layers=layers, times=found[1]
    )


async def layer_again(
    session: ImageSession, shelf: Shelf, image: Image, made: Made, blob: Blob
) -> None:
    """Put a layer of ours back on the shelf that was thrown away meanwhile.

    Raises:
        NotExactError: It came out otherwise.
    """
    await _read(session, shelf, image, lambda _: made.times, anew=True)
    file = shelf.blob(blob.digest)
    if file is None:
        raise NotExactError(f"layer {blob.digest} came out otherwise the second time: run again")
    file.close()


Layers = tuple[tuple[Layer, ...], tuple[int, ...]]


def _noted(shelf: Shelf, image: Image, times: Times) -> tuple[dict[str, Any], Layers] | None:
    """The engine's configuration and the layers that are ours, if all were seen before."""
    noted = shelf.noted("configs", image.image, _Text)
    if noted is None:
        return None
    told: dict[str, Any] = json.loads(noted.text)
    all_times = tuple(times(told))
    keys = [_key(diff_id, time) for diff_id, time in _ours(image, all_times)]
    found = [shelf.noted("layers", key, Layer) for key in keys]
    whole = tuple(each for each in found if each is not None)
    return (told, (whole, all_times)) if len(whole) == len(keys) else None


def _ours(image: Image, times: Sequence[int]) -> Iterator[tuple[str, int | None]]:
    """The layers that are compressed here, each with its time; a base's keep their own."""
    if image.base_layers is None:
        yield from ((each, None) for each in image.diff_ids[: image.below])
    yield from zip(image.diff_ids[image.below :], times, strict=True)


def _key(diff_id: str, time: int | None) -> str:
    return f"{diff_id} {'as it is' if time is None else time} {normaliser()}"


async def _read(
    session: ImageSession, shelf: Shelf, image: Image, times: Times, *, anew: bool = False
) -> tuple[dict[str, Any], Layers]:
    """Read the image from the engine, with the layers that are not known yet."""
    found: list[tuple[dict[str, Any], Layers]] = []

    def read() -> list[str]:
        client = session.engine.streams
        stream = client.get_image(image.image, chunk_size=PIECE)
        wanted = _wanted(shelf, image, anew=anew)
        unwanted = _unwanted(shelf, image, wanted)
        with (
            session.interruption.reading(client.opened()),
            _room(),
            exported(stream, shelf, wanted=wanted, unwanted=unwanted) as told,
        ):
            found.append(_kept(shelf, image, told, times, session.interruption.check))
        return []

    try:
        refused = await session.stream(read)
    except LayerError as error:
        session.interruption.check()
        raise NotExactError(str(error)) from error
    if refused or not found:
        raise NotExactError(f"the engine does not hand out the image: {''.join(refused)}")
    return found[0]


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """A full disk of ours is no fault of the engine's."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = "no room is left for layers in the data folder: free some, and run again"
            raise LayerError(message) from error
        raise


def _wanted(shelf: Shelf, image: Image, *, anew: bool) -> set[str]:
    """Layers to read: those that are added, whose times are not known yet, and a base's if new."""
    wanted = set(image.diff_ids[image.below :])
    if image.base_layers is None:
        below = image.diff_ids[: image.below]
        wanted |= {
            each for each in below if anew or shelf.noted("layers", _key(each, None), Layer) is None
        }
    return wanted


def _unwanted(shelf: Shelf, image: Image, wanted: set[str]) -> Callable[[str], bool]:
    """Tells what need not be read of the engine's stream, which is mostly the base."""
    others = {f"blobs/{each.replace(':', '/')}" for each in image.diff_ids if each not in wanted}

    def known(name: str) -> bool:
        # An engine's own name of a layer follows from its content and from what is below it.
        noted = shelf.noted("names", name, _Text) if name.endswith("layer.tar") else None
        return name in others or (noted is not None and noted.text not in wanted)

    return known


def _kept(
    shelf: Shelf, image: Image, told: Exported, times: Times, check: Callable[[], None]
) -> tuple[dict[str, Any], Layers]:
    config = told.config
    for name, digest in told.passed.items():
        if name.endswith("layer.tar"):
            shelf.note("names", name, _Text(text=digest))
    layers = []
    each_time = times(config)
    for diff_id, time in _ours(image, each_time):
        key = _key(diff_id, time)
        layer = shelf.noted("layers", key, Layer)
        file = told.layers.get(diff_id)
        if layer is None or (file is not None and not _there(shelf, layer)):
            if file is None:
                raise LayerError(f"the engine's copy of the image lacks layer {diff_id}")
            tar = content_of(file) if time is None else normalised(file, time=time)
            layer = shelf.put_layer(_checked(tar, check), compressed)
            shelf.note("layers", key, layer)
        layers.append(layer)
    shelf.note("configs", image.image, _Text(text=json.dumps(config)))
    return config, (tuple(layers), tuple(each_time))


def _there(shelf: Shelf, layer: Layer) -> bool:
    file = shelf.blob(layer.blob.digest)
    if file is not None:
        file.close()
    return file is not None


def _checked(pieces: Iterator[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    for piece in pieces:
        check()
        yield piece
