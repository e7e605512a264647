"""A checkout, and one commit or the working tree of it as a tree that can be read.

The working tree is what `git add -A` would make of it: what `.gitignore` names is left out, the
person's own filters and line ends apply. Its objects and its index lie in a temporary folder;
nothing is written into the checkout's repository.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.checkout.git import CheckoutError, Git, RevisionError
from pipelines.source import GitSource
from pipelines.values import Value

_FORMAT = "%H%x00%ct%x00%an%x00%B"
_AT_HOST = re.compile(r"^(?:[a-z+]+://[^/]+/|[^/:]+:)(?P<path>.+)$")
_MARK = ".git"


class Commit(Value):
    """What a commit says about itself."""

    sha: str
    committed_at: datetime
    author: str
    message: str

    @property
    def title(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One state of the files, as a commit that can be read like any other."""

    sha: str
    """A commit's name; for a changed working tree one of our own, that no repository has."""
    commit: Commit | None
    """The commit it is, or that the working tree was changed from; None before the first."""
    changed: bool
    """Whether it is a working tree that no commit has."""
    git: Git
    git_dir: Path

    def source(self) -> GitSource:
        """Its files."""
        return GitSource(self.git_dir, self.sha)

    @property
    def committed_at(self) -> datetime:
        """The time its files and images carry: of a changed working tree, the commit's below.

        So that the same files give the same image.
        """
        return self.commit.committed_at if self.commit else datetime.now(UTC)

    def paths(self, base: str, *, from_merge_base: bool) -> frozenset[str] | None:
        """The paths that differ from the base commit; None where that cannot be known."""
        if from_merge_base:
            found = self.git.line("merge-base", base, self.sha)
            if found is None:
                return None
            base = found
        answer = self.git.ask(
            "diff-tree", "-r", "-z", "--name-only", "--no-renames", base, self.sha, "--"
        )
        if answer is None:
            return None
        return frozenset(path.decode("utf-8", "replace") for path in answer.split(b"\0") if path)


def root_of(folder: Path) -> Path | None:
    """The top of the checkout that the folder is in, without asking git; None outside of one."""
    folder = folder.absolute()
    return next((each for each in (folder, *folder.parents) if (each / _MARK).exists()), None)


