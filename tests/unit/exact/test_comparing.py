from __future__ import annotations

import tarfile

import pytest

from pipelines.images.exact.comparing import file_differences, held
from tests.unit.exact.tar_files import Thing, layer

CASES = [
    (Thing("a", data=b"1"), Thing("a", data=b"2"), "content"),
    (Thing("a", data=b"1"), Thing("a", data=b"22"), "content (1 bytes, now 2)"),
    (Thing("a"), Thing("a", mode=0o755), "mode 0644, now 0755"),
    (Thing("a"), Thing("a", owner=(1, 2)), "owner 0:0, now 1:2"),
    (Thing("a"), Thing("a", tarfile.DIRTYPE), "file, now folder"),
    (Thing("a"), Thing("a", attributes={"user.x": b"1"}), "extended attributes"),
    (
        Thing("a", tarfile.SYMTYPE, link="x"),
        Thing("a", tarfile.SYMTYPE, link="y"),
        "leads to x, now y",
    ),
]


@pytest.mark.parametrize(("before", "now", "what"), CASES)
def test_what_differs_about_a_file_is_told(before: Thing, now: Thing, what: str) -> None:
    (found,) = file_differences(held([layer(before)]), held([layer(now)]))
    assert (found.path, found.what) == ("a", what)


def test_files_that_are_on_one_side_alone_are_told_and_times_do_not_count() -> None:
    before = held([layer(Thing("a"), Thing("both", mtime=1))])
    now = held([layer(Thing("b"), Thing("both", mtime=2))])
    assert [(each.path, each.what) for each in file_differences(before, now)] == [
        ("a", "only in the registry"),
        ("b", "only in the new build"),
    ]
