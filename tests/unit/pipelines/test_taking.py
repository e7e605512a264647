"""What is taken out of a stream that strangers filled: threats T19 and T20."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator

import pytest

from pipelines.taking import Bounds, Taken, Tally, TooMuchError, Wanted, is_name, take_from

BOUNDS = Bounds(size=10_000, files=10, entries=50)


class Archive:
    """A tar archive as an engine makes it of one file or folder."""

    def __init__(self) -> None:
        self._data = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._data, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def file(self, name: str, data: bytes = b"x", mode: int = 0o644) -> Archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = len(data), mode, 1_700_000_000
        self._tar.addfile(entry, io.BytesIO(data))
        return self

    def entry(self, name: str, kind: bytes, link: str = "") -> Archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, link
        self._tar.addfile(entry)
        return self

    @property
    def data(self) -> bytes:
        self._tar.close()
        return self._data.getvalue()


class Taker:
    """Takes files into memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.taken: list[Taken] = []

    def __call__(self, taken: Taken, pieces: Iterator[bytes]) -> None:
        self.taken.append(taken)
        self.files[taken.path] = b"".join(pieces)


def take(
    archive: Archive | bytes, *patterns: str, place: str = "out", bounds: Bounds = BOUNDS
) -> tuple[dict[str, bytes], Tally]:
    data = archive if isinstance(archive, bytes) else archive.data
    taker, tally = Taker(), Tally(bounds=bounds)
    take_from(io.BytesIO(data), place, Wanted(patterns or ("out",)), tally, taker)
    return taker.files, tally


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("htmlcov/", "htmlcov/index.html"),
        ("htmlcov", "htmlcov/a/b/c.css"),
        ("report.xml", "report.xml"),
        ("dist/*.whl", "dist/web-1.whl"),
        ("**/*.xml", "a/b/report.xml"),
        ("**/*.xml", "report.xml"),
        ("reports/*/", "reports/unit/all.xml"),
    ],
)
def test_a_pattern_means_files_and_all_that_is_in_folders(pattern: str, path: str) -> None:
    assert Wanted([pattern]).match(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("htmlcov/", "htmlcov2/x"),
        ("dist/*.whl", "dist/old/web.whl"),
        ("report.xml", "a/report.xml"),
    ],
)
def test_a_pattern_means_nothing_else(pattern: str, path: str) -> None:
    assert not Wanted([pattern]).match(path)


@pytest.mark.parametrize(
    ("patterns", "places"),
    [
        (["htmlcov/"], ("htmlcov",)),
        (["dist/*.whl", "dist/docs/"], ("dist",)),
        (["a/b", "a"], ("a",)),
        (["a", "ab"], ("a", "ab")),
        (["**/*.xml", "dist"], ("",)),
        (["reports/**/x.xml", "out.txt"], ("out.txt", "reports")),
    ],
)
def test_only_the_folders_named_are_looked_into(
    patterns: list[str], places: tuple[str, ...]
) -> None:
    assert Wanted(patterns).places() == places


def test_files_are_taken_with_their_paths_from_the_root() -> None:
    archive = Archive().entry("out/", tarfile.DIRTYPE).file("out/a.txt", b"one")
    archive.file("out/deep/run.sh", b"two", 0o755)

    taker, tally = Taker(), Tally(bounds=BOUNDS)
    take_from(io.BytesIO(archive.data), "build/out", Wanted(["build/out"]), tally, taker)

    assert taker.files == {"build/out/a.txt": b"one", "build/out/deep/run.sh": b"two"}
    assert [one.executable for one in taker.taken] == [False, True]
    assert taker.taken[0].modified == 1_700_000_000
    assert (tally.files, tally.size) == (2, 6)


def test_a_single_file_is_taken_under_its_own_path() -> None:
    files, _ = take(Archive().file("report.xml"), "a/report.xml", place="a/report.xml")
    assert files == {"a/report.xml": b"x"}


def test_what_is_not_wanted_is_passed_over() -> None:
    archive = Archive().file("out/a.txt").file("out/b.log").file("out/c.txt")
    files, _ = take(archive, "out/*.txt")
    assert files.keys() == {"out/a.txt", "out/c.txt"}


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/shadow"),
        (tarfile.SYMTYPE, "../../../etc/shadow"),
        (tarfile.LNKTYPE, "/etc/shadow"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.GNUTYPE_SPARSE, ""),
    ],
    ids=["symlink", "relative symlink", "hard link", "device", "block device", "pipe", "sparse"],
)
def test_links_and_devices_are_left_out_and_counted(kind: bytes, link: str) -> None:
    files, tally = take(Archive().file("out/a").entry("out/bad", kind, link).file("out/z"))

    assert files.keys() == {"out/a", "out/z"}
    assert tally.links == 1


