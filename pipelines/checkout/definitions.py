"""The pipeline files of a tree, or of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipelines.checkout.repository import Tree
from pipelines.definition.tree import MAX_BYTES
from pipelines.parsing import FOLDER, SINGLE_FILE, is_pipeline_file
from pipelines.recipes import Files, Sought
from pipelines.recipes.looking import LISTING, MAX_READ, Blob, batches, listed
from pipelines.values import Value

_MISNAMED = f"{SINGLE_FILE.removesuffix('.yml')}.yaml"
_KINDS = {"120000": "a symbolic link", "40000": "a folder", "040000": "a folder"}


class DefinitionFiles(Value):
    """What is read as pipelines."""

    files: dict[str, bytes]
    """By path from the repository's root; of one that is too large only its beginning."""
    unreadable: dict[str, str] = {}
    """Files that look like pipelines and are not read, each with the reason."""


def in_tree(tree: Tree) -> DefinitionFiles:
    """The pipeline files of a tree, as the server reads them from a commit.

    Raises:
        CheckoutError, SourceError: git cannot read it.
    """
    source = tree.source()
    files: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    for path, mode in _listed(tree):
        if path == _MISNAMED:
            unreadable[path] = f"is not read: name it {SINGLE_FILE}"
        elif path == FOLDER:
            unreadable[path] = "is not read: it must be a folder of its own, not a link"
        elif is_pipeline_file(path) and not mode.startswith("100"):
            kind = _KINDS.get(mode, "a submodule")
            unreadable[path] = f"is {kind}, which is not followed: put the file itself there"
        elif is_pipeline_file(path):
            files[path] = source.read(path) or b""
    return DefinitionFiles(files=files, unreadable=unreadable)


def _listed(tree: Tree) -> Iterator[tuple[str, str]]:
    """Paths that could be pipelines, with their modes."""
    wanted = (SINGLE_FILE, _MISNAMED, FOLDER, f"{FOLDER}/")
    answer = tree.git.tell("ls-tree", "-z", "--full-tree", tree.sha, "--", *wanted)
    for entry in answer.split(b"\0"):
        facts, _, path = entry.partition(b"\t")
        mode = facts.split(b" ")[0].decode()
        if path and not (path == FOLDER.encode() and mode == "040000"):
            yield path.decode("utf-8", "replace"), mode


def in_folder(root: Path) -> DefinitionFiles:
    """The pipeline files that lie in a folder, without git."""
    files: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    for path in _lying(root):
        name = os.fsencode(path.relative_to(root)).decode("utf-8", "replace")
        if name == _MISNAMED:
            unreadable[name] = f"is not read: name it {SINGLE_FILE}"
        elif path.is_symlink():
            unreadable[name] = (
                "is a symbolic link, which is not followed: put the file itself there"
            )
        else:
            try:
                files[name] = beginning(path)
            except OSError as error:
                unreadable[name] = f"cannot be read: {error.strerror or error}"
    return DefinitionFiles(files=files, unreadable=unreadable)


def _lying(root: Path) -> Iterator[Path]:
    for name in (SINGLE_FILE, _MISNAMED):
        if os.path.lexists(root / name):
            yield root / name
    folder = root / FOLDER
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix == ".yml")


def beginning(path: Path) -> bytes:
    """As much of a file as it takes to see that it is too large for a pipeline."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def look_in_tree(tree: Tree, asked: Sought) -> Files:
    """What templates want to know of a tree's files, as the server sees them.

    Raises:
        CheckoutError, SourceError: git cannot read it.
    """
    source = tree.source()
    blobs: dict[str, Blob] = {}
    for paths in batches(asked.paths):
        blobs |= listed(tree.git.tell(*LISTING, tree.sha, "--", *paths))
    texts = {
        path: (source.read(path) or b"").decode("utf-8", "replace")
        for path in asked.texts & blobs.keys()
        if blobs[path].size <= MAX_READ
    }
    return Files(paths=frozenset(blobs), texts=texts)


def look_in_folder(root: Path, asked: Sought) -> Files:
    """What templates want to know of the files that lie in a folder, without git."""
    there = {path for path in asked.paths if _is_plain(root / path)}
    texts = {}
    for path in asked.texts & there:
        with (root / path).open("rb") as file:
            raw = file.read(MAX_READ + 1)
        if len(raw) <= MAX_READ:
            texts[path] = raw.decode("utf-8", "replace")
    return Files(paths=frozenset(there), texts=texts)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