class Checkout:
    """A git repository with its working tree."""

    def __init__(self, root: Path, *, git_dir: Path, index: Path) -> None:
        self.root = root
        self.git = Git(root)
        self._git_dir = git_dir
        self._index = index

    @classmethod
    def at(cls, folder: Path) -> Checkout:
        """The checkout that the folder is in.

        Raises:
            CheckoutError: It is in none, or git refuses to read it.
        """
        git = Git(folder)
        if git.ask("rev-parse", "--git-dir") is None and root_of(folder) is None:
            raise CheckoutError(
                f"{folder} is in no git repository: `git init` makes one, and nothing need be "
                "committed to run or explain a pipeline"
            )
        answer = os.fsdecode(
            git.tell("rev-parse", "--show-toplevel", "--git-common-dir", "--git-path", "index")
        )
        root, git_dir, index = answer.splitlines()
        return cls(Path(root), git_dir=folder / git_dir, index=folder / index)

    @cached_property
    def branch(self) -> str | None:
        """The branch that is checked out; None where it is a commit without a branch."""
        return self.git.line("symbolic-ref", "--quiet", "--short", "HEAD")

    @cached_property
    def head(self) -> Commit | None:
        """The commit that is checked out; None before the first."""
        return self._commit("HEAD")

    @cached_property
    def name(self) -> str:
        """`owner/name` as the remote has it; else the folder's name."""
        told = repository_name(self.remote) if self.remote else ""
        return told or self.root.name or "repository"

    @cached_property
    def remote(self) -> str | None:
        """Where `origin` is."""
        return self.git.line("config", "--get", "remote.origin.url")

    @cached_property
    def default_branch(self) -> str | None:
        """The default branch: the remote's, else `main` or `master`, else the only one known."""
        told = self.git.line("symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
        if told:
            return told.removeprefix("origin/")
        for name in ("main", "master"):
            if name == self.branch or self.resolve(f"refs/heads/{name}"):
                return name
        return self.branch

    def resolve(self, revision: str) -> str | None:
        """The full name of the commit a revision means; None where it is none."""
        if revision.startswith("-"):
            return None
        return self.git.line("rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}")

    def needed(self, revision: str) -> str:
        """The full name of the commit that a person named.

        Raises:
            RevisionError: It is none.
        """
        found = self.resolve(revision)
        if found is None:
            raise RevisionError(
                f"'{revision}' is no commit of {self.root}: name a branch, a tag or a commit; "
                "`git fetch` gets those of others"
            )
        return found

    def at_commit(self, revision: str) -> Tree:
        """The files of a commit.

        Raises:
            RevisionError: There is no such commit.
        """
        commit = self._commit(self.needed(revision))
        if commit is None:
            raise RevisionError(f"'{revision}' cannot be read")
        return Tree(
            sha=commit.sha, commit=commit, changed=False, git=self.git, git_dir=self._git_dir
        )

    @contextlib.contextmanager
    def working_tree(self) -> Iterator[Tree]:
        """The files as they lie here, for as long as the context is open.

        Raises:
            CheckoutError: git cannot read them.
        """
        with TemporaryDirectory(prefix="lading-tree-") as name:
            folder = Path(name)
            git = self._beside(folder)
            git.tell("add", "--all", "--", ":/")
            tree = git.tell("write-tree").decode().strip()
            head = self.head
            if head is not None and self.git.line("rev-parse", f"{head.sha}^{{tree}}") == tree:
                sha, changed = head.sha, False
            else:
                sha, changed = _committed(git, tree, head), True
            yield Tree(sha=sha, commit=head, changed=changed, git=git, git_dir=folder)

    def _beside(self, folder: Path) -> Git:
        """The same git with an index and an object folder of its own, on top of the checkout's."""
        objects = folder / "objects"
        (objects / "info").mkdir(parents=True)
        below = (self._git_dir / "objects").resolve()
        (objects / "info" / "alternates").write_bytes(_quoted(below) + b"\n")
        index = folder / "index"
        # What the checkout's own index knows of files need not be read again.
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(self._index, index)
        return self.git.also(
            {
                "GIT_INDEX_FILE": str(index),
                "GIT_OBJECT_DIRECTORY": str(objects),
            },
            # `git lfs` keeps what it is given to clean: not in the checkout, for us.
            options=("-c", f"lfs.storage={folder / 'lfs'}"),
        )

    def _commit(self, revision: str) -> Commit | None:
        answer = self.git.ask(
            *("log", "-1", "--no-show-signature", f"--format={_FORMAT}"),
            *("--end-of-options", revision, "--"),
        )
        if not answer:
            return None
        sha, seconds, author, message = answer.decode("utf-8", "replace").split("\0", 3)
        return Commit(
            sha=sha,
            committed_at=datetime.fromtimestamp(int(seconds), UTC),
            author=author,
            message=message.strip(),
        )


def repository_name(remote: str) -> str:
    """`acme/web` of a remote's address; of a folder's path its last two parts."""
    found = _AT_HOST.match(remote)
    path = found["path"] if found else "/".join(Path(remote).parts[-2:])
    return path.strip("/").removesuffix(".git").strip("/")


def _committed(git: Git, tree: str, head: Commit | None) -> str:
    """A commit of that tree: the same files on the same commit give the same name."""
    seconds = int(head.committed_at.timestamp()) if head else int(datetime.now(UTC).timestamp())
    who = {"NAME": "Lading", "EMAIL": "lading@localhost", "DATE": f"@{seconds} +0000"}
    identity = {
        f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()
    }
    parent = ("-p", head.sha) if head else ()
    message = head.message if head else "Working tree"
    made = git.also(identity).tell(
        "commit-tree", tree, *parent, "-m", message or "Working tree", "--no-gpg-sign"
    )
    return made.decode().strip()


def _quoted(path: Path) -> bytes:
    """A line of an `alternates` file; one that a quote or a line's end would break is quoted.

    https://git-scm.com/docs/gitrepository-layout (objects/info/alternates)
    """
    raw = os.fsencode(path)
    if b"\n" not in raw and not raw.startswith((b'"', b"#")):
        return raw
    escaped = raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"'


__all__ = ["Checkout", "CheckoutError", "Commit", "Tree", "root_of"]
