"""Artifacts and tests in the API."""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from pipelines.progress import State
from pipelines.reports import Case, CaseState, Report
from server.store import kept, runs
from server.store.kept import Place
from tests.builders import House, event

STEP = "attempts/1/steps/test.unit"
HOSTILE = '<script>alert(1)</script>"\r\nSet-Cookie: x.html'


def report(**states: CaseState) -> Report:
    cases = tuple(Case(name=name, state=state) for name, state in states.items())
    return Report(cases=cases, total=len(cases), failed=sum(state.bad for state in states.values()))


def test_a_run_tells_its_artifacts_with_size_and_expiry(house: House, client: TestClient) -> None:
    run = house.succeeded().id
    house.keep(run, files={"out/b.txt": b"two!", "a.txt": b"one"}, notes=("2 links left out",))

    told = client.get(f"runs/{run}/artifacts").json()

    (step,) = told["items"]
    assert [(one["path"], one["size"]) for one in step["items"]] == [
        ("a.txt", 3),
        ("out/b.txt", 4),
    ]
    assert (step["step"], step["files"], step["size"]) == ("test.unit", 2, 7)
    assert step["expires_at"] == (house.clock() + timedelta(hours=1)).isoformat().replace(
        "+00:00", "Z"
    )
    assert step["notes"] == ["2 links left out"]


def test_the_addresses_that_are_told_lead_to_the_files(house: House, client: TestClient) -> None:
    run = house.succeeded().id
    odd = "out/ä & b?#%2F+.txt"
    house.keep(run, files={odd: b"odd"})

    (step,) = client.get(f"runs/{run}/artifacts").json()["items"]
    one, whole = client.get(step["items"][0]["url"]), client.get(step["zip"])

    assert one.content == b"odd"
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert archive.namelist() == [odd]
        assert archive.read(odd) == b"odd"


@pytest.mark.parametrize("what", ["artifact?path=index.html", "artifacts.zip"])
def test_no_browser_shows_a_download(house: House, client: TestClient, what: str) -> None:
    run = house.succeeded().id
    house.keep(run, files={"index.html": b"<script>alert(1)</script>"})

    headers = client.get(f"runs/{run}/{STEP}/{what}").headers

    assert headers["content-disposition"].startswith("attachment; filename*=utf-8''")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"] in ("application/octet-stream", "application/zip")
    assert "sandbox" in headers["content-security-policy"]


def test_a_hostile_name_stays_within_its_header(house: House, client: TestClient) -> None:
    run = house.succeeded().id
    house.keep(run, files={HOSTILE: b"x"})

    answer = client.get(f"runs/{run}/{STEP}/artifact", params={"path": HOSTILE})

    assert answer.content == b"x"
    assert "set-cookie" not in answer.headers
    named = answer.headers["content-disposition"]
    assert re.fullmatch(r"attachment; filename\*=utf-8''[\w%.~-]+", named, re.ASCII)


@pytest.mark.parametrize("path", ["../../../lading.db", "/etc/passwd", "out", "a.txt/", "x"])
def test_a_path_that_is_not_kept_is_not_found(house: House, client: TestClient, path: str) -> None:
    run = house.succeeded().id
    house.keep(run, files={"a.txt": b"one"})

    answer = client.get(f"runs/{run}/{STEP}/artifact", params={"path": path})

    assert answer.status_code == 404
    assert path in answer.json()["detail"]


@pytest.mark.parametrize("what", ["artifact?path=a.txt", "artifacts.zip"])
def test_artifacts_whose_time_is_over_are_gone_and_told_so(
    house: House, client: TestClient, what: str
) -> None:
    run = house.succeeded().id
    house.keep(run, files={"a.txt": b"one"})
    place = Place(run=run, attempt=1, step="test.unit")
    house.database.run(kept.artifacts_removed, [place], at=house.clock())

    answer = client.get(f"runs/{run}/{STEP}/{what}")

    assert answer.status_code == 410
    assert "`expire_in`" in answer.json()["detail"]
    (step,) = client.get(f"runs/{run}/artifacts").json()["items"]
    assert (step["items"], step["zip"], step["files"]) == ([], None, 1)


@pytest.mark.parametrize(
    "path",
    [
        "runs/9/tests",
        "runs/9/artifacts",
        "runs/1/tests?attempt=2",
        f"runs/1/{STEP}/artifacts.zip",
        f"runs/1/{STEP}/artifact?path=x",
        "runs/1/attempts/1/steps/test.other/artifacts.zip",
        "artifacts/latest?repository=acme/web&branch=main&step=test.unit",
    ],
)
def test_what_is_not_there_is_not_found(house: House, client: TestClient, path: str) -> None:
    house.succeeded()
    assert client.get(path).status_code == 404


def test_parts_of_a_zip_can_be_asked_for(house: House, client: TestClient) -> None:
    run = house.succeeded().id
    house.keep(run, files={"a.txt": b"one"})

    answer = client.get(f"runs/{run}/{STEP}/artifacts.zip", headers={"Range": "bytes=0-1"})

    assert (answer.status_code, answer.content) == (206, b"PK")


