"""Which version is meant, and which one a rollback goes to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.actions import InputsError, NotFoundError
from server.releases.choosing import checked_channel, chosen, earlier, image_named
from server.store.channels import MoveKind, MoveRow, MoveState
from server.store.rows import ImageVersionRow

NOW = datetime(2026, 3, 1, tzinfo=UTC)
IMAGE = "ghcr.io/acme/web"


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


def version(number: int, letter: str, sha: str, *tags: str) -> ImageVersionRow:
    return ImageVersionRow(
        id=number,
        repository=1,
        full_name="acme/web",
        run=number,
        attempt=1,
        step="push.web",
        image=IMAGE,
        digest=digest(letter),
        tags=tags,
        sha=sha * 40,
        branch="main",
        size=1,
        created_at=NOW,
    )


ROWS = [
    version(3, "c", "3", "main", "latest", "sha-333333333333"),
    version(2, "b", "2", "main", "latest", "sha-222222222222"),
    version(1, "a", "2", "main", "latest", "1.0.0"),
]


@pytest.mark.parametrize(
    ("wanted", "letter"),
    [
        (digest("b"), "b"),
        ("sha256:aaaaaa", "a"),
        ("latest", "c"),
        ("1.0.0", "a"),
        ("3333333", "c"),
        ("2" * 40, "b"),
    ],
)
def test_a_version_is_meant_by_digest_tag_or_commit(wanted: str, letter: str) -> None:
    assert chosen(IMAGE, ROWS, wanted).digest == digest(letter)


@pytest.mark.parametrize("wanted", ["", "333", "none", "sha256:aaa", "sha256:dddddd", "d" * 40])
def test_what_means_no_version_is_told_so(wanted: str) -> None:
    with pytest.raises(NotFoundError, match="lading images"):
        chosen(IMAGE, ROWS, wanted)


def test_what_means_several_versions_is_refused() -> None:
    rows = [version(1, "a", "7", "x"), version(2, "b", "7", "y")]
    rows[0] = rows[0].model_copy(update={"sha": "7" * 39 + "1"})
    with pytest.raises(InputsError, match="give more of it"):
        chosen(IMAGE, rows, "7777777")


@pytest.mark.parametrize("name", ["sha-0123456789ab", "v1.2.3", "1.2.3", "a b", "", digest("a")])
def test_a_tag_that_is_written_once_is_no_channel(name: str) -> None:
    with pytest.raises(InputsError, match="cannot be a channel"):
        checked_channel(name)


def history(*moves: tuple[str | None, str] | tuple[str | None, str, MoveKind]) -> list[MoveRow]:
    made = []
    for number, (before, to, *kind) in enumerate(moves, 1):
        made.append(
            MoveRow(
                id=number,
                image=IMAGE,
                channel="production",
                kind=kind[0] if kind else MoveKind.PROMOTE,
                digest=to,
                from_digest=before,
                by="ada",
                state=MoveState.MOVED,
                error=None,
                at=NOW,
                ended_at=NOW,
            )
        )
    return made[::-1]


def test_a_rollback_goes_to_the_version_before() -> None:
    assert earlier(history((None, "a"), ("a", "b"), ("b", "c"))) == "b"


def test_a_second_rollback_goes_a_step_further_back_and_not_forth_again() -> None:
    back = ("c", "b", MoveKind.ROLLBACK)
    assert earlier(history((None, "a"), ("a", "b"), ("b", "c"), back)) == "a"


def test_after_a_rollback_and_a_new_promotion_it_goes_to_where_it_was_rolled_back_to() -> None:
    back = ("b", "a", MoveKind.ROLLBACK)
    assert earlier(history((None, "a"), ("a", "b"), back, ("a", "c"))) == "a"


def test_a_channel_that_was_there_before_us_can_be_rolled_back_to_that() -> None:
    assert earlier(history(("z", "a"))) == "z"


def test_a_channel_that_never_moved_has_nothing_before() -> None:
    assert earlier(history((None, "a"), ("a", "a"))) is None
    assert earlier([]) is None


def test_a_move_that_failed_counts_for_nothing() -> None:
    rows = history((None, "a"), ("a", "b"))
    rows[0] = rows[0].model_copy(update={"state": MoveState.FAILED})
    assert earlier(rows) is None


def test_an_image_is_meant_by_its_name_or_an_end_that_is_its_alone() -> None:
    known = [IMAGE, "docker.io/acme/api", "ghcr.io/other/api"]
    assert image_named(known, IMAGE) == IMAGE
    assert image_named(known, "web") == IMAGE
    assert image_named(known, "acme/api") == "docker.io/acme/api"
    with pytest.raises(InputsError, match="whole name"):
        image_named(known, "api")
    with pytest.raises(NotFoundError):
        image_named(known, "eb")
