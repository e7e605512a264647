"""A person's checkout, read by real git, and left as it was."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines.checkout import (
    Asked,
    Checkout,
    CheckoutError,
    Happening,
    RevisionError,
    Tree,
    happening,
    in_folder,
    in_tree,
    root_of,
)
from pipelines.checkout.repository import repository_name
from pipelines.events import EventKind

WHO = {
    f"GIT_{role}_{key}": "ada@b.c" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")
}
WHEN = {"GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}


class Repository:
    """A checkout to look at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            env=os.environ | WHO | WHEN,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, content in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(content)

    def commit(self, files: Mapping[str, str], message: str = "Begin") -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    @property
    def checkout(self) -> Checkout:
        return Checkout.at(self.root)

    def state(self) -> dict[str, bytes | str]:
        """Everything in `.git`, byte for byte."""
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else ""
            for path in sorted((self.root / ".git").rglob("*"))
        }


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "web")


def names(tree: Tree) -> list[str]:
    with tree.source().archive() as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        return sorted(entry.name for entry in archive if entry.isfile())


def test_an_unchanged_working_tree_is_its_commit(repository: Repository) -> None:
    sha = repository.commit({"a.txt": "a"})

    with repository.checkout.working_tree() as tree:
        assert (tree.sha, tree.changed) == (sha, False)
        assert tree.committed_at.isoformat() == "2026-01-02T03:04:05+00:00"
        assert names(tree) == ["a.txt"]


def test_a_working_tree_is_what_adding_everything_would_make_of_it(repository: Repository) -> None:
    repository.commit(
        {"kept.txt": "a", "gone.txt": "b", "staged.txt": "c", ".gitignore": "*.log\n"}
    )
    (repository.root / "gone.txt").unlink()
    repository.write({"staged.txt": "d", "new/one.txt": "e", "noise.log": "f"})
    repository.git("add", "staged.txt")
    repository.write({"staged.txt": "newest"})

    with repository.checkout.working_tree() as tree:
        assert tree.changed
        assert names(tree) == [".gitignore", "kept.txt", "new/one.txt", "staged.txt"]
        assert tree.source().read("staged.txt") == b"newest"


@pytest.mark.parametrize(
    "settings", [{}, {"core.splitIndex": "true", "core.untrackedCache": "true"}]
)
def test_nothing_is_written_into_the_repository(
    repository: Repository, settings: dict[str, str]
) -> None:
    repository.commit({"a.txt": "a"})
    for name, value in settings.items():
        repository.git("config", name, value)
    repository.git("update-index", "--refresh")
    repository.write({"a.txt": "changed", "b.txt": "new"})
    before = repository.state()

    with repository.checkout.working_tree() as tree:
        in_tree(tree)
        happening(repository.checkout, tree, Asked())
        names(tree)

    assert repository.state() == before


def test_no_hook_of_the_person_runs(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"a.txt": "a"})
    for hook in ("post-index-change", "pre-commit", "post-commit", "reference-transaction"):
        path = repository.root / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {hook} >> {tmp_path}/ran\n")
        path.chmod(0o755)
    repository.write({"a.txt": "changed"})

    with repository.checkout.working_tree() as tree:
        assert tree.changed

    assert not (tmp_path / "ran").exists()


def test_a_filter_is_told_to_keep_its_files_elsewhere(repository: Repository) -> None:
    repository.commit({".gitattributes": "*.bin filter=big\n"})
    repository.git("config", "filter.big.clean", "git config lfs.storage")
    repository.write({"a.bin": "large"})

    with repository.checkout.working_tree() as tree:
        place = (tree.source().read("a.bin") or b"").decode()

    assert place.endswith("/lfs\n")
    assert not place.startswith(str(repository.root))


def test_the_same_files_on_the_same_commit_have_the_same_name(repository: Repository) -> None:
    repository.commit({"a.txt": "a"})
    repository.write({"a.txt": "b"})

    shas = set()
    for _ in range(2):
        with repository.checkout.working_tree() as tree:
            shas.add(tree.sha)

    assert len(shas) == 1


