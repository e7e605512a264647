from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.references import is_tag
from pipelines.tagging import branch_slug, default_tags, tag_slug, version_tags
from tests.unit.pipelines.building import MANUAL, PULL, PUSH, push_to, tagged

SHORT = "sha-0123456789ab"


def test_the_default_branch_gives_slug_commit_and_latest() -> None:
    assert default_tags(PUSH) == ("main", SHORT, "latest")


def test_another_branch_never_gives_latest() -> None:
    assert default_tags(push_to("feature/login")) == ("feature-login", SHORT)


def test_a_manual_run_on_a_branch_is_tagged_as_a_push() -> None:
    assert default_tags(MANUAL) == ("main", SHORT, "latest")


def test_a_commit_without_branch_or_tag_gives_the_commit_alone() -> None:
    assert default_tags(PUSH.model_copy(update={"branch": None})) == (SHORT,)


def test_a_pull_request_gives_its_number_alone() -> None:
    assert default_tags(PULL) == ("pr-7",)


def test_a_pull_request_without_a_number_gives_nothing() -> None:
    assert default_tags(PULL.model_copy(update={"pull_request": None})) == ()


def test_a_tag_event_gives_the_versions_tags() -> None:
    assert default_tags(tagged("v1.2.3")) == ("1.2.3", "1.2", "1", "latest")


@pytest.mark.parametrize(
    ("tag", "tags"),
    [
        ("1.2.3", ("1.2.3", "1.2", "1", "latest")),
        ("v0.4.1", ("0.4.1", "0.4", "latest")),
        ("v1.2.3-rc.1", ("1.2.3-rc.1",)),
        ("v1.2.3+build.5", ("1.2.3-build.5",)),
        ("release-5", ("release-5",)),
        ("web/v1", ("web-v1",)),
        ("v01.2.3", ("v01.2.3",)),
    ],
)
def test_a_git_tag_gives_tags(tag: str, tags: tuple[str, ...]) -> None:
    assert version_tags(tag) == tags


@pytest.mark.parametrize(
    "branch", ["latest", "LATEST", "sha-0123456789ab", "pr-7", "1.2.3", "v1.2", "1", "1.2.3-rc.1"]
)
def test_a_branch_cannot_move_a_tag_that_people_trust(branch: str) -> None:
    slug = branch_slug(branch, "main")
    assert slug.startswith(branch.lower() + "-")
    assert is_tag(slug)


@pytest.mark.parametrize("branch", ["Main", "MAIN", "mäin", "main!"])
def test_a_branch_that_only_looks_like_another_gets_a_slug_of_its_own(branch: str) -> None:
    assert branch_slug(branch, "main") not in ("main", "main-", "m-in")


def test_a_branch_whose_slug_is_the_default_branchs_gets_one_of_its_own() -> None:
    assert branch_slug("release-1", "release-1") == "release-1"
    assert branch_slug("release/1", "release-1") != "release-1"


def test_the_default_branch_keeps_its_name_in_lower_case() -> None:
    assert branch_slug("Main/Line", "Main/Line") == "main-line"


@pytest.mark.parametrize("tag", ["latest", "sha-0123456789ab", "pr-7", "-", "a" * 200])
def test_a_git_tag_cannot_take_a_trusted_name_or_be_no_tag(tag: str) -> None:
    slug = tag_slug(tag)
    assert slug != tag
    assert is_tag(slug)


@given(st.text(min_size=1), st.none() | st.text())
def test_every_branch_and_tag_gives_a_valid_tag(name: str, default: str | None) -> None:
    assert is_tag(branch_slug(name, default))
    assert is_tag(tag_slug(name))
    assert all(is_tag(tag) for tag in version_tags(name))


@given(st.text(min_size=1), st.sampled_from(["main", "latest", "Main", "1.0"]))
def test_no_other_branch_gets_the_default_branchs_tag(name: str, default: str) -> None:
    assert name == default or branch_slug(name, default) != branch_slug(default, default)
