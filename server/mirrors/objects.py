"""A commit and the pipeline files in it, read by one `git cat-file --batch`. Blocking."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pipelines.values import Value
from server.mirrors import command, failures
from server.mirrors.command import MirrorError
from server.mirrors.processes import Process

FILE = ".lading.yml"
FOLDER = ".lading"
SUFFIX = ".yml"
DEFINITION_LIMIT = 1024 * 1024  # bytes of one file
DEFINITIONS_LIMIT = 100  # files
COMMIT_LIMIT = 1024 * 1024  # bytes
TREE_LIMIT = 8 * 1024 * 1024  # bytes of one folder's listing
AHEAD_LIMIT = 32 * 1024  # bytes of a commit's definitions that are kept before they are asked for
_REGULAR = frozenset({b"100644", b"100755", b"100664"})
_PERSON = re.compile(rb"^(?P<name>[^<]*)<(?P<email>[^>]*)> (?P<seconds>-?\d+)")


class CommitInfo(Value):
    """What a commit says about itself; all of it written by strangers."""

    committed_at: datetime
    """In UTC; the epoch where the commit's own time is no time."""
    title: str
    message: str
    author: str
    """The author's name, or address where there is no name."""


class Snapshot(Value):
    """The pipeline files at one commit."""

    sha: str
    """The commit; for an annotated tag the one it points at."""
    commit: CommitInfo
    definitions: dict[str, bytes]
    """By path: `.lading.yml`, `.lading/web.yml`."""
    unreadable: dict[str, str]
    """Files that look like definitions and are not read: path to the reason, a sentence part."""


