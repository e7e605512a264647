from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.images.exact.comparing import Held, held
from pipelines.images.exact.tars import LayerError, normalised
from tests.unit.exact.tar_files import Thing, layer, read

TIME = 1_600_000_000
CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\xff\n=\x00"

# What names are made of that might matter: order, whiteouts, other alphabets, nothing readable.
PARTS = st.sampled_from(["a", "b", "A", "-", ".wh.a", ".wh..wh..opq", "é", "\n", " =", "x" * 120])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["user.a", "security.capability"]), st.binary(min_size=1, max_size=20)
)
OWNERS = st.sampled_from([0, 1000, 8**7, 2**31])


@st.composite
def things(draw: st.DrawFn) -> Thing:
    kind = draw(st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]))
    return Thing(
        name=draw(NAMES),
        kind=kind,
        data=draw(st.binary(max_size=600)) if kind == tarfile.REGTYPE else b"",
        mode=draw(st.integers(0, 0o7777)),
        owner=(draw(OWNERS), draw(OWNERS)),
        mtime=draw(st.sampled_from([0.0, 1.5, 1_700_000_000.25, 2.0**33])),
        attributes=draw(ATTRIBUTES),
    )


LAYERS = st.lists(things(), max_size=6, unique_by=lambda thing: thing.name)


def whole(file: IO[bytes]) -> dict[bytes, Held]:
    """All that a layer holds, wherever in the file it stands."""
    return {
        name: Held(each.entry._replace(parts=()), each.digest)
        for name, each in held([file]).items()
    }


def written(*things: Thing, form: int = tarfile.PAX_FORMAT, time: int = TIME) -> bytes:
    return b"".join(normalised(layer(*things, form=form), time=time))


@settings(max_examples=60)
@given(LAYERS)
def test_what_is_normalised_once_more_is_the_same_bytes(made: list[Thing]) -> None:
    once = written(*made)
    assert b"".join(normalised(io.BytesIO(once), time=TIME)) == once


@settings(max_examples=60)
@given(LAYERS, st.randoms())
def test_neither_order_nor_times_nor_the_writers_form_have_a_say(
    made: list[Thing], random: object
) -> None:
    shuffled = [thing._replace(mtime=thing.mtime / 2) for thing in made]
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' own random
    assert written(*shuffled) == written(*made)


@settings(max_examples=60)
@given(LAYERS)
def test_every_entry_is_there_with_all_that_belongs_to_it(made: list[Thing]) -> None:
    before = whole(layer(*made))
    assert whole(io.BytesIO(written(*made))) == before
    assert len(before) == len(made)


def test_every_entry_has_the_one_time_and_no_names_of_owners() -> None:
    found = read(written(Thing("b"), Thing("a", owner=(1000, 100))))
    assert [(e.name, e.mtime, e.uname, e.gname, e.uid) for e in found] == [
        ("a", TIME, "", "", 1000),
        ("b", TIME, "", "", 0),
    ]


@pytest.mark.parametrize("first", ["b", "a"])
def test_files_that_are_one_file_stay_so_and_the_first_by_name_has_the_content(first: str) -> None:
    (other,) = {"a", "b"} - {first}
    things = [Thing(first, data=b"once"), Thing(other, tarfile.LNKTYPE, link=first)]
    things.append(Thing("c", tarfile.LNKTYPE, link=f"./{other}"))
    found = read(written(*things))
    assert [(e.name, e.type, e.linkname) for e in found] == [
        ("a", tarfile.REGTYPE, ""),
        ("b", tarfile.LNKTYPE, "a"),
        ("c", tarfile.LNKTYPE, "a"),
    ]


def test_capabilities_and_other_attributes_stay_byte_for_byte() -> None:
    attributes = {"security.capability": CAPABILITY, "user.a": "ü".encode()}
    (entry,) = read(written(Thing("bin/ping", mode=0o4755, attributes=attributes)))
    kept = {
        name: value.encode("utf-8", "surrogateescape") for name, value in entry.pax_headers.items()
    }
    assert kept == {f"SCHILY.xattr.{name}": value for name, value in attributes.items()}
    assert entry.mode == 0o4755


