from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from pipelines.execution import execute
from pipelines.keeping import counted
from pipelines.plan import Keeps, Plan
from pipelines.problems import ExecutorUnavailableError
from pipelines.progress import (
    Fact,
    Kept,
    Outcome,
    Progress,
    State,
    StepEnded,
    StepRunning,
    StepStarted,
    Tests,
)
from pipelines.taking import Bounds
from pipelines.testing import (
    MemoryOutputs,
    MemoryShelf,
    MemoryShelves,
    Script,
    ScriptedExecutor,
    commands_step,
    plan_of,
)

FAILED = Outcome(state=State.FAILURE, exit_code=1, message="exit code 1")
REPORT = (
    b"<testsuite name='s'><testcase classname='c' name='good' time='1.5'/><testcase "
    b"classname='c' name='bad'><failure message='hunter2 was wrong'/></testcase></testsuite>"
)
FILES = {"out/a.txt": b"one", "out/b.txt": b"two", "report.xml": REPORT, "src/x.py": b"code"}
BOTH = Keeps(artifacts=("out/",), expire_in=3600.0, junit=("report.xml",))


class Walk:
    """One execution, with what it kept."""

    def __init__(
        self,
        keeps: Keeps,
        *,
        outcome: Outcome | None = None,
        files: dict[str, bytes] | None = None,
        error: Exception | None = None,
    ) -> None:
        self.plan: Plan = plan_of(commands_step("unit", keeps=keeps))
        self.script = Script(files=FILES if files is None else files, collect_error=error)
        if outcome is not None:
            self.script.outcome = outcome
        self.executor = ScriptedExecutor(scripts={"test.unit": self.script}, secret="hunter2")
        self.shelves = MemoryShelves()
        self.outputs = MemoryOutputs()
        self.cancelled = asyncio.Event()
        self.facts: list[Fact] = []

    async def emit(self, fact: Fact) -> None:
        self.facts.append(fact)

    def go(self, earlier: Progress | None = None) -> Progress:
        return asyncio.run(self.walk(earlier))

    async def walk(self, earlier: Progress | None = None) -> Progress:
        return await execute(
            self.plan,
            self.executor,
            emit=self.emit,
            outputs=self.outputs,
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            cancelled=self.cancelled,
            grace=1.0,
            parallel_steps=2,
            earlier=earlier,
            shelves=self.shelves,
        )

    @property
    def end(self) -> StepEnded:
        return next(fact for fact in self.facts if isinstance(fact, StepEnded))

    @property
    def kept(self) -> Kept:
        assert self.end.kept is not None
        return self.end.kept

    @property
    def shelf(self) -> MemoryShelf:
        return self.shelves.steps["test.unit"]

    @property
    def said(self) -> str:
        return self.outputs.text("test.unit")


def test_files_and_tests_are_kept_and_told_with_the_step_s_end() -> None:
    walk = Walk(BOTH)

    walk.go()

    assert walk.shelf.files == {"out/a.txt": b"one", "out/b.txt": b"two"}
    assert walk.kept == Kept(
        files=2, size=6, stored=6, expire_in=3600.0, tests=Tests(total=2, failed=1, seconds=1.5)
    )
    assert "[lading] 2 tests in 2 s: 1 failed\n" in walk.said
    assert "[lading] 2 artifacts kept (6 B), for 1 h\n" in walk.said


def test_files_are_kept_of_a_step_that_failed_too() -> None:
    walk = Walk(BOTH, outcome=FAILED)

    assert walk.go().state is State.FAILURE
    assert (walk.kept.files, walk.end.outcome) == (2, FAILED)


@pytest.mark.parametrize("state", [State.ERROR, State.CANCELLED])
def test_nothing_is_kept_of_a_step_that_did_not_come_to_an_end(state: State) -> None:
    walk = Walk(BOTH, outcome=Outcome(state=state, message="no"))

    walk.go()

    assert walk.end.kept is None
    assert "collect test.unit" not in walk.executor.calls


def test_a_step_that_wants_nothing_kept_is_not_asked_for_files() -> None:
    walk = Walk(Keeps())

    walk.go()

    assert walk.end.kept is None
    assert "collect test.unit" not in walk.executor.calls


def test_files_are_read_before_the_step_is_discarded() -> None:
    walk = Walk(BOTH)

    walk.go()

    calls = walk.executor.calls
    assert calls.index("collect test.unit") < calls.index("discard test.unit")


def test_a_failed_test_in_a_report_fails_no_step() -> None:
    assert Walk(BOTH).go().state is State.SUCCESS


