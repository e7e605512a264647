from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.reports import Case, Report
from pipelines.taking import Taken
from server.artifacts import MAX_FILES, ArtifactStore

STEP = "test.unit (15, 3.12)"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts", limit=1000, room=5000)


def keep(store: ArtifactStore, files: dict[str, bytes], *, run: int = 7, step: str = STEP) -> int:
    with store.shelf(run, 1, step, used=0) as shelf:
        for path, data in files.items():
            shelf.add(Taken(path=path, size=len(data), modified=1_700_000_000), iter([data]))
        return shelf.keep()


def content(store: ArtifactStore, path: str) -> bytes:
    found = store.read(7, 1, STEP, path)
    assert found is not None
    size, pieces = found
    data = b"".join(pieces)
    assert len(data) == size
    return data


def on_disk(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_files_are_read_as_they_were_kept(store: ArtifactStore) -> None:
    keep(store, {"out/b.txt": b"two" * 100_000, "out/ä.txt": b"", "a": b"one"})

    assert [(one.path, one.size) for one in store.files(7, 1, STEP)] == [
        ("a", 3),
        ("out/b.txt", 300_000),
        ("out/ä.txt", 0),
    ]
    assert content(store, "out/b.txt") == b"two" * 100_000
    assert content(store, "out/ä.txt") == b""


def test_the_archive_is_one_that_others_unpack(store: ArtifactStore) -> None:
    with store.shelf(7, 1, STEP, used=0) as shelf:
        shelf.add(Taken(path="bin/run", size=1, executable=True), iter([b"x"]))
        shelf.keep()

    path = store.archive(7, 1, STEP)
    assert path is not None
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        assert archive.testzip() is None
        assert archive.getinfo("bin/run").external_attr >> 16 == 0o100755


def test_nothing_is_there_before_it_is_kept(store: ArtifactStore, tmp_path: Path) -> None:
    with store.shelf(7, 1, STEP, used=0) as shelf:
        shelf.add(Taken(path="a", size=1), iter([b"x"]))
        assert store.archive(7, 1, STEP) is None

    assert on_disk(tmp_path) == []


def test_what_was_not_kept_is_gone_also_where_a_file_broke_off(
    store: ArtifactStore, tmp_path: Path
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"), store.shelf(7, 1, STEP, used=0) as shelf:
        shelf.add(Taken(path="a", size=2), broken())

    assert on_disk(tmp_path) == []


def test_keeping_again_replaces_what_is_there(store: ArtifactStore) -> None:
    keep(store, {"a": b"1", "b": b"1"})
    keep(store, {"a": b"2"})

    assert [one.path for one in store.files(7, 1, STEP)] == ["a"]
    assert content(store, "a") == b"2"


def test_what_an_earlier_process_left_half_written_is_no_hindrance(
    store: ArtifactStore, tmp_path: Path
) -> None:
    folder = tmp_path / "artifacts" / "7" / "1"
    folder.mkdir(parents=True)
    (folder / f"{STEP}.zip.part").write_bytes(b"half" * 1000)

    keep(store, {"a": b"1"})

    assert on_disk(tmp_path) == [f"{STEP}.zip"]
    assert content(store, "a") == b"1"


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "a/../b", "", "b"])
def test_a_path_that_was_not_kept_names_nothing(store: ArtifactStore, path: str) -> None:
    keep(store, {"a": b"1"})
    assert store.read(7, 1, STEP, path) is None


@pytest.mark.parametrize("step", ["../x", "test./../../x", "test.a/b", "", "test.\0"])
def test_a_key_that_is_none_is_no_path(store: ArtifactStore, step: str) -> None:
    with pytest.raises(ValueError, match="is no step key"):
        store.files(7, 1, step)


@pytest.mark.parametrize(("used", "left"), [(0, 1000), (4500, 500), (5000, 0), (9000, 0)])
def test_a_shelf_takes_what_one_step_may_have_and_all_together_leave(
    store: ArtifactStore, used: int, left: int
) -> None:
    with store.shelf(7, 1, STEP, used=used) as shelf:
        assert (shelf.bounds.size, shelf.bounds.files) == (left, MAX_FILES)


def test_a_report_is_read_as_it_was_written(store: ArtifactStore) -> None:
    report = Report(cases=(Case(name="ä", details="x"),), total=1)
    with store.shelf(7, 1, STEP, used=0) as shelf:
        shelf.report(report)

    assert store.report(7, 1, STEP) == report
    assert store.report(7, 2, STEP) is None


def test_what_somebody_has_damaged_is_as_good_as_gone(store: ArtifactStore) -> None:
    keep(store, {"a": b"1"})
    path = store.archive(7, 1, STEP)
    assert path is not None
    path.write_bytes(b"PK no more")
    path.with_suffix(".tests.json").write_text("{")

    assert store.files(7, 1, STEP) == []
    assert store.read(7, 1, STEP, "a") is None
    assert store.report(7, 1, STEP) is None


def test_removing_artifacts_leaves_the_report(store: ArtifactStore) -> None:
    keep(store, {"a": b"1"})
    with store.shelf(7, 1, STEP, used=0) as shelf:
        shelf.report(Report(total=1))

    store.remove_artifacts(7, 1, STEP)

    assert store.files(7, 1, STEP) == []
    assert store.report(7, 1, STEP) == Report(total=1)


def test_removing_a_run_leaves_nothing_of_it_and_all_of_others(
    store: ArtifactStore, tmp_path: Path
) -> None:
    keep(store, {"a": b"1"})
    keep(store, {"a": b"1"}, run=8)

    assert store.remove(7) > 0
    assert store.remove(7) == 0

    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["8"]


def test_old_folders_are_found(store: ArtifactStore, tmp_path: Path) -> None:
    keep(store, {"a": b"1"})
    (tmp_path / "artifacts" / "notes").mkdir()

    assert store.runs(before=2**40) == [7]
    assert store.runs(before=0) == []


@pytest.mark.parametrize("seconds", [-1e12, 0.0, 1e18, float("inf")])
def test_a_time_that_no_archive_can_hold_hinders_nothing(
    store: ArtifactStore, seconds: float
) -> None:
    with store.shelf(7, 1, STEP, used=0) as shelf:
        shelf.add(Taken(path="a", size=1, modified=seconds), iter([b"x"]))
        shelf.keep()

    assert content(store, "a") == b"x"
