"""What a run's steps left: the part of the API about artifacts and tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from pydantic import AwareDatetime, Field
from starlette.responses import Response

from pipelines.progress import Tests
from pipelines.reports import Case
from server.api.answers import json_answer, run_asked, step_asked
from server.api.files import StepDownloads
from server.api.models import Answer, Name, Query, RowId
from server.api.problems import ApiError
from server.api.routing import Api, Asked, Endpoint
from server.api.views import Links
from server.artifacts import StoredFile
from server.results import Results, StepTests
from server.store import kept as kept_verbs
from server.store import runs as run_verbs
from server.store.rows import KeptRow, RunRow, StepRow


class AttemptQuery(Query):
    """Which attempt."""

    attempt: RowId | None = Field(None, description="From 1. Default: the newest.")


class FileQuery(Query):
    """Which file."""

    path: Annotated[str, Field(min_length=1, max_length=4000)] = Field(
        description="As `listArtifacts` tells it."
    )


class LatestQuery(Query):
    """Which artifacts."""

    repository: Name = Field(description="`owner/name`.")
    branch: Name
    step: Name = Field(description="A step's key: `test.unit`.")
    pipeline: Name = Field("default", description="The pipeline's name.")


class Artifact(Answer):
    """A file that a step left."""

    path: str
    size: int = Field(description="Bytes.")
    url: str = Field(description="Where it can be downloaded.")


class Artifacts(Answer):
    """What one step left."""

    run: str = Field(description="Address of the run.")
    attempt: int
    step: str
    items: list[Artifact] = Field(description="By path; empty once they are removed.")
    files: int
    size: int = Field(description="Bytes of all files.")
    zip: str | None = Field(description="Where all can be downloaded as one zip file.")
    created_at: AwareDatetime
    expires_at: AwareDatetime
    removed_at: AwareDatetime | None
    notes: list[str] = Field(description="What could not be kept, and why.")


class RunArtifacts(Answer):
    """What the steps of an attempt left."""

    attempt: int
    items: list[Artifacts]


class FailedTest(Case):
    """A test that did not pass."""

    since: str | None = Field(
        description="`new`: it does not fail on the default branch; `known`: it does; null: there "
        "is no report of that branch."
    )


class StepReport(Answer):
    """The tests of one step."""

    step: str
    attempt: int = Field(description="That ran them.")
    counts: Tests
    baseline: str | None = Field(
        description="Address of the run of the default branch that these are held against."
    )
    failed: list[FailedTest] = Field(description="New ones first.")
    flaky: list[Case] = Field(
        description="Passed, but not in every attempt on this commit, or not at the first try."
    )
    fixed: list[Case] = Field(description="Passed, and failed in the baseline.")
    slowest: list[Case]
    cases: list[Case] = Field(description="All, in the report's order; 20,000 at most.")
    left_out: int = Field(description="Tests that are counted and not among the cases.")
    problems: list[str] = Field(description="What could not be read, and why.")


class RunTests(Answer):
    """The tests of an attempt, by step."""

    attempt: int
    items: list[StepReport]


async def list_artifacts(api: Api, asked: Asked) -> Response:
    """What the steps of an attempt left."""
    run, attempt, rows = await _rows(api, asked)
    results = Results(api.database, api.artifacts)
    found = await results.files(await results.kept(run.id, rows))
    items = [_artifacts(api.links, one.kept, one.files) for one in found]
    return json_answer(RunArtifacts(attempt=attempt, items=items))


async def show_tests(api: Api, asked: Asked) -> Response:
    """The tests of an attempt, failures first."""
    run, attempt, rows = await _rows(api, asked)
    results = Results(api.database, api.artifacts)
    found = await results.tests(run, await results.kept(run.id, rows))
    items = [_step_report(api.links, one) for one in found]
    return json_answer(RunTests(attempt=attempt, items=items))


async def download_artifacts(api: Api, asked: Asked) -> Response:
    """All artifacts of a step."""
    return await (await _downloads(api, asked)).archive()


async def download_artifact(api: Api, asked: Asked) -> Response:
    """One artifact of a step."""
    path = asked.query_as(FileQuery).path
    return await (await _downloads(api, asked)).one(path)


async def latest_artifacts(api: Api, asked: Asked) -> Response:
    """What a step left in the newest run of a branch that passed."""
    wanted = asked.query_as(LatestQuery)
    row = await api.database.read(
        kept_verbs.latest_artifacts,
        repository=wanted.repository,
        branch=wanted.branch,
        pipeline=wanted.pipeline,
        step=wanted.step,
    )
    if row is None:
        raise ApiError(
            404,
            f"no run of pipeline {wanted.pipeline!r} that passed on {wanted.branch!r} has "
            f"artifacts of {wanted.step!r}",
        )
    (found,) = await Results(api.database, api.artifacts).files([row])
    return json_answer(_artifacts(api.links, found.kept, found.files))


async def _rows(api: Api, asked: Asked) -> tuple[RunRow, int, Sequence[StepRow]]:
    run = await run_asked(api, asked)
    number = asked.query_as(AttemptQuery).attempt or run.attempt
    if number > run.attempt:
        raise ApiError(404, f"run {run.id} has no attempt {number}: its newest is {run.attempt}")
    return run, number, await api.database.read(run_verbs.steps_of, run.id, number)


async def _downloads(api: Api, asked: Asked) -> StepDownloads:
    run = await run_asked(api, asked)
    attempt = asked.row_id("attempt", f"attempt of run {run.id}")
    step = await step_asked(api, run, attempt, asked.text("key"))
    return StepDownloads(api.database, api.artifacts, step)


def _artifacts(links: Links, row: KeptRow, files: Sequence[StoredFile]) -> Artifacts:
    here = links.step(row.run, row.attempt, row.step)
    return Artifacts(
        run=links.run(row.run),
        attempt=row.attempt,
        step=row.step,
        items=[
            Artifact(
                path=file.path,
                size=file.size,
                url=f"{here}/artifact?{urlencode({'path': file.path})}",
            )
            for file in files
        ],
        files=row.files,
        size=row.size,
        zip=f"{here}/artifacts.zip" if row.has_files else None,
        created_at=row.created_at,
        expires_at=row.expires_at,
        removed_at=row.removed_at,
        notes=list(row.notes),
    )


def _step_report(links: Links, found: StepTests) -> StepReport:
    compared, report = found.compared, found.report
    return StepReport(
        step=found.step,
        attempt=found.attempt,
        counts=found.tests,
        baseline=None if found.baseline is None else links.run(found.baseline),
        failed=[
            FailedTest(
                **{**dict(one.case), "flaky": one.flaky}, since=None if not one.since else one.since
            )
            for one in compared.failed
        ],
        flaky=list(compared.flaky),
        fixed=list(compared.fixed),
        slowest=list(compared.slowest),
        cases=[] if report is None else list(report.cases),
        left_out=found.tests.total if report is None else report.left_out,
        problems=["the report's file is not on the disk any more"]
        if report is None
        else list(report.problems),
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/runs/{run}/tests",
        name="showTests",
        summary="What a run's tests reported, by step: failures first, new ones marked",
        handler=show_tests,
        query=AttemptQuery,
        answer=RunTests,
        errors=(404,),
    ),
    Endpoint(
        method="GET",
        path="/runs/{run}/artifacts",
        name="listArtifacts",
        summary="The files that a run's steps left, with size and expiry",
        handler=list_artifacts,
        query=AttemptQuery,
        answer=RunArtifacts,
        errors=(404,),
    ),
    Endpoint(
        method="GET",
        path="/runs/{run}/attempts/{attempt}/steps/{key}/artifacts.zip",
        name="downloadArtifacts",
        summary="All artifacts of a step as one zip file",
        handler=download_artifacts,
        answer=None,
        media="application/zip",
        errors=(404, 410),
    ),
    Endpoint(
        method="GET",
        path="/runs/{run}/attempts/{attempt}/steps/{key}/artifact",
        name="downloadArtifact",
        summary="One artifact of a step, as it was",
        handler=download_artifact,
        query=FileQuery,
        answer=None,
        media="application/octet-stream",
        errors=(404, 410),
    ),
    Endpoint(
        method="GET",
        path="/artifacts/latest",
        name="latestArtifacts",
        summary="What a step left in the newest run of a branch that passed",
        handler=latest_artifacts,
        query=LatestQuery,
        answer=Artifacts,
        errors=(404,),
    ),
)
