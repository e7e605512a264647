"""A channel moved to another version, against the two requests that no way can do without."""

from __future__ import annotations

import asyncio
import itertools
from time import perf_counter

import requests

from benchmarks.figures import Figure, interleaved, median, seconds, spread
from benchmarks.ground import Ground
from pipelines.progress import Pushed
from scripts.parts.registry import Registry
from scripts.parts.registry import registry as running_registry
from server.store import images
from tests.builders import House
from tests.parts.images import put_image

ALLOWANCE = 0.02  # seconds
LAYERS = 12


def measure(ground: Ground, rounds: int) -> Figure:
    """`Releases.promote`, with its records on disk, against one GET and one PUT."""
    folder = ground.folder / "promoting"
    folder.mkdir()
    # Without a login: this registry would hash a password anew for each request, as slowly as
    # passwords should be, where others look at a token.
    with running_registry(folder / "registry") as there:
        house = House(folder)
        try:
            digests = [_version(house, there, text) for text in ("one", "two")]
            ours, bare = asyncio.run(_both(house, there, digests, rounds))
        finally:
            house.close()
    return Figure(
        name="promote",
        work=f"a channel moved to a version of {LAYERS} layers, checked and recorded",
        to_reach=f"≤ two requests + {seconds(ALLOWANCE)}",
        ours=seconds(median(ours)),
        bare=seconds(median(bare)),
        ratio=median(ours) / median(bare),
        reached=median(ours) <= median(bare) + ALLOWANCE,
        rounds=rounds,
        note=(
            f"ours {spread(ours)}, bare {spread(bare)}; the bare tool is GET and PUT of the "
            "manifest over one kept connection, without a check and without a record; the "
            "version was looked at once before"
        ),
        measured={"ours_seconds": tuple(ours), "bare_seconds": tuple(bare)},
    )


def _version(house: House, registry: Registry, text: str) -> str:
    image = put_image(registry, "acme/web", text, content=text, layers=LAYERS)
    house.database.run(
        images.add_image_version,
        run=house.run(),
        attempt=1,
        step="push.web",
        pushed=Pushed(
            repository=f"{registry.address}/acme/web", digest=image.digest, size=1, tags=(text,)
        ),
        at=house.clock(),
    )
    return image.digest


async def _both(
    house: House, registry: Registry, digests: list[str], rounds: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    image = f"{registry.address}/acme/web"
    for digest in digests:  # looked at for the first time
        await house.releases.promote(image, "production", digest, by="bench")
    versions = itertools.cycle(digests)
    loop = asyncio.get_running_loop()

    def ours() -> float:
        started = perf_counter()
        moving = house.releases.promote(image, "production", next(versions), by="bench")
        asyncio.run_coroutine_threadsafe(moving, loop).result()
        return perf_counter() - started

    with requests.Session() as session:
        base = f"http://{registry.address}/v2/acme/web/manifests"

        def bare() -> float:
            started = perf_counter()
            kind = "application/vnd.oci.image.manifest.v1+json"
            got = session.get(f"{base}/{digests[0]}", headers={"Accept": kind}, timeout=10)
            put = session.put(
                f"{base}/bare", data=got.content, headers={"Content-Type": kind}, timeout=10
            )
            put.raise_for_status()
            return perf_counter() - started

        bare()
        return await asyncio.to_thread(interleaved, rounds, ours, bare)
