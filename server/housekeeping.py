"""Keeping house: what is old enough goes, in small portions, each night or when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from pipelines.durations import format_size
from pipelines.engine.cleanup import Unused, find_unused, remove_unused
from pipelines.engine.client import ENGINE_ERRORS, Engine, reason
from pipelines.problems import LadingError
from pipelines.values import Value
from server.artifacts import ArtifactStore
from server.clock import Clock
from server.config import RetentionSettings
from server.logs import LogStore
from server.store import Database
from server.store import kept as kept_verbs
from server.store import retention as verbs
from server.store import tallies as tally_verbs
from server.store.tallies import Tally

log = structlog.get_logger(__name__)

PORTION = 100
"""Rows in one transaction: some milliseconds of the one writer."""
PORTION_BYTES = 16 * 2**20
"""Bytes of deliveries' bodies in one transaction."""
ENGINE_EVERY = timedelta(hours=24)
ENGINE_WHILE_SCARCE = timedelta(hours=1)


class Gone(Value):
    """What went, or would go."""

    runs: int = 0
    outputs: int = 0
    output_bytes: int = 0
    artifacts: int = 0
    """Steps whose artifacts went."""
    artifact_bytes: int = 0
    decisions: int = 0
    deliveries: int = 0
    delivery_bytes: int = 0
    images: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()
    """Of steps."""
    engine_bytes: int = 0

    @property
    def sentence(self) -> str:
        """In words."""
        output, body = format_size(self.output_bytes), format_size(self.delivery_bytes)
        parts = (
            _some(self.runs, "run"),
            f"output of {_some(self.outputs, 'attempt')} ({output})" if self.outputs else "",
            f"artifacts of {_some(self.artifacts, 'step')} ({format_size(self.artifact_bytes)})"
            if self.artifacts
            else "",
            _some(self.decisions, "decision without a run", "decisions without a run"),
            f"bodies of {_some(self.deliveries, 'delivery', 'deliveries')} ({body})"
            if self.deliveries
            else "",
            _on_engine(len(self.images), len(self.caches), self.engine_bytes),
        )
        said = [part for part in parts if part]
        return f"{', '.join(said)}." if said else "nothing was old enough to go."


def _some(count: int, one: str, many: str = "") -> str:
    if not count:
        return ""
    return f"1 {one}" if count == 1 else f"{count:,} {many or one + 's'}"


def _on_engine(images: int, caches: int, size: int) -> str:
    if not images and not caches and not size:
        return ""
    named = [_some(images, "image"), _some(caches, "cache of a step", "caches of steps")]
    what = " and ".join([each for each in named if each] + ["build cache"])
    return f"{what} on the engine ({format_size(size)})"


class EngineHouse(Protocol):
    """What builds have left on the engine."""

    async def unused(self, repositories: Collection[str], *, before: datetime, room: int) -> Unused:
        """What may go."""

    async def remove(self, unused: Unused, *, age: float, room: int) -> None:
        """Take it away."""


class BuildCache:
    """The build cache of a real engine, and the caches of a server's steps there."""

    def __init__(self, engine: Engine, *, server: str) -> None:
        self._engine = engine
        self._server = server

    async def unused(self, repositories: Collection[str], *, before: datetime, room: int) -> Unused:
        """See `EngineHouse.unused`.

        Raises:
            ExecutorUnavailableError: The engine does not answer.
        """
        await self._engine.connected()
        client = self._engine.client
        return await self._engine.call(
            find_unused,
            client,
            repositories,
            before=before.timestamp(),
            room=room,
            server=self._server,
        )

    async def remove(self, unused: Unused, *, age: float, room: int) -> None:
        """See `EngineHouse.remove`."""
        client = self._engine.client
        await self._engine.call(remove_unused, client, unused, seconds=age, room=room)


