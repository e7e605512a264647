"""What is kept of a step's files once its commands have ended: test reports and artifacts.

Neither changes how the step ended. What could not be kept is told in its output and on its page.
"""

from __future__ import annotations

import asyncio
import contextlib
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from pipelines.crashing import reach
from pipelines.durations import format_duration, format_size
from pipelines.executor import OWN, Executor, Output
from pipelines.plan import CommandsWork, Keeps, Step
from pipelines.problems import LadingError
from pipelines.progress import Kept, Outcome, State, Tests
from pipelines.reports import JUnit, Report
from pipelines.taking import Bounds, Taken, Tally

SECONDS = 300.0
"""How long the files of one step may take to be read."""
REPORTS = Bounds(size=64 * 2**20, each=16 * 2**20, files=2000)

_AFTER = (State.SUCCESS, State.FAILURE)


class Shelf(Protocol):
    """Where the files of one step go. Nothing of them is seen before `keep`."""

    @property
    def bounds(self) -> Bounds:
        """How much it takes."""

    def add(self, file: Taken, pieces: Iterator[bytes]) -> None:
        """Take a file; from any one thread. Raises OSError where it cannot be stored."""

    def report(self, report: Report) -> None:
        """Take what the tests report, at once and for good. Raises OSError."""

    def keep(self) -> int:
        """Keep the files, all at once; the bytes that they take there. Raises OSError."""


Shelves = Callable[[str], AbstractAsyncContextManager[Shelf]]
"""Opens the place for one step's files, by the step's key; what was not kept is gone behind it."""


def wanted(step: Step) -> Keeps | None:
    """What a step wants kept; None: nothing."""
    keeps = step.work.keeps if isinstance(step.work, CommandsWork) else Keeps()
    return keeps if keeps.artifacts or keeps.junit else None


async def keep(
    step: Step,
    outcome: Outcome,
    executor: Executor,
    shelves: Shelves,
    *,
    output: Output,
    halting: asyncio.Event,
) -> Kept | None:
    """Keep what a step wants kept of its files.

    Args:
        step: It has ended, and nothing of it was discarded.
        outcome: How it ended; files are kept also where it failed.
        executor: Has its files.
        shelves: Where they go.
        output: Is told what was kept, and what was not.
        halting: Set where the run is stopped; then nothing more is kept.

    Returns:
        What was kept; None where it wants nothing, or did not run to an end.
    """
    keeps = wanted(step)
    if keeps is None or outcome.state not in _AFTER or halting.is_set():
        return None
    reach("keeping.begun")
    work = asyncio.ensure_future(_keep(step, keeps, executor, shelves))
    stopped = asyncio.ensure_future(halting.wait())
    either: set[asyncio.Future[Any]] = {work, stopped}
    try:
        await asyncio.wait(either, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            kept = work.result()
        else:
            why = "the run was stopped" if stopped.done() else f"not within {SECONDS:.0f} s"
            kept = Kept(notes=(f"files could not be kept: {why}",))
    finally:
        for one in either:
            one.cancel()
        await asyncio.wait(either)
    _tell(output, kept)
    reach("keeping.kept")
    return kept


async def _keep(step: Step, keeps: Keeps, executor: Executor, shelves: Shelves) -> Kept:
    notes: list[str] = []
    tests: Tests | None = None
    files, size, stored = 0, 0, 0
    with _noted("files are not kept", notes):
        async with shelves(step.key) as shelf:
            if keeps.junit:
                with _noted("test reports are not kept", notes):
                    tests = await _report(step, keeps, executor, shelf, notes)
            if keeps.artifacts:
                with _noted("artifacts are not kept", notes):
                    tally = await executor.collect(step, keeps.artifacts, shelf.bounds, shelf.add)
                    notes += _left_out("artifacts", keeps.artifacts, tally)
                    if tally.files:
                        stored = await asyncio.to_thread(shelf.keep)
                        files, size = tally.files, tally.size
    return Kept(
        files=files,
        size=size,
        stored=stored,
        expire_in=keeps.expire_in,
        tests=tests,
        notes=tuple(map(executor.cleaned, notes)),
    )


@contextlib.contextmanager
def _noted(what: str, notes: list[str]) -> Iterator[None]:
    """What goes wrong with files is told, and fails nobody's step."""
    try:
        yield
    except (LadingError, OSError) as error:
        notes.append(f"{what}: {error}")
    except tarfile.TarError as error:
        notes.append(f"{what}: the container engine broke off ({error})")


async def _report(
    step: Step, keeps: Keeps, executor: Executor, shelf: Shelf, notes: list[str]
) -> Tests | None:
    junit = JUnit(executor.cleaned)
    tally = await executor.collect(
        step, keeps.junit, REPORTS, lambda file, pieces: junit.read(file.path, pieces)
    )
    notes += _left_out("test reports", keeps.junit, tally)
    if not junit.found:
        return None
    report = junit.report()
    notes += [f"test report {problem}" for problem in report.problems]
    await asyncio.to_thread(shelf.report, report)
    return Tests(
        total=report.total,
        failed=report.failed,
        errors=report.errors,
        skipped=report.skipped,
        seconds=report.seconds,
    )


def _left_out(what: str, patterns: tuple[str, ...], tally: Tally) -> Iterator[str]:
    if not tally.files:
        yield f"{what}: no file matches {', '.join(patterns)}"
    if tally.links:
        links = _count(tally.links, "link or special file", "links or special files")
        yield f"{what}: {links} left out"
    if tally.names:
        names = _count(tally.names, "file")
        yield f"{what}: {names} left out, with names that not every system takes"


def _tell(output: Output, kept: Kept) -> None:
    lines = [f"[lading] {note}" for note in kept.notes]
    if kept.tests is not None:
        lines.append(f"[lading] {counted(kept.tests)}")
    if kept.files:
        until = f", for {format_duration(kept.expire_in)}" if kept.expire_in else ""
        files = _count(kept.files, "artifact")
        lines.append(f"[lading] {files} kept ({format_size(kept.size)}){until}")
    with contextlib.suppress(OSError, LadingError):  # a full disk: the page tells the same
        for line in lines:
            output.write(OWN, f"{line}\n".encode(errors="replace"))


def counted(tests: Tests) -> str:
    """`12 tests in 3 s: 1 failed, 2 skipped`."""
    parts = (
        (tests.failed, "failed"),
        (tests.errors, "broke"),
        (tests.skipped, "skipped"),
    )
    said = ", ".join(f"{number:,} {word}" for number, word in parts if number)
    took = f" in {format_duration(tests.seconds)}" if tests.seconds else ""
    return f"{_count(tests.total, 'test')}{took}: {said or 'all passed'}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {many or one + 's'}"