class _TooLargeError(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class _GoneError(Exception):
    """An object is not there: as `error` says, unless git has seen damage."""

    def __init__(self, error: MirrorError) -> None:
        super().__init__(error)
        self.error = error


class _Entry(NamedTuple):
    mode: bytes
    sha: str


class _Batch:
    """A conversation with one `git cat-file --batch`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ahead = bytearray()

    def get(self, name: str, limit: int, gone: MirrorError) -> tuple[str, bytes]:
        """An object's id and content.

        Raises:
            _GoneError: There is no such object; it carries `gone`.
            _TooLargeError: It is larger than `limit`; the conversation is over then.
            EOFError, BrokenPipeError: git has ended.
        """
        self._process.write(name.encode() + b"\n")
        match self._line().decode("ascii", "replace").split():
            case [sha, _, size]:
                if int(size) > limit:
                    raise _TooLargeError(int(size))
                return sha, self._take(int(size) + 1)[:-1]
            case _:
                raise _GoneError(gone)

    def _line(self) -> bytes:
        while (end := self._ahead.find(b"\n")) < 0:
            self._more()
        return self._take(end + 1)

    def _take(self, size: int) -> bytes:
        while len(self._ahead) < size:
            self._more()
        taken = bytes(self._ahead[:size])
        del self._ahead[:size]
        return taken

    def _more(self) -> None:
        piece = self._process.read()
        if not piece:
            raise EOFError
        self._ahead += piece


@contextlib.contextmanager
def _batch(stop: int, git_dir: Path) -> Iterator[_Batch]:
    with Process(
        git_dir,
        ("cat-file", "--batch"),
        command.environment(),
        stop=stop,
        timeout=command.READ_TIMEOUT,
        stdin=subprocess.PIPE,
    ) as process:
        try:
            yield _Batch(process)
        except (EOFError, ConnectionError):
            process.finish()
            raise failures.failure("reading the commit", process.err) from None
        except _GoneError as gone:
            process.finish()
            found = failures.failure("reading the commit", process.err)
            raise (found if found.damaged else gone.error) from None


def describe(stop: int, git_dir: Path, sha: str) -> Snapshot:
    """The commit and its definitions.

    Args:
        stop: As in `Process`.
        git_dir: The repository.
        sha: The commit, or an annotated tag's own id.

    Raises:
        MirrorError: There is no such commit, it is no commit, or it cannot be read.
    """
    too_large: set[str] = set()
    while True:
        # A file that is too large ends the conversation rather than being read to its end.
        try:
            found = _attempt(stop, git_dir, sha, too_large)
        except TimeoutError:
            raise MirrorError("reading the commit took too long: it is tried again") from None
        if isinstance(found, Snapshot):
            return found
        too_large.add(found)


def describe_many(stop: int, git_dir: Path, shas: Sequence[str]) -> dict[str, Snapshot]:
    """Many commits in one conversation, up to the first that is not as most are.

    Those that are missing in the answer are for :func:`describe`.
    """
    found: dict[str, Snapshot] = {}
    with contextlib.suppress(MirrorError, TimeoutError), _batch(stop, git_dir) as batch:
        for sha in shas:
            snapshot = _snapshot(batch, sha, frozenset())
            if not isinstance(snapshot, Snapshot):
                break
            if sum(map(len, snapshot.definitions.values())) <= AHEAD_LIMIT:
                found[sha] = snapshot
    return found


def _attempt(stop: int, git_dir: Path, sha: str, too_large: set[str]) -> Snapshot | str:
    """The snapshot, or the path of a file that is too large and shall be left out."""
    with _batch(stop, git_dir) as batch:
        return _snapshot(batch, sha, too_large)


def _snapshot(batch: _Batch, sha: str, too_large: Collection[str]) -> Snapshot | str:
    peeled, commit, root = _commit(batch, sha)
    paths = _candidates(batch, root, len(peeled) // 2)
    unreadable = {path: reason for path, reason in paths.items() if isinstance(reason, str)}
    definitions: dict[str, bytes] = {}
    for path, entry in paths.items():
        if isinstance(entry, str):
            continue
        if path in too_large:
            unreadable[path] = f"is larger than {DEFINITION_LIMIT // 1024} KiB"
            continue
        try:
            _, definitions[path] = batch.get(entry.sha, DEFINITION_LIMIT, _hole(path))
        except _TooLargeError:
            return path
    return Snapshot(sha=peeled, commit=commit, definitions=definitions, unreadable=unreadable)


def _hole(what: str) -> MirrorError:
    return MirrorError(f"{what} is missing in the mirror, which is made anew", damaged=True)


def _commit(batch: _Batch, sha: str) -> tuple[str, CommitInfo, bytes]:
    """The commit's id, what it says, and its root tree's raw bytes."""
    none = MirrorError(
        f"{sha[:12]} is no commit that the git host has: push it again", permanent=True
    )
    try:
        peeled, raw = batch.get(f"{sha}^{{commit}}", COMMIT_LIMIT, none)
        _, root = batch.get(f"{peeled}^{{tree}}", TREE_LIMIT, _hole("the root folder"))
    except _TooLargeError as error:
        raise MirrorError(
            f"commit {sha[:12]} or its root folder's listing is too large to read "
            f"({error.size} bytes)",
            permanent=True,
        ) from None
    return peeled, parse_commit(raw), root


def _candidates(batch: _Batch, root: bytes, size: int) -> dict[str, _Entry | str]:
    """Paths that look like definitions: the blob to read, or why it is not read."""
    found: dict[str, _Entry | str] = {}
    for name, entry in _entries(root, size):
        if name == FILE:
            found[FILE] = _checked(entry)
        elif name == ".lading.yaml":
            found[name] = f"is not read: name it {FILE}"
        elif name == FOLDER and entry.mode != b"40000":
            found[FOLDER] = "is not read: it must be a folder of its own, not a link"
        elif name == FOLDER:
            found.update(_folder(batch, entry.sha, size))
    return found


def _folder(batch: _Batch, sha: str, size: int) -> dict[str, _Entry | str]:
    try:
        _, tree = batch.get(sha, TREE_LIMIT, _hole(f"the folder {FOLDER}"))
    except _TooLargeError:
        raise MirrorError(f"the folder {FOLDER} is too large to read", permanent=True) from None
    files = [(name, entry) for name, entry in _entries(tree, size) if name.endswith(SUFFIX)]
    found = {f"{FOLDER}/{name}": _checked(entry) for name, entry in files[:DEFINITIONS_LIMIT]}
    for name, _ in files[DEFINITIONS_LIMIT:]:
        found[f"{FOLDER}/{name}"] = f"is not read: at most {DEFINITIONS_LIMIT} files are"
    return found


def _checked(entry: _Entry) -> _Entry | str:
    if entry.mode in _REGULAR:
        return entry
    kind = {b"120000": "a symbolic link", b"40000": "a folder"}.get(entry.mode, "a submodule")
    return f"is {kind}, which is not followed: put the file itself there"


def _entries(tree: bytes, size: int) -> Iterator[tuple[str, _Entry]]:
    """Names, modes and ids in a raw tree object; `size` is an id's length in bytes."""
    at = 0
    while at < len(tree):
        space = tree.find(b" ", at)
        end = tree.find(b"\0", space)
        if space < 0 or end < 0:
            raise _hole("a folder's listing")
        name = tree[space + 1 : end].decode("utf-8", "replace")
        yield name, _Entry(mode=tree[at:space], sha=tree[end + 1 : end + 1 + size].hex())
        at = end + 1 + size


def parse_commit(raw: bytes) -> CommitInfo:
    """What a raw commit object says; whatever is odd in it becomes empty."""
    head, _, body = raw.partition(b"\n\n")
    # Folded headers (signatures) go on with a leading space; none of ours do.
    headers = dict(line.partition(b" ")[::2] for line in reversed(head.split(b"\n")))
    encoding = headers.get(b"encoding", b"utf-8").decode("ascii", "replace")
    message = _decode(body, encoding).strip()
    author = _PERSON.match(headers.get(b"author", b""))
    name = (author["name"].strip() or author["email"]) if author else b""
    committer = _PERSON.match(headers.get(b"committer", b""))
    return CommitInfo(
        committed_at=_time(int(committer["seconds"]) if committer else 0),
        title=message.partition("\n")[0],
        message=message,
        author=_decode(name, encoding),
    )


def _decode(text: bytes, encoding: str) -> str:
    try:
        found = text.decode(encoding, "replace")
    except (LookupError, ValueError):
        found = text.decode("utf-8", "replace")
    return found.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(0, UTC)