class Housekeeping:
    """Removes what is old enough, or says what would be.

    Args:
        settings: How long what is kept.
        busy: Whether attempts are on the engine: a build must not lose the layers it stands on.
        scarce: Whether a disk is nearly full.
    """

    def __init__(
        self,
        *,
        database: Database,
        logs: LogStore,
        artifacts: ArtifactStore,
        engine: EngineHouse,
        settings: RetentionSettings,
        clock: Clock,
        busy: Callable[[], bool],
        scarce: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._logs = logs
        self._files = artifacts
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._busy = busy
        self._scarce = scarce
        self._alone = asyncio.Lock()
        self._engine_next: datetime | None = None

    async def keep(self) -> Gone:
        """Remove what is old among rows and files, and note it."""
        async with self._alone:
            gone = await self._rows_and_files(dry=False)
        await self._note(gone)
        return gone

    async def look(self) -> Gone:
        """What would go, with what is on the engine; nothing is changed."""
        async with self._alone:
            gone = await self._rows_and_files(dry=True)
            return await self._with_engine(gone, dry=True)

    async def keep_all(self) -> Gone:
        """Remove what is old everywhere, also on the engine unless work is going on there."""
        async with self._alone:
            gone = await self._rows_and_files(dry=False)
            if self._busy():
                self._engine_next = None
                log.info("the engine is cleaned up as soon as no run is on it")
            else:
                gone = await self._with_engine(gone, dry=False)
        await self._note(gone)
        return gone

    async def keep_engine(self) -> None:
        """Once a day, or once an hour while a disk is nearly full, when no run is on the engine."""
        now = self._clock()
        if self._busy() or (self._engine_next is not None and now < self._engine_next):
            return
        self._engine_next = now + (ENGINE_WHILE_SCARCE if self._scarce() else ENGINE_EVERY)
        async with self._alone:
            gone = await self._with_engine(Gone(), dry=False)
        if gone.images or gone.caches or gone.engine_bytes:
            await self._note(gone)

    async def _note(self, gone: Gone) -> None:
        await self._database.write(
            tally_verbs.count, Tally.CLEANUPS, at=self._clock(), note=gone.sentence
        )
        log.info("house kept", gone=gone.sentence)

    async def _rows_and_files(self, *, dry: bool) -> Gone:
        artifacts, artifact_bytes = await self._artifacts(dry=dry)
        outputs, output_bytes = await self._outputs(dry=dry)
        runs, run_bytes = await self._runs(dry=dry)
        orphans, orphan_bytes = await self._folders_without_run(dry=dry)
        decisions = await self._decisions(dry=dry)
        deliveries, delivery_bytes = await self._deliveries(dry=dry)
        return Gone(
            runs=runs,
            outputs=outputs + orphans,
            output_bytes=output_bytes + run_bytes + orphan_bytes,
            artifacts=artifacts,
            artifact_bytes=artifact_bytes,
            decisions=decisions,
            deliveries=deliveries,
            delivery_bytes=delivery_bytes,
        )

    async def _artifacts(self, *, dry: bool) -> tuple[int, int]:
        """Artifacts whose time is over; files first, so that none is forgotten."""
        now, after = self._clock(), None
        count = freed = 0
        while found := await self._database.read(
            kept_verbs.expired, now=now, after=after, limit=PORTION
        ):
            places = [
                kept_verbs.Place(run=row.run, attempt=row.attempt, step=row.step) for row in found
            ]
            if not dry:
                for place in places:
                    await asyncio.to_thread(
                        self._files.remove_artifacts, place.run, place.attempt, place.step
                    )
                await self._database.write(kept_verbs.artifacts_removed, places, at=now)
            count += len(found)
            freed += sum(row.stored for row in found)
            after = places[-1]
        return count, freed

    async def _outputs(self, *, dry: bool) -> tuple[int, int]:
        """Output of attempts that ended long ago; files first, so that none is forgotten."""
        before, after = self._before(self._settings.logs), (0, 0)
        count = freed = 0
        while found := await self._database.read(
            verbs.old_outputs, before=before, after=after, limit=PORTION
        ):
            for one in found:
                measure = self._logs.bytes_of if dry else self._logs.remove
                freed += await asyncio.to_thread(measure, one.run, one.attempt)
            if not dry:
                await self._database.write(verbs.outputs_removed, found, at=self._clock())
            count += len(found)
            after = (found[-1].run, found[-1].attempt)
        return count, freed

    async def _runs(self, *, dry: bool) -> tuple[int, int]:
        before = self._before(self._settings.runs)
        crowded = await self._database.read(verbs.repositories_with_more, self._settings.least_runs)
        count = freed = 0
        for repository, below in crowded.items():
            after = 0
            while found := await self._database.read(
                verbs.old_runs,
                repository,
                below=below,
                before=before,
                after=after,
                limit=PORTION,
                moves=self._settings.moves,
            ):
                ids = [run.id for run in found]
                after = ids[-1]
                gone = ids
                if not dry:
                    gone = await self._database.write(
                        verbs.remove_runs, ids, before=before, moves=self._settings.moves
                    )
                freed += await self._remove_files(gone, dry=dry)
                # Looking only, the output of old runs was counted for its own age already.
                if not dry or self._settings.logs > self._settings.runs:
                    freed += await self._remove_folders(gone, dry=dry)
                count += len(gone)
        return count, freed

    async def _remove_folders(self, runs: Sequence[int], *, dry: bool) -> int:
        measure = self._logs.bytes_of if dry else self._logs.remove
        return sum([await asyncio.to_thread(measure, run) for run in runs])

    async def _remove_files(self, runs: Sequence[int], *, dry: bool) -> int:
        measure = self._files.bytes_of if dry else self._files.remove
        return sum([await asyncio.to_thread(measure, run) for run in runs])

    async def _folders_without_run(self, *, dry: bool) -> tuple[int, int]:
        """Output whose run is in no row: we died between the two, or an older backup was restored.

        A young folder may belong to a run that is just being written down.
        """
        before = self._before(self._settings.logs).timestamp()
        with_output = await asyncio.to_thread(self._logs.runs, before=before)
        with_files = await asyncio.to_thread(self._files.runs, before=before)
        folders = sorted({*with_output, *with_files})
        count = freed = 0
        for start in range(0, len(folders), PORTION):
            some = folders[start : start + PORTION]
            known = await self._database.read(verbs.known_runs, some)
            orphans = [run for run in some if run not in known]
            freed += await self._remove_folders(orphans, dry=dry)
            freed += await self._remove_files(orphans, dry=dry)
            count += len(orphans)
        return count, freed

    async def _decisions(self, *, dry: bool) -> int:
        """Decisions that started nothing, and deliveries that could never be read."""
        before = self._before(self._settings.runs)
        count, after = 0, 0
        while found := await self._database.read(
            verbs.old_decisions, before=before, after=after, limit=PORTION
        ):
            after = found[-1].id
            if not dry:
                ids = [one.id for one in found]
                await self._database.write(verbs.remove_decisions, ids, before=before)
            count += len(found)
        last = ""
        while unread := await self._database.read(
            verbs.old_unbound_deliveries, before=before, after=last, limit=PORTION
        ):
            last = unread[-1]
            if not dry:
                await self._database.write(verbs.remove_unbound_deliveries, unread)
            count += len(unread)
        return count

    async def _deliveries(self, *, dry: bool) -> tuple[int, int]:
        before, after = self._before(self._settings.deliveries), ""
        count = size = 0
        while found := await self._database.read(
            verbs.old_deliveries, before=before, after=after, limit=PORTION
        ):
            some = _within(found, PORTION_BYTES)
            after = some[-1].id
            if not dry:
                ids = [one.id for one in some]
                await self._database.write(verbs.empty_deliveries, ids, at=self._clock())
            count += len(some)
            size += sum(one.size for one in some)
        return count, size

    async def _with_engine(self, gone: Gone, *, dry: bool) -> Gone:
        age, room = self._settings.cache, self._settings.cache_size
        names = await self._database.read(verbs.repository_names)
        try:
            unused = await self._engine.unused(names, before=self._before(age), room=room)
            if not dry:
                await self._engine.remove(unused, age=age, room=room)
        except (LadingError, *ENGINE_ERRORS) as error:
            log.warning("the engine is not cleaned up now", why=reason(error))
            return gone
        images = tuple(str(image) for image in unused.images)
        found = {
            "images": images,
            "caches": tuple(str(cache) for cache in unused.caches),
            "engine_bytes": unused.size,
        }
        return gone.model_copy(update=found)

    def _before(self, seconds: float) -> datetime:
        try:
            return self._clock() - timedelta(seconds=seconds)
        except OverflowError:  # kept for ever, in effect
            return datetime.min.replace(tzinfo=UTC)


def _within(found: Sequence[verbs.OldDelivery], most: int) -> list[verbs.OldDelivery]:
    """The first of them, at least one, whose bodies together have at most so many bytes."""
    some: list[verbs.OldDelivery] = []
    size = 0
    for one in found:
        size += one.size
        if some and size > most:
            break
        some.append(one)
    return some
