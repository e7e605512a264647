from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipelines.plan import CommandsWork, Keeps
from pipelines.reports import Case, CaseState, Report
from pipelines.taking import Taken
from pipelines.testing import commands_step, plan_of
from server.cli.shelves import Shelves, failures, without_artifacts
from server.cli.terminal import Paint

PLAIN = Paint(on=False)


def keep(folder: Path | None, files: dict[str, bytes], *, keeping: bool = True) -> None:
    async def go() -> None:
        async with Shelves(folder)("test.unit") as shelf:
            for path, data in files.items():
                taken = Taken(path=path, size=len(data), executable=path == "run")
                shelf.add(taken, iter([data]))
            if keeping:
                shelf.keep()

    asyncio.run(go())


def found(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_files_stand_below_their_step(tmp_path: Path) -> None:
    keep(tmp_path / "kept", {"out/a.txt": b"one", "run": b"two"})

    assert found(tmp_path) == {
        "kept/test.unit/out/a.txt": "one",
        "kept/test.unit/run": "two",
    }
    assert (tmp_path / "kept/test.unit/run").stat().st_mode & 0o100


def test_what_was_kept_before_is_replaced_and_all_else_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    keep(tmp_path, {"a": b"1", "b": b"1"})
    keep(tmp_path, {"a": b"2"})

    assert found(tmp_path) == {"mine": "mine", "test.unit/a": "2"}


def test_a_link_in_the_step_s_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("precious")
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "test.unit").symlink_to(elsewhere)

    keep(folder, {"a": b"1"})

    assert found(elsewhere) == {"precious": "precious"}
    assert found(folder) == {"test.unit/a": "1"}


def test_a_file_or_a_link_to_nothing_in_the_step_s_place_is_replaced(tmp_path: Path) -> None:
    place = tmp_path / "test.unit"
    place.write_text("file")
    keep(tmp_path, {"a": b"1"})
    assert found(tmp_path) == {"test.unit/a": "1"}

    place.rename(tmp_path / "old")
    place.symlink_to(tmp_path / "nowhere")
    keep(tmp_path, {"a": b"2"})
    assert found(place) == {"a": "2"}


@pytest.mark.parametrize("path", ["../a", "/etc/a", "x/../../a"])
def test_a_name_that_leaves_the_folder_is_not_written(tmp_path: Path, path: str) -> None:
    keep(tmp_path / "kept", {path: b"x", "fine": b"1"})
    assert found(tmp_path) == {"kept/test.unit/fine": "1"}


def test_what_was_not_kept_leaves_nothing(tmp_path: Path) -> None:
    keep(tmp_path, {"a": b"1"}, keeping=False)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_artifacts_are_not_asked_for_and_told_of() -> None:
    both = Keeps(artifacts=("out/", "a"), junit=("report.xml",))
    plan, told = without_artifacts(plan_of(commands_step("unit", keeps=both), commands_step("x")))

    assert told == {"test.unit": "out/, a"}
    work = plan.steps[0].work
    assert isinstance(work, CommandsWork)
    assert work.keeps == Keeps(junit=("report.xml",))


def test_failed_tests_are_told_with_place_and_message() -> None:
    bad = Case(
        name="t", class_name="c", state=CaseState.FAILED, file="a.py", line=3, message="x\n\x1b[2Jy"
    )
    report = Report(cases=(Case(name="ok"), bad), total=2, failed=1)

    assert list(failures("test.unit", report, PLAIN)) == [
        "test.unit: 1 of 2 tests did not pass",
        "  failed c::t (a.py:3)",
        "    x \N{REPLACEMENT CHARACTER}[2Jy",
    ]


def test_where_all_passed_nothing_is_told() -> None:
    assert list(failures("test.unit", Report(cases=(Case(name="ok"),), total=1), PLAIN)) == []


def test_of_many_failed_tests_only_some_are_told() -> None:
    bad = tuple(Case(name=str(number), state=CaseState.ERROR) for number in range(30))
    lines = list(failures("test.unit", Report(cases=bad, total=30, errors=30), PLAIN))

    assert len(lines) == 22
    assert lines[-1] == "  and 10 more"