@pytest.mark.parametrize(
    "name",
    [
        "out/../../etc/passwd",
        "out/..",
        "out/./a",
        "out//a",
        "out/a\\b",
        "out/c:d",
        "out/new\nline",
        "out/\x1b[2J",
        "out/\udcff",
        "out/\u202egnp.exe",
        f"out/{'n' * 1001}",
    ],
)
def test_a_name_that_is_a_danger_on_somebodys_disk_is_left_out(name: str) -> None:
    assert not is_name(name)


def test_files_with_such_names_are_counted_and_the_others_taken() -> None:
    files, tally = take(Archive().file("out/../../etc/passwd").file("out/fine"))

    assert files.keys() == {"out/fine"}
    assert tally.names == 1


def test_no_path_leaves_the_place_whatever_the_archive_calls_its_entries() -> None:
    files, _ = take(Archive().file("/etc/passwd").file("elsewhere/a"), "out")
    assert all(path.startswith("out/") for path in files)


def test_more_bytes_than_may_be_taken_stop_it() -> None:
    archive = Archive().file("out/a", b"x" * 9000).file("out/b", b"x" * 9000)
    with pytest.raises(TooMuchError, match=r"larger than 9\.8 KiB together"):
        take(archive)


def test_a_file_larger_than_one_may_be_stops_it() -> None:
    bounds = BOUNDS.model_copy(update={"each": 100})
    with pytest.raises(TooMuchError, match="out/b is larger than 100 B"):
        take(Archive().file("out/a").file("out/b", b"x" * 101), bounds=bounds)


def test_a_file_that_says_to_be_too_large_is_refused_before_it_is_read() -> None:
    entry = tarfile.TarInfo("out/huge")
    entry.size = 10 * 2**30
    reads: list[int] = []

    class Endless(io.RawIOBase):
        header = entry.tobuf()

        def read(self, size: int = -1) -> bytes:
            reads.append(size)
            head, self.header = self.header[:size], self.header[size:]
            return head.ljust(size, b"\0")

    with pytest.raises(TooMuchError):
        take_from(Endless(), "out", Wanted(["out"]), Tally(bounds=BOUNDS), Taker())  # type: ignore[arg-type]  # reads as a file does
    assert sum(reads) < 2**20


def test_more_files_than_may_be_taken_stop_it() -> None:
    archive = Archive()
    for number in range(11):
        archive.file(f"out/{number}")
    with pytest.raises(TooMuchError, match="more than 10 files"):
        take(archive)


def test_more_entries_than_may_be_looked_at_stop_it() -> None:
    archive = Archive()
    for number in range(51):
        archive.entry(f"out/{number}", tarfile.DIRTYPE)
    with pytest.raises(TooMuchError, match="more than 50 files"):
        take(archive)


def test_more_bytes_than_may_be_looked_at_stop_it() -> None:
    archive = Archive()
    for number in range(20):
        archive.file(f"out/{number}.log", b"x" * 5000)
    bounds = BOUNDS.model_copy(update={"scanned": 50_000})
    with pytest.raises(TooMuchError, match="too much to be looked through"):
        take(archive, "out/*.txt", bounds=bounds)


@pytest.mark.parametrize("before", [b"", tarfile.TarInfo("out/first").tobuf()])
def test_a_header_that_goes_on_and_on_stops_it(before: bytes) -> None:
    entry = tarfile.TarInfo("out/a")
    entry.pax_headers = {"comment": "x" * 5_000_000}
    with pytest.raises(TooMuchError, match="header"):
        take(before + entry.tobuf(tarfile.PAX_FORMAT) + bytes(1024))


def test_an_archive_that_is_cut_off_is_told_apart_from_one_that_ends() -> None:
    data = Archive().file("out/a", b"x" * 5000).data
    with pytest.raises(tarfile.TarError):
        take(data[:3000])


def test_what_is_no_archive_is_told() -> None:
    with pytest.raises(tarfile.TarError):
        take(b"no archive at all" * 100)


def test_a_file_that_comes_twice_is_taken_once() -> None:
    files, tally = take(Archive().file("out/a", b"first").file("out/a", b"second"))
    assert files == {"out/a": b"first"}
    assert tally.files == 1


def test_a_million_entries_take_no_memory() -> None:
    block = tarfile.TarInfo("out/x").tobuf()

    class Many(io.RawIOBase):
        left = 1_000_000

        def read(self, size: int = -1) -> bytes:
            count = min(size // len(block), self.left)
            self.left -= count
            return (block * count).ljust(size, b"\0")

    bounds = Bounds(size=10, files=10, entries=30_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooMuchError):
            take_from(Many(), "out", Wanted(["nothing"]), Tally(bounds=bounds), Taker())  # type: ignore[arg-type]  # reads as a file does
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