def test_before_the_first_commit_there_is_a_working_tree(repository: Repository) -> None:
    repository.write({"a.txt": "a"})

    checkout = repository.checkout
    with checkout.working_tree() as tree:
        assert names(tree) == ["a.txt"]
        assert (tree.commit, checkout.branch, checkout.default_branch) == (None, "main", "main")


def test_a_folder_below_and_a_linked_worktree_are_checkouts(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"src/a.txt": "a"})
    repository.git("worktree", "add", "--quiet", "-b", "dev", str(tmp_path / "other"))
    (tmp_path / "other" / "b.txt").write_text("b")

    assert Checkout.at(repository.root / "src").root == repository.root
    linked = Checkout.at(tmp_path / "other" / "src")
    with linked.working_tree() as tree:
        assert (linked.branch, names(tree)) == ("dev", ["b.txt", "src/a.txt"])
    assert names(linked.at_commit("main")) == ["src/a.txt"]


def test_a_hooks_environment_leads_nowhere_else(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = repository.commit({"a.txt": "a"})
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_WORK_TREE"):
        monkeypatch.setenv(name, "/nowhere")

    with repository.checkout.working_tree() as tree:
        assert tree.sha == sha


def test_a_folder_of_odd_name_can_be_read(tmp_path: Path) -> None:
    repository = Repository(tmp_path / '"we b\\#')
    repository.commit({"a.txt": "a"})
    repository.write({"b.txt": "b"})

    with repository.checkout.working_tree() as tree:
        assert names(tree) == ["a.txt", "b.txt"]


def test_outside_of_a_repository_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match="git init"):
        Checkout.at(tmp_path)
    assert root_of(tmp_path) is None


@pytest.mark.parametrize("revision", ["nowhere", "--all", "-p", "HEAD:a.txt", ""])
def test_a_revision_that_is_none_is_told(repository: Repository, revision: str) -> None:
    repository.commit({"a.txt": "a"})

    with pytest.raises(RevisionError, match="is no commit"):
        repository.checkout.at_commit(revision)


def test_a_commit_is_read_as_it_is_whatever_lies_here(repository: Repository) -> None:
    first = repository.commit({"a.txt": "a"}, "First\n\nMore")
    repository.commit({"b.txt": "b"})
    repository.write({"c.txt": "c"})

    tree = repository.checkout.at_commit("HEAD~1")

    assert tree.commit is not None
    assert (tree.sha, tree.commit.title, tree.commit.author) == (first, "First", "ada@b.c")
    assert names(tree) == ["a.txt"]


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("git@github.com:acme/web.git", "acme/web"),
        ("https://user:token@gitlab.com/group/sub/web.git/", "group/sub/web"),
        ("ssh://git@host:2222/acme/web", "acme/web"),
        ("/srv/git/acme/web.git", "acme/web"),
    ],
)
def test_the_remote_names_the_repository(remote: str, name: str) -> None:
    assert repository_name(remote) == name


def test_without_a_remote_the_folder_names_the_repository(repository: Repository) -> None:
    assert repository.checkout.name == "web"


def changed(found: Happening) -> list[str]:
    assert found.changed is not None
    return sorted(found.changed)


def cloned(repository: Repository, folder: Path) -> Repository:
    subprocess.run(["git", "clone", "--quiet", repository.root, folder], check=True)
    return Repository(folder)


def test_a_push_is_compared_with_what_the_upstream_has(
    repository: Repository, tmp_path: Path
) -> None:
    before = repository.commit({"a.txt": "a", "old.txt": "o"})
    clone = cloned(repository, tmp_path / "clone")
    clone.commit({"b.txt": "b"})
    clone.git("mv", "old.txt", "new.txt")
    clone.write({"c.txt": "c"})

    with clone.checkout.working_tree() as tree:
        found = happening(clone.checkout, tree, Asked())

    assert found.event.kind is EventKind.PUSH
    assert (found.event.branch, found.event.ref) == ("main", "refs/heads/main")
    assert (found.event.before, found.event.default_branch) == (before, "main")
    assert changed(found) == ["b.txt", "c.txt", "new.txt", "old.txt"]


