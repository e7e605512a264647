"""What a run's steps left, on its page and to download."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, urlencode

from starlette.responses import Response
from starlette.routing import BaseRoute

from pipelines.durations import format_duration, format_size
from pipelines.keeping import counted
from pipelines.reports import Case, Failed
from pipelines.values import Value
from server.actions import NotFoundError
from server.api.files import StepDownloads
from server.api.problems import ApiError
from server.results import Results, StepFiles, StepTests
from server.store import runs as run_verbs
from server.store.rows import KeptRow, RunRow, StepRow
from server.ui.site import Site, Visit

STEP = "/runs/{run}/attempts/{attempt}/steps/{key}"
FAILED = 50
"""Failed tests on the page; the API has all."""
FILES = 20
"""Files of one step on the page; the zip file has all."""
DETAILS = 4000
"""Characters of what the framework says of a failed test."""


class TestView(Value):
    """A test on the page."""

    __test__ = False  # no test of ours, whatever pytest thinks of the name

    title: str
    place: str
    took: str
    message: str = ""
    details: str = ""
    chips: tuple[str, ...] = ()


class TestsView(Value):
    """The tests of one step on the page."""

    __test__ = False

    step: str
    bad: bool
    sentence: str
    baseline: int | None
    failed: tuple[TestView, ...]
    more: int
    fixed: tuple[TestView, ...]
    flaky: tuple[TestView, ...]
    slowest: tuple[TestView, ...]


class FileView(Value):
    """An artifact on the page."""

    path: str
    size: str
    address: str


class FilesView(Value):
    """The artifacts of one step on the page."""

    kept: KeptRow
    size: str
    zip: str
    files: tuple[FileView, ...]
    more: int


class LeftView(Value):
    """What the steps of an attempt left."""

    tests: tuple[TestsView, ...]
    files: tuple[FilesView, ...]
    notes: tuple[tuple[str, str], ...]
    """(step, what could not be kept)."""


class KeptPages:
    """Artifacts to download."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """Their routes."""
        return [
            self._site.resource(f"{STEP}/artifacts.zip", get=self._archive),
            self._site.resource(f"{STEP}/artifact", get=self._one),
        ]

    async def _archive(self, visit: Visit) -> Response:
        try:
            return await (await self._downloads(visit)).archive()
        except ApiError as error:
            return error.response()

    async def _one(self, visit: Visit) -> Response:
        path = visit.request.query_params.get("path", "")
        try:
            return await (await self._downloads(visit)).one(path)
        except ApiError as error:
            return error.response()

    async def _downloads(self, visit: Visit) -> StepDownloads:
        run, attempt = visit.number("run", "run"), visit.number("attempt", "attempt")
        key = visit.path("key")
        row = await self._site.database.read(run_verbs.step, run, attempt, key)
        if row is None:
            raise NotFoundError(f"there is no step {key[:150]!r} in attempt {attempt} of run {run}")
        return StepDownloads(self._site.database, self._site.artifacts, row)


async def left(site: Site, run: RunRow, rows: Sequence[StepRow]) -> LeftView:
    """What the steps of an attempt left."""
    results = Results(site.database, site.artifacts)
    kept = await results.kept(run.id, rows)
    tests = await results.tests(run, kept)
    return LeftView(
        # Who comes for a failure sees it first.
        tests=tuple(_tests(one) for one in sorted(tests, key=lambda one: not one.tests.bad)),
        files=tuple(_files(one) for one in await results.files(kept)),
        notes=tuple((row.step, note) for row in kept for note in row.notes),
    )


def _tests(found: StepTests) -> TestsView:
    compared = found.compared
    new = f" ({compared.new} new)" if compared.new else ""
    return TestsView(
        step=found.step,
        bad=bool(found.tests.bad),
        sentence=counted(found.tests) + new,
        baseline=found.baseline,
        failed=tuple(_failed(one) for one in compared.failed[:FAILED]),
        more=max(found.tests.bad - FAILED, 0),
        fixed=tuple(map(_case, compared.fixed[:FAILED])),
        flaky=tuple(map(_case, compared.flaky[:FAILED])),
        slowest=tuple(map(_case, compared.slowest)),
    )


def _failed(one: Failed) -> TestView:
    chips = [*([one.since.value] if one.since else []), *(["flaky"] if one.flaky else [])]
    case = one.case
    details = case.details if case.details.strip() != case.message else ""
    cut = f"{details[:DETAILS]}\n…" if len(details) > DETAILS else details
    return _case(case).model_copy(
        update={"message": case.message, "details": cut, "chips": tuple(chips)}
    )


def _case(case: Case) -> TestView:
    line = f":{case.line}" if case.file and case.line is not None else ""
    return TestView(
        title=case.title,
        place=f"{case.file}{line}",
        took=format_duration(case.seconds) if case.seconds else "",
    )


def _files(found: StepFiles) -> FilesView:
    row = found.kept
    here = f"/runs/{row.run}/attempts/{row.attempt}/steps/{quote(row.step, safe='')}"
    return FilesView(
        kept=row,
        size=format_size(row.size),
        zip=f"{here}/artifacts.zip",
        files=tuple(
            FileView(
                path=file.path,
                size=format_size(file.size),
                address=f"{here}/artifact?{urlencode({'path': file.path})}",
            )
            for file in found.files[:FILES]
        ),
        more=max(len(found.files) - FILES, 0),
    )
