"""Tests and artifacts on a run's page, where hostile text stays text."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from pipelines.reports import Case, CaseState, Report
from server.store import kept
from server.store.kept import Place
from tests.builders import House, event
from tests.integration.ui.test_pages import HOSTILE, POLICY, Seen

STEP = "attempts/1/steps/test.unit"


def report(*cases: Case) -> Report:
    bad = sum(case.state.bad for case in cases)
    return Report(cases=cases, total=len(cases), failed=bad)


def failed(name: str, **more: str) -> Case:
    return Case(name=name, state=CaseState.FAILED).model_copy(update=more)


def test_failures_come_first_new_ones_marked_before_known_ones(
    house: House, person: TestClient
) -> None:
    house.keep(house.succeeded().id, report=report(failed("old_trouble"), Case(name="fine")))
    run = house.run(happening=event(branch="dev", ref="refs/heads/dev")).id
    house.keep(
        run,
        report=report(
            Case(name="fine", seconds=3.5),
            failed("old_trouble"),
            failed("young_trouble", message="it broke", details="Traceback: it broke", file="a.py"),
        ),
    )

    seen = Seen(person.get(f"/runs/{run}").text)

    assert seen.text.index("young_trouble") < seen.text.index("old_trouble")
    assert seen.text.index("old_trouble") < seen.text.index("fine")
    assert "3 tests: 2 failed (1 new); held against run #1" in " ".join(seen.text.split())
    chips = [tag["class"] for tag in seen.named("span") if "chip" in (tag.get("class") or "")]
    assert chips.count("chip new") == chips.count("chip known") == 1
    assert "Traceback: it broke" in seen.text


def test_the_slowest_tests_are_named_with_their_time(house: House, person: TestClient) -> None:
    run = house.succeeded().id
    house.keep(run, report=report(*(Case(name=f"test_{n}", seconds=n) for n in range(1, 15))))

    text = Seen(person.get(f"/runs/{run}").text).text

    assert "Slowest" in text
    assert text.index("test_14") < text.index("test_13")
    assert "test_4 " not in text


def test_artifacts_are_links_with_size_and_expiry(house: House, person: TestClient) -> None:
    run = house.succeeded().id
    house.keep(run, files={"htmlcov/index.html": b"x" * 2048})

    seen = Seen(person.get(f"/runs/{run}").text)

    addresses = {tag["href"] for tag in seen.named("a")}
    one = f"/runs/{run}/{STEP}/artifact?path=htmlcov%2Findex.html"
    assert {one, f"/runs/{run}/{STEP}/artifacts.zip"} <= addresses
    assert "2 KiB" in seen.text
    assert "kept until 2026-03-01 13:" in seen.text
    assert person.get(one).content == b"x" * 2048


def test_of_many_files_some_are_shown_and_the_rest_is_in_the_zip(
    house: House, person: TestClient
) -> None:
    run = house.succeeded().id
    house.keep(run, files={f"{number:03}.txt": b"x" for number in range(33)})

    text = Seen(person.get(f"/runs/{run}").text).text

    assert "019.txt" in text
    assert "020.txt" not in text
    assert "And 13 more in the zip file." in text


def test_artifacts_whose_time_is_over_are_told_of_without_links(
    house: House, person: TestClient
) -> None:
    run = house.succeeded().id
    house.keep(run, files={"a.txt": b"one"})
    place = Place(run=run, attempt=1, step="test.unit")
    house.database.run(kept.artifacts_removed, [place], at=house.clock())

    page = person.get(f"/runs/{run}").text

    assert "when their time was over" in page
    assert "artifacts.zip" not in page
    assert person.get(f"/runs/{run}/{STEP}/artifacts.zip").status_code == 410


def test_what_could_not_be_kept_is_told(house: House, person: TestClient) -> None:
    run = house.succeeded().id
    house.keep(run, notes=("artifacts: no file matches dist/",))

    assert "artifacts: no file matches dist/" in Seen(person.get(f"/runs/{run}").text).text


def test_a_run_that_left_nothing_has_no_such_sections(house: House, person: TestClient) -> None:
    page = person.get(f"/runs/{house.succeeded().id}").text
    for name in ("tests", "artifacts", "not-kept"):
        assert f'id="{name}"' not in page


def test_hostile_names_and_texts_stay_text(house: House, person: TestClient) -> None:
    run = house.succeeded().id
    evil = failed(HOSTILE, message=HOSTILE, details=HOSTILE, class_name=HOSTILE, file=HOSTILE)
    house.keep(run, files={HOSTILE: b"x"}, report=report(evil), notes=(HOSTILE,))

    page = person.get(f"/runs/{run}")
    seen = Seen(page.text)

    assert page.headers["content-security-policy"] == POLICY
    assert not seen.named("img")
    assert not [tag for _, tag in seen.tags if any(name.startswith("on") for name in tag)]
    assert not [tag for _, tag in seen.tags if "style" in tag]
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text
    assert "<img src=x onerror=alert(1)>" in seen.text
    here = f"/runs/{run}/{STEP}/artifact?path={quote(HOSTILE, safe='')}"
    assert person.get(here).content == b"x"


@pytest.mark.parametrize("what", ["artifacts.zip", "artifact?path=index.html"])
def test_no_browser_shows_a_download(house: House, person: TestClient, what: str) -> None:
    run = house.succeeded().id
    house.keep(run, files={"index.html": b"<script>alert(1)</script>"})

    headers = person.get(f"/runs/{run}/{STEP}/{what}").headers

    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"
    assert "html" not in headers["content-type"]


def test_a_stranger_is_sent_to_sign_in(house: House, stranger: TestClient) -> None:
    run = house.succeeded().id
    house.keep(run, files={"a.txt": b"one"})

    assert stranger.get(f"/runs/{run}/{STEP}/artifacts.zip").status_code == 303


def test_a_visitor_reads_where_reading_is_open_to_all(house: House, visitor: TestClient) -> None:
    run = house.succeeded().id
    house.keep(run, files={"a.txt": b"one"})

    assert visitor.get(f"/runs/{run}/{STEP}/artifact?path=a.txt").content == b"one"
