"""What a run's steps left, for people: files, and tests held against earlier ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipelines.progress import Tests
from pipelines.reports import Compared, Report, compare
from pipelines.values import Value
from server.artifacts import ArtifactStore, StoredFile
from server.store import Database
from server.store import kept as kept_verbs
from server.store.kept import Place
from server.store.rows import KeptRow, RunRow, StepRow


class StepTests(Value):
    """The tests of one step."""

    step: str
    attempt: int
    """That ran them."""
    tests: Tests
    report: Report | None
    """None where its file is gone."""
    compared: Compared
    baseline: int | None
    """The run of the default branch that it is held against."""


class StepFiles(Value):
    """The artifacts of one step."""

    kept: KeptRow
    files: tuple[StoredFile, ...]
    """By path; none where they are gone."""


class Results:
    """Reads what steps left.

    Args:
        database: Has how much it is.
        artifacts: Has the files.
    """

    def __init__(self, database: Database, artifacts: ArtifactStore) -> None:
        self._database = database
        self._artifacts = artifacts

    async def kept(self, run: int, rows: Sequence[StepRow]) -> list[KeptRow]:
        """What the steps of an attempt left, those that were carried over among them."""
        found = {
            (row.attempt, row.step): row
            for row in await self._database.read(kept_verbs.kept_of_run, run)
        }
        wanted = [(row.done_in, row.key) for row in rows]
        return [found[key] for key in wanted if key in found]

    async def files(self, kept: Sequence[KeptRow]) -> list[StepFiles]:
        """Their artifacts; those whose time is over are told of without any."""
        return [
            StepFiles(kept=row, files=await self._files(row) if row.has_files else ())
            for row in kept
            if row.files
        ]

    async def _files(self, row: KeptRow) -> tuple[StoredFile, ...]:
        return tuple(await asyncio.to_thread(self._artifacts.files, row.run, row.attempt, row.step))

    async def tests(self, run: RunRow, kept: Sequence[KeptRow]) -> list[StepTests]:
        """Their tests, each step's held against the default branch and the other attempts."""
        rows = [row for row in kept if row.tests is not None]
        every = await self._database.read(kept_verbs.kept_of_run, run.id) if rows else []
        return [await self._tests(run, row, row.tests, every) for row in rows if row.tests]

    async def _tests(
        self, run: RunRow, row: KeptRow, tests: Tests, every: Sequence[KeptRow]
    ) -> StepTests:
        before = await self._database.read(kept_verbs.baseline, run, row.step)
        others = [
            _place(one)
            for one in every
            if one.step == row.step and one.attempt != row.attempt and one.tests is not None
        ]

        def held() -> tuple[Report | None, bool, Compared]:
            report = self._report(_place(row))
            baseline = None if before is None else self._report(before)
            attempts = [found for one in others if (found := self._report(one)) is not None]
            compared = compare(report or Report(), baseline=baseline, attempts=attempts)
            return report, baseline is not None, compared

        report, has_baseline, compared = await asyncio.to_thread(held)
        return StepTests(
            step=row.step,
            attempt=row.attempt,
            tests=tests,
            report=report,
            compared=compared,
            baseline=before.run if before is not None and has_baseline else None,
        )

    def _report(self, place: Place) -> Report | None:
        return self._artifacts.report(place.run, place.attempt, place.step)


def _place(row: KeptRow) -> Place:
    return Place(run=row.run, attempt=row.attempt, step=row.step)