def test_a_pull_request_is_compared_with_where_the_two_parted(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"a.txt": "a"})
    clone = cloned(repository, tmp_path / "clone")
    clone.git("switch", "--quiet", "--create", "fix")
    clone.commit({"fix.txt": "f"})
    repository.commit({"main.txt": "m"})
    clone.git("fetch", "--quiet")

    found = happening(
        clone.checkout,
        clone.checkout.at_commit("HEAD"),
        Asked(kind=EventKind.PULL_REQUEST, from_fork=True),
    )

    assert changed(found) == ["fix.txt"]
    assert (found.event.branch, found.event.source_branch) == ("main", "fix")
    assert found.event.from_fork


def test_without_anything_to_compare_with_the_changes_are_not_known(repository: Repository) -> None:
    repository.commit({"a.txt": "a"})

    found = happening(repository.checkout, repository.checkout.at_commit("HEAD"), Asked())

    assert found.changed is None
    assert "--base" in found.compared


def test_a_person_says_what_changed(repository: Repository) -> None:
    repository.commit({"a.txt": "a"})
    repository.commit({"b.txt": "b"})
    checkout = repository.checkout
    tree = checkout.at_commit("HEAD")

    assert changed(happening(checkout, tree, Asked(base="HEAD~1"))) == ["b.txt"]
    assert changed(happening(checkout, tree, Asked(changed=("x", "y")))) == ["x", "y"]
    with pytest.raises(RevisionError):
        happening(checkout, tree, Asked(base="nowhere"))


def test_a_tag_wants_a_name_and_has_no_branch(repository: Repository) -> None:
    repository.commit({"a.txt": "a"})
    checkout = repository.checkout
    tree = checkout.at_commit("HEAD")

    event = happening(checkout, tree, Asked(tag="v1")).event
    assert (event.kind, event.tag, event.ref, event.branch) == (
        EventKind.TAG,
        "v1",
        "refs/tags/v1",
        None,
    )
    with pytest.raises(CheckoutError, match="--tag"):
        happening(checkout, tree, Asked(kind=EventKind.TAG))


def test_a_commit_without_a_branch_is_pushed_to_none(repository: Repository) -> None:
    sha = repository.commit({"a.txt": "a"})
    repository.git("switch", "--quiet", "--detach")

    event = happening(repository.checkout, repository.checkout.at_commit("HEAD"), Asked()).event

    assert (event.branch, event.ref, event.sha) == (None, "HEAD", sha)


def test_pipelines_are_read_from_a_tree_as_the_server_reads_them(repository: Repository) -> None:
    repository.commit(
        {".lading/b.yml": "b", ".lading/a.yml": "a", ".lading/c.txt": "c", ".lading/d/e.yml": "e"}
    )
    (repository.root / ".lading" / "link.yml").symlink_to("a.yml")
    repository.write({".lading.yaml": "x", "sub/.lading.yml": "y"})

    with repository.checkout.working_tree() as tree:
        found = in_tree(tree)

    assert found.files == {".lading/a.yml": b"a", ".lading/b.yml": b"b"}
    assert set(found.unreadable) == {".lading.yaml", ".lading/link.yml"}
    assert "symbolic link" in found.unreadable[".lading/link.yml"]
    assert in_folder(repository.root) == found


def test_what_is_ignored_is_no_pipeline_of_a_tree(repository: Repository) -> None:
    repository.write({".gitignore": ".lading/\n", ".lading/a.yml": "a", ".lading.yml": "b"})

    with repository.checkout.working_tree() as tree:
        assert in_tree(tree).files == {".lading.yml": b"b"}