def test_whiteouts_come_before_what_stands_beside_them() -> None:
    names = ["d/-a", "d/.wh.b", "d/.wh..wh..opq", "d/A"]
    found = read(written(Thing("d", tarfile.DIRTYPE), *(Thing(name) for name in names)))
    assert [e.name for e in found] == ["d", "d/.wh..wh..opq", "d/.wh.b", "d/-a", "d/A"]


def test_devices_and_pipes_and_links_stay_what_they_are() -> None:
    found = read(
        written(
            Thing("a", tarfile.CHRTYPE, device=(1, 3)),
            Thing("b", tarfile.BLKTYPE, device=(8, 1)),
            Thing("c", tarfile.FIFOTYPE),
            Thing("d", tarfile.SYMTYPE, link="../" + "x" * 200),
        )
    )
    assert [(e.type, e.devmajor, e.devminor) for e in found[:2]] == [
        (tarfile.CHRTYPE, 1, 3),
        (tarfile.BLKTYPE, 8, 1),
    ]
    assert found[2].isfifo()
    assert found[3].linkname == "../" + "x" * 200


def test_long_names_and_large_ids_stay_whole_in_every_form() -> None:
    name, owner = "/".join(["é" * 60] * 5), (2**31, 2**30)
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        (entry,) = read(written(Thing(name, owner=owner), form=form))
        assert (entry.name, entry.uid, entry.gid) == (name, *owner)


def test_a_name_that_is_no_unicode_stays_byte_for_byte() -> None:
    raw = b"caf\xe9"
    (entry,) = read(written(Thing(raw.decode("utf-8", "surrogateescape"))))
    assert entry.name.encode("utf-8", "surrogateescape") == raw


def test_of_two_entries_with_one_name_the_last_counts() -> None:
    (entry,) = read(written(Thing("a", data=b"1"), Thing("./a", data=b"22")))
    assert entry.size == 2


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_a_sparse_file_has_its_holes_filled(tmp_path: Path, form: str) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(3_000_000)
        file.seek(1_000_000)
        file.write(b"middle")
    archive = tmp_path / "layer.tar"
    subprocess.run(
        ["tar", "--sparse", f"--format={form}", "-cf", archive, "-C", tmp_path, "sparse"],
        check=True,
    )
    assert archive.stat().st_size < 100_000
    with archive.open("rb") as packed:
        data = b"".join(normalised(packed, time=TIME))
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        content = found.extractfile("sparse")
        assert content is not None
        assert content.read() == sparse.read_bytes()


def test_what_another_tar_extracts_is_the_same_tree(tmp_path: Path) -> None:
    things = [
        Thing("d", tarfile.DIRTYPE, mode=0o750),
        Thing("d/x" * 40, data=b"deep"),
        Thing("d/z", data=b"z" * 700),
        Thing("d/a", tarfile.LNKTYPE, link="d/z"),
        Thing("d/s", tarfile.SYMTYPE, link="z"),
    ]
    for name, data in (("before", layer(*things).getvalue()), ("now", written(*things))):  # type: ignore[attr-defined]  # a BytesIO
        (tmp_path / name).mkdir()
        subprocess.run(["tar", "-x", "-C", tmp_path / name], input=data, check=True)
    subprocess.run(
        ["diff", "--recursive", "--no-dereference", tmp_path / "before", tmp_path / "now"],
        check=True,
    )
    assert (tmp_path / "now/d/a").samefile(tmp_path / "now/d/z")


@pytest.mark.parametrize(
    "file",
    [
        io.BytesIO(b"no tar" * 200),
        io.BytesIO(written(Thing("a", data=b"x" * 5000))[:1500]),
        layer(Thing("a/../../b")),
        layer(Thing("a", kind=b"Z")),
    ],
)
def test_what_no_layer_may_be_is_refused(file: IO[bytes]) -> None:
    with pytest.raises(LayerError):
        list(normalised(file, time=TIME))
