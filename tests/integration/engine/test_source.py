from __future__ import annotations

import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.problems import SourceError
from pipelines.source import GitSource
from tests.integration.engine.bench import commit, later

Made = Callable[[dict[str, str]], GitSource]

COMMITTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def entries(
    source: GitSource, path: str = ".", prefix: str = "", umask: int = 0o022
) -> dict[str, str]:
    """Names with their modes, as they stand in the archive."""
    with (
        source.archive(path=path, prefix=prefix, umask=umask) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        found = list(tar)
    assert {entry.mtime for entry in found} <= {COMMITTED.timestamp()}
    assert {entry.uid for entry in found} <= {0}
    return {entry.name: f"{entry.mode:o}" for entry in found}


def test_the_archive_is_the_commit(source: GitSource) -> None:
    assert entries(source) == {"Dockerfile": "644", "a.txt": "644", "check.sh": "755"}
    assert entries(source, prefix="w/", umask=0) == {
        "w": "777",
        "w/Dockerfile": "666",
        "w/a.txt": "666",
        "w/check.sh": "777",
    }


def test_a_folder_of_it_stands_at_the_root(made: Made) -> None:
    deep = "d" * 120
    source = made({"docs/a": "a", f"docs/{deep}/b": "b", "other": "", "docs-too/x": ""})
    assert entries(source, path="docs", prefix="p/") == {
        "p": "755",
        "p/a": "644",
        f"p/{deep}": "755",
        f"p/{deep}/b": "644",
    }


def test_a_path_that_looks_like_an_option_or_a_pattern_is_a_path(made: Made) -> None:
    source = made({"a": "", "b": ""})
    for path in ("--output=/tmp/pwned", ":/", "*", "../.."):
        with pytest.raises(SourceError):
            entries(source, path=path)


def test_a_repository_cannot_hide_files_or_change_their_text(made: Made) -> None:
    source = made(
        {
            ".gitattributes": "tests export-ignore\nv export-subst\n",
            "tests/a": "a",
            "v": "$Format:%H$",
        }
    )
    assert "tests/a" in entries(source)
    with source.archive() as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        texts = {entry.name: content.read() for entry in tar if (content := tar.extractfile(entry))}
    assert texts["v"] == b"$Format:%H$"


def test_single_files_are_read(source: GitSource) -> None:
    assert source.read("a.txt") == b"a\n"
    for path in ("nothere", ".", "../a.txt", "/etc/passwd", "a.txt/b", "a\nb", ""):
        assert source.read(path) is None


def test_the_commits_own_time_is_told(source: GitSource) -> None:
    assert source.committed_at() == COMMITTED


def test_the_time_of_the_last_commit_that_changed_a_path_is_told(folder: Path) -> None:
    place = folder / "changing"
    first = commit(place, {"a": "1", "b/c": "1"})
    second = later(place, {"a": "2"})
    assert [second.changed_at([path]) for path in ("b", "a", ".")] == [
        first.committed_at(),
        second.committed_at(),
        second.committed_at(),
    ]
    assert second.changed_at(["a", "b"]) == second.committed_at()
    assert second.changed_at(["never"]) == second.committed_at()


def test_a_commit_that_is_not_there_is_told(source: GitSource, folder: Path) -> None:
    assert source.read("a.txt")
    gone = GitSource(folder / "plain" / ".git", "1" * 40)
    for use in (lambda: entries(gone), lambda: gone.read("a"), gone.committed_at):
        with pytest.raises(SourceError, match="1111111"):
            use()


@pytest.mark.parametrize("sha", ["HEAD", "--all", "a" * 39, "A" * 40, "main~1", ""])
def test_only_a_full_commit_name_is_taken(folder: Path, sha: str) -> None:
    with pytest.raises(SourceError, match="is no commit"):
        GitSource(folder, sha)


def test_an_archive_may_be_left_half_read(source: GitSource) -> None:
    with source.archive() as stream:
        stream.read(10)
