"""Where the files of a run at home go: into a folder of the person's, or nowhere."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from pipelines.keeping import wanted
from pipelines.plan import CommandsWork, Plan, Step
from pipelines.reports import Case, Report
from pipelines.taking import Bounds, Taken, is_name
from server.cli.terminal import Paint, inert

BOUNDS = Bounds(size=4 * 2**30, files=100_000)
_SHOWN = 20
"""Failed tests told in the terminal, of each step."""


class FolderShelf:
    """Takes one step's files into a fresh folder, which then takes its place as a whole."""

    def __init__(self, folder: Path | None, key: str, reports: dict[str, Report]) -> None:
        self.bounds = BOUNDS
        self._folder = folder
        self._key = key
        self._reports = reports
        self._fresh: Path | None = None

    def add(self, file: Taken, pieces: Iterator[bytes]) -> None:
        """See `Shelf.add`."""
        if self._folder is None or not is_name(file.path):
            return
        if self._fresh is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._fresh = Path(tempfile.mkdtemp(prefix=".lading-", dir=self._folder))
        path = self._fresh / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Nothing but what we made ourselves is in the folder, and no file is ever opened twice.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o755 if file.executable else 0o644)
        with os.fdopen(descriptor, "wb") as target:
            for piece in pieces:
                target.write(piece)

    def report(self, report: Report) -> None:
        """See `Shelf.report`."""
        self._reports[self._key] = report

    def keep(self) -> int:
        """See `Shelf.keep`."""
        if self._folder is None or self._fresh is None:
            return 0
        place = self._folder / self._key
        if place.exists() or place.is_symlink():
            old = Path(tempfile.mkdtemp(prefix=".lading-", dir=self._folder))
            place.rename(old / "old")
            shutil.rmtree(old)
        self._fresh.chmod(0o755)
        self._fresh.rename(place)
        self._fresh = None
        return 0

    def close(self) -> None:
        """Let go; what was not kept is gone."""
        if self._fresh is not None:
            shutil.rmtree(self._fresh, ignore_errors=True)


class Shelves:
    """Opens the place for each step's files.

    Args:
        folder: Where artifacts go, below each step's own name; None: nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self.reports: dict[str, Report] = {}
        """What the tests of steps reported."""
        self._folder = folder

    @contextlib.asynccontextmanager
    async def __call__(self, key: str) -> AsyncIterator[FolderShelf]:
        """The place for one step's files."""
        shelf = FolderShelf(self._folder, key, self.reports)
        try:
            yield shelf
        finally:
            shelf.close()


def without_artifacts(plan: Plan) -> tuple[Plan, dict[str, str]]:
    """The plan where nobody named a folder for artifacts, and what therefore is not kept.

    Returns:
        The plan, and the keys of its steps with the paths that would be kept.
    """
    told: dict[str, str] = {}
    steps: list[Step] = []
    for step in plan.steps:
        keeps = wanted(step)
        if keeps is not None and keeps.artifacts and isinstance(step.work, CommandsWork):
            told[step.key] = ", ".join(keeps.artifacts)
            less = keeps.model_copy(update={"artifacts": ()})
            work = step.work.model_copy(update={"keeps": less})
            steps.append(step.model_copy(update={"work": work}))
        else:
            steps.append(step)
    return plan.model_copy(update={"steps": tuple(steps)}), told


def failures(key: str, report: Report, paint: Paint) -> Iterator[str]:
    """The failed tests of a step, a line or two each; nothing where all passed."""
    bad = [case for case in report.cases if case.state.bad]
    if not bad:
        return
    many = f"{report.failed + report.errors} of {report.total} tests did not pass"
    yield paint.bold(f"{inert(key)}: {many}")
    for case in bad[:_SHOWN]:
        yield f"  {paint.red(case.state.value)} {inert(case.title)}{_place(case)}"
        if case.message:
            yield paint.dim(f"    {inert(' '.join(case.message.split()))[:200]}")
    if len(bad) > _SHOWN:
        yield paint.dim(f"  and {len(bad) - _SHOWN} more")


def _place(case: Case) -> str:
    line = f":{case.line}" if case.line is not None else ""
    return f" ({inert(case.file)}{line})" if case.file else ""
