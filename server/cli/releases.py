"""Image versions, channels and their moves, for a person at the server's own machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from pipelines.durations import format_size
from server import clock, logging
from server.cli.tokens import opened
from server.config import Settings
from server.registries import Registries
from server.releases import Releases
from server.store import Database
from server.store import channels as verbs
from server.store import images as image_verbs
from server.store.channels import MoveKind, MoveRow
from server.vault import Vault

BY = "the command line"
DIGITS = 19
"""Of a digest, with `sha256:`: enough to tell versions apart, and to name one."""


@contextmanager
def registries_of(settings: Settings) -> Iterator[tuple[Database, Registries]]:
    """The database, and the registries that the configuration and it know."""
    logging.only_warnings()
    with opened(settings) as database:
        registries = Registries(
            database=database,
            vault=Vault(settings.key_file),
            clock=clock.now,
            settings=settings.registries,
            private=settings.network.private,
        )
        try:
            yield database, registries
        finally:
            registries.close()


@asynccontextmanager
async def _releases(database: Database, registries: Registries) -> AsyncIterator[Releases]:
    releases = Releases(database=database, registries=registries, clock=clock.now)
    try:
        yield releases
    finally:
        releases.close()


def promote(settings: Settings, image: str, channel: str, version: str, *, why: str) -> str:
    """Have a channel lead to a version; what to say about it."""

    async def work(database: Database, registries: Registries) -> MoveRow:
        async with _releases(database, registries) as releases:
            return await releases.promote(image, channel, version, by=BY, why=why)

    with registries_of(settings) as parts:
        return _told(asyncio.run(work(*parts)))


def rollback(settings: Settings, image: str, channel: str, *, to: str | None, why: str) -> str:
    """Have a channel lead to an earlier version; what to say about it."""

    async def work(database: Database, registries: Registries) -> MoveRow:
        async with _releases(database, registries) as releases:
            return await releases.rollback(image, channel, to=to, by=BY, why=why)

    with registries_of(settings) as parts:
        return _told(asyncio.run(work(*parts)))


def resume(settings: Settings, image: str, channel: str) -> str:
    """Let runs move a channel again; what to say about it."""

    async def work(database: Database, registries: Registries) -> str:
        async with _releases(database, registries) as releases:
            row = await releases.resume(image, channel, by=BY)
            return f"Runs may move {row.name} of {row.image} again."

    with registries_of(settings) as parts:
        return asyncio.run(work(*parts))


def images(settings: Settings, image: str | None, *, limit: int) -> Iterator[str]:
    """A line for each image, or for each version of one with its commit and channels."""
    with registries_of(settings) as (database, registries):
        if image is None:
            yield from database.run(verbs.images)
            return

        async def whole_name() -> str:
            async with _releases(database, registries) as releases:
                return await releases.image(image)

        name = asyncio.run(whole_name())
        rows = database.run(image_verbs.image_versions_page, image=name, limit=limit)
        pointing: dict[str, list[str]] = {}
        for row in database.run(verbs.all_channels, image=name):
            pointing.setdefault(row.digest, []).append(row.name)
    yield from _table(
        ("DIGEST", "COMMIT", "BRANCH", "SIZE", "PUSHED (UTC)", "RUN", "CHANNELS", "TAGS"),
        [
            (
                row.digest[:DIGITS],
                row.sha[:12],
                row.branch or "-",
                format_size(row.size),
                f"{row.created_at:%Y-%m-%d %H:%M}",
                str(row.run),
                ", ".join(pointing.get(row.digest, ())) or "-",
                ", ".join(row.tags),
            )
            for row in rows
        ],
    )


def channels(settings: Settings, image: str | None) -> Iterator[str]:
    """A line for each channel, with where it leads and whether runs may move it."""
    with registries_of(settings) as (database, _):
        rows = database.run(verbs.all_channels)
    yield from _table(
        ("IMAGE", "CHANNEL", "LEADS TO", "SINCE (UTC)", "RUNS"),
        [
            (
                row.image,
                row.name,
                row.digest[:DIGITS],
                f"{row.moved_at:%Y-%m-%d %H:%M}",
                "may move it"
                if row.paused_at is None
                else f"may not: rolled back by {row.paused_by}",
            )
            for row in rows
            if image is None or row.image == image or row.image.endswith(f"/{image}")
        ],
    )


def _told(move: MoveRow) -> str:
    before = "nowhere" if move.from_digest is None else move.from_digest
    said = f"{move.channel} of {move.image} leads to {move.digest} now; before: {before}."
    if move.kind is MoveKind.ROLLBACK:
        said += (
            " Runs may not move it until you say so: `lading channel resume "
            f"{move.image} {move.channel}`."
        )
    return said


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    for line in lines:
        padded = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)]
        yield "  ".join([*padded, line[-1]]).rstrip()
