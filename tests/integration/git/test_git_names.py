"""Names that people give, resolved on real repositories."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.hosts.port import Remote
from server.mirrors import MirrorError, MirrorKey, Mirrors, Resolved
from tests.parts.git_server import Repository, git

KEY = MirrorKey(host="ours", external_id="acme/web")


def local(repository: Repository) -> Remote:
    return Remote(url=str(repository.bare), protocols="file")


@pytest.fixture
def mirrors(folder: Path) -> Mirrors:
    return Mirrors(folder / "mirrors")


def resolve(
    mirrors: Mirrors, remote: Remote, name: str, default_branch: str | None = None
) -> Resolved:
    return asyncio.run(mirrors.resolve(KEY, remote, name, default_branch=default_branch))


@pytest.mark.parametrize("name", ["dev", "refs/heads/dev"])
def test_a_branch_is_resolved_to_where_it_is_now(
    mirrors: Mirrors, repository: Repository, name: str
) -> None:
    repository.pushed({"a": "1"})
    sha = repository.commit({"a": "2"})
    repository.push("HEAD:refs/heads/dev", "HEAD:refs/heads/other/refs/heads/dev")

    found = resolve(mirrors, local(repository), name)

    assert found == Resolved(sha=sha, ref="refs/heads/dev", branch="dev")


def test_an_annotated_tag_is_resolved_to_its_commit(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = repository.pushed({"a": "1"})
    git(repository.work, "tag", "-a", "-m", "first", "v1")
    repository.push("v1")

    found = resolve(mirrors, local(repository), "v1")

    assert found == Resolved(sha=sha, ref="refs/tags/v1", tag="v1")


def test_no_name_is_the_default_branch(mirrors: Mirrors, repository: Repository) -> None:
    sha = repository.commit({"a": "1"})
    repository.push("HEAD:refs/heads/trunk")

    found = resolve(mirrors, local(repository), "", "trunk")

    assert found == Resolved(sha=sha, ref="refs/heads/trunk", branch="trunk")


def test_a_branch_comes_before_a_tag_of_the_same_name(
    mirrors: Mirrors, repository: Repository
) -> None:
    tagged = repository.pushed({"a": "1"})
    repository.push("HEAD:refs/tags/same")
    sha = repository.commit({"a": "2"})
    repository.push("HEAD:refs/heads/same")

    assert resolve(mirrors, local(repository), "same").sha == sha
    assert resolve(mirrors, local(repository), "refs/tags/same").sha == tagged


def test_a_commit_id_stands_for_itself(mirrors: Mirrors, repository: Repository) -> None:
    sha = repository.pushed({"a": "1"})
    repository.pushed({"a": "2"})

    assert resolve(mirrors, local(repository), sha).sha == sha


@pytest.mark.parametrize("name", ["none", "mai", "*", "--upload-pack=touch pwned", "a b", "../x"])
def test_a_name_that_is_not_there_is_told(
    mirrors: Mirrors, repository: Repository, folder: Path, name: str
) -> None:
    repository.pushed({"a": "1"})

    with pytest.raises(MirrorError, match=r"no branch or tag|no name that git allows") as seen:
        resolve(mirrors, local(repository), name)

    assert seen.value.permanent
    assert not list(folder.rglob("pwned"))
