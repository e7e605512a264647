"""What templates are told of a commit's files: by the server's mirror, and at home."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipelines.checkout import Checkout, look_in_folder, look_in_tree
from pipelines.recipes import Files, Sought
from server.mirrors import MirrorError, MirrorKey, Mirrors
from tests.integration.git.test_git_mirrors import local
from tests.parts.git_server import Repository

KEY = MirrorKey(host="Our Git", external_id="acme/web")
ASKED = Sought(
    paths=frozenset({"requirements.txt", "web/go.mod", "link", "folder", "nothing", "large.txt"})
    | {f"{number}/{'long' * 60}" for number in range(1200)},
    texts=frozenset({"requirements.txt", "large.txt", "nothing"}),
)
THERE = Files(
    paths=frozenset({"requirements.txt", "web/go.mod", "large.txt"}),
    texts={"requirements.txt": "flask==3.0\n"},
)


def filled(repository: Repository) -> str:
    (repository.work / "link").symlink_to("/etc/passwd")
    return repository.pushed(
        {
            "requirements.txt": "flask==3.0\n",
            "web/go.mod": "module web\n",
            "folder/x": "x",
            "large.txt": "x" * (1024 * 1024 + 1),
        }
    )


@pytest.fixture
def mirrors(folder: Path) -> Mirrors:
    return Mirrors(folder / "mirrors")


def test_the_server_sees_plain_files_and_the_texts_of_small_ones(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = filled(repository)
    git_dir = asyncio.run(
        mirrors.fetch(KEY, local(repository), sha=sha, ref="refs/heads/main", before=None)
    )

    assert asyncio.run(mirrors.look(git_dir, sha, ASKED)) == THERE


def test_a_checkout_sees_the_same_by_git_and_without(repository: Repository) -> None:
    filled(repository)
    with Checkout.at(repository.work).working_tree() as tree:
        assert look_in_tree(tree, ASKED) == THERE
    assert look_in_folder(repository.work, ASKED) == THERE


def test_a_file_of_a_commit_is_read_whole_or_not_at_all(
    mirrors: Mirrors, repository: Repository
) -> None:
    sha = filled(repository)

    async def asked(path: str, limit: int) -> bytes | None:
        git_dir = await mirrors.fetch(
            KEY, local(repository), sha=sha, ref="refs/heads/main", before=None
        )
        return await mirrors.file(git_dir, sha, path, limit=limit)

    assert asyncio.run(asked("web/go.mod", 100)) == b"module web\n"
    assert asyncio.run(asked("web/go.mod", 5)) is None
    assert asyncio.run(asked("link", 100)) is None


def test_a_mirror_that_is_gone_is_told(mirrors: Mirrors, folder: Path) -> None:
    with pytest.raises(MirrorError):
        asyncio.run(mirrors.file(folder / "gone.git", "a" * 40, "Dockerfile", limit=100))