def test_tests_are_held_against_the_default_branch(house: House, client: TestClient) -> None:
    before = house.succeeded().id
    house.keep(before, report=report(old=CaseState.FAILED, mended=CaseState.FAILED))
    run = house.run(happening=event(branch="dev", ref="refs/heads/dev")).id
    house.keep(
        run,
        report=report(old=CaseState.FAILED, young=CaseState.FAILED, mended=CaseState.PASSED),
    )

    (step,) = client.get(f"runs/{run}/tests").json()["items"]

    assert [(one["name"], one["since"]) for one in step["failed"]] == [
        ("young", "new"),
        ("old", "known"),
    ]
    assert [one["name"] for one in step["fixed"]] == ["mended"]
    assert step["baseline"].endswith(f"/runs/{before}")
    assert (step["counts"]["total"], len(step["cases"])) == (3, 3)


@pytest.mark.parametrize(
    "happening",
    [
        event(branch="dev", ref="refs/heads/dev"),
        event(kind="pull_request", ref="refs/pull/1/head", pull_request=1),
        event(repository="acme/other"),
    ],
    ids=["another branch", "a pull request into it", "another repository"],
)
def test_nothing_but_the_default_branch_is_what_tests_are_held_against(
    house: House, client: TestClient, happening: object
) -> None:
    other = house.run(happening=happening).id  # type: ignore[arg-type]  # an event, as `event` makes it
    house.keep(other, report=report(a=CaseState.FAILED))
    run = house.run().id
    house.keep(run, report=report(a=CaseState.FAILED))

    (step,) = client.get(f"runs/{run}/tests").json()["items"]

    assert step["baseline"] is None
    assert [one["since"] for one in step["failed"]] == [None]


def test_a_later_run_is_not_what_an_earlier_one_is_held_against(
    house: House, client: TestClient
) -> None:
    first, second = house.run().id, house.run().id
    house.keep(first, report=report(a=CaseState.PASSED))
    house.keep(second, report=report(a=CaseState.FAILED))

    (earlier,) = client.get(f"runs/{first}/tests").json()["items"]
    (later,) = client.get(f"runs/{second}/tests").json()["items"]

    assert earlier["baseline"] is None
    assert [one["since"] for one in later["failed"]] == ["new"]


def test_what_ends_otherwise_in_another_attempt_is_flaky(house: House, client: TestClient) -> None:
    run = house.failed().id
    house.keep(run, report=report(a=CaseState.FAILED, b=CaseState.PASSED))
    asyncio.run(house.actions.rerun(run, by="ada", only_failed=False, start=None))
    house.keep(run, attempt=2, report=report(a=CaseState.PASSED, b=CaseState.PASSED))

    (step,) = client.get(f"runs/{run}/tests").json()["items"]
    (first,) = client.get(f"runs/{run}/tests?attempt=1").json()["items"]

    assert [one["name"] for one in step["flaky"]] == ["a"]
    assert [one["flaky"] for one in first["failed"]] == [True]


def test_a_step_that_was_carried_over_keeps_its_files(house: House, client: TestClient) -> None:
    run = house.failed().id
    house.keep(run, "build.web", files={"a.txt": b"one"})
    asyncio.run(house.actions.rerun(run, by="ada", only_failed=True, start=None))
    assert house.fresh(run).attempt == 2

    (step,) = client.get(f"runs/{run}/artifacts").json()["items"]

    assert (step["step"], step["attempt"]) == ("build.web", 1)
    again = client.get(f"runs/{run}/attempts/2/steps/build.web/artifact?path=a.txt")
    assert again.content == b"one"


def test_the_latest_artifacts_are_those_of_the_newest_run_that_passed(
    house: House, client: TestClient
) -> None:
    for data in (b"old", b"young"):
        house.keep(house.succeeded().id, files={"a.txt": data})
    house.keep(house.failed().id, files={"a.txt": b"failed"})
    query = {
        "repository": "acme/web",
        "branch": "main",
        "pipeline": "web",
        "step": "test.unit",
    }

    (file,) = client.get("artifacts/latest", params=query).json()["items"]

    assert client.get(file["url"]).content == b"young"


def test_a_report_whose_file_is_gone_is_told_by_its_counts(
    house: House, client: TestClient
) -> None:
    run = house.succeeded().id
    house.keep(run, report=report(a=CaseState.FAILED))
    house.artifacts.remove(run)

    (step,) = client.get(f"runs/{run}/tests").json()["items"]

    assert step["counts"]["failed"] == 1
    assert step["cases"] == []
    assert step["problems"] == ["the report's file is not on the disk any more"]
    assert house.database.run(runs.run, run).state is State.SUCCESS  # type: ignore[union-attr]  # it is there


@pytest.mark.parametrize("what", ["artifacts.zip", "artifact?path=a.txt"])
def test_a_stranger_downloads_nothing(house: House, stranger: TestClient, what: str) -> None:
    run = house.succeeded().id
    house.keep(run, files={"a.txt": b"one"})

    assert stranger.get(f"runs/{run}/{STEP}/{what}").status_code == 401