def test_a_broken_report_fails_no_step_and_is_told() -> None:
    walk = Walk(BOTH, files={"report.xml": b"<testsuite><testcase name='a'/>"})

    assert walk.go().state is State.SUCCESS
    assert walk.kept.tests == Tests(total=1)
    (told,) = [note for note in walk.kept.notes if "report.xml" in note]
    assert told.startswith("test report report.xml is no whole XML (line 1")
    assert f"[lading] {told}" in walk.said


def test_a_secret_in_a_report_is_not_shown() -> None:
    walk = Walk(BOTH)

    walk.go()

    assert walk.shelf.reported is not None
    assert walk.shelf.reported.cases[1].message == "******* was wrong"


def test_a_secret_in_what_is_told_is_not_shown() -> None:
    walk = Walk(Keeps(artifacts=("hunter2.txt",)))

    walk.go()

    assert walk.kept.notes == ("artifacts: no file matches *******.txt",)
    assert "hunter2" not in walk.said


def test_what_matches_no_file_is_told() -> None:
    walk = Walk(Keeps(artifacts=("dist/", "x.txt"), junit=("junit.xml",)))

    walk.go()

    assert walk.kept.notes == (
        "test reports: no file matches junit.xml",
        "artifacts: no file matches dist/, x.txt",
    )
    assert walk.kept.tests is None


def test_more_than_the_shelf_takes_is_told_and_nothing_of_it_is_kept() -> None:
    walk = Walk(BOTH)
    walk.shelves = MemoryShelves(Bounds(size=5, files=10))

    assert walk.go().state is State.SUCCESS
    assert walk.kept.notes == (
        "artifacts are not kept: the files are larger than 5 B together: name fewer",
    )
    assert walk.shelf.files == {}
    assert walk.kept.tests is not None


@pytest.mark.parametrize(
    "error",
    [ExecutorUnavailableError("the engine is away"), OSError(errno.ENOSPC, "no space")],
    ids=["engine", "disk"],
)
def test_an_engine_or_a_disk_that_fails_fails_no_step(error: Exception) -> None:
    walk = Walk(BOTH, error=error)

    assert walk.go().state is State.SUCCESS
    assert len(walk.kept.notes) == 2


def test_a_shelf_that_cannot_be_opened_fails_no_step() -> None:
    class Broken(MemoryShelves):
        @contextlib.asynccontextmanager
        async def __call__(self, key: str) -> AsyncIterator[MemoryShelf]:
            raise OSError(errno.ENOSPC, key)
            yield

    walk = Walk(BOTH)
    walk.shelves = Broken()

    assert walk.go().state is State.SUCCESS
    assert walk.kept.notes[0].startswith("files are not kept: ")


def test_a_step_that_was_adopted_after_its_commands_had_ended_still_gives_its_files() -> None:
    walk = Walk(BOTH)
    walk.executor.found = frozenset({"test.unit"})
    at = datetime(2026, 1, 1, tzinfo=UTC)
    earlier = Progress.of(walk.plan)
    earlier = earlier.apply(StepStarted(step="test.unit", at=at))
    earlier = earlier.apply(StepRunning(step="test.unit", at=at))

    walk.go(earlier)

    assert "run test.unit" not in walk.executor.calls
    assert walk.kept.files == 2


def test_who_stops_the_run_does_not_wait_for_files() -> None:
    async def stop() -> Progress:
        began = asyncio.Event()

        class Slow(MemoryShelves):
            @contextlib.asynccontextmanager
            async def __call__(self, key: str) -> AsyncIterator[MemoryShelf]:  # noqa: ARG002
                began.set()
                await asyncio.Event().wait()
                yield MemoryShelf(Bounds(size=1, files=1))

        walk.shelves = Slow()
        walking = asyncio.create_task(walk.walk())
        await began.wait()
        walk.cancelled.set()
        return await walking

    walk = Walk(BOTH)
    asyncio.run(stop())

    assert walk.end.outcome.state is State.SUCCESS
    assert walk.kept.notes == ("files could not be kept: the run was stopped",)


@pytest.mark.parametrize(
    ("tests", "words"),
    [
        (Tests(total=1), "1 test: all passed"),
        (
            Tests(total=1200, failed=2, errors=1, skipped=3, seconds=65),
            "1,200 tests in 1 min 5 s: 2 failed, 1 broke, 3 skipped",
        ),
    ],
)
def test_tests_are_counted_in_words(tests: Tests, words: str) -> None:
    assert counted(tests) == words
