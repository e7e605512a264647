"""A commit and the pipeline files in it, read by one `git cat-file --batch`."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pipelines.values import Value
from server.mirrors import command, failures
from server.mirrors.command import MirrorError

FILE = ".lading.yml"
FOLDER = ".lading"
SUFFIX = ".yml"
DEFINITION_LIMIT = 1024 * 1024  # bytes of one file
DEFINITIONS_LIMIT = 100  # files
COMMIT_LIMIT = 1024 * 1024  # bytes
TREE_LIMIT = 8 * 1024 * 1024  # bytes of one folder's listing
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

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin and process.stdout  # noqa: S101, PT018 - both are pipes
        self._in = process.stdin
        self._out = process.stdout

    async def get(self, name: str, limit: int, gone: MirrorError) -> tuple[str, bytes]:
        """An object's id and content.

        Raises:
            _GoneError: There is no such object; it carries `gone`.
            _TooLargeError: It is larger than `limit`; the conversation is over then.
        """
        self._in.write(name.encode() + b"\n")
        await self._in.drain()
        header = (await self._out.readline()).decode("ascii", "replace").split()
        match header:
            case [sha, _, size]:
                if int(size) > limit:
                    raise _TooLargeError(int(size))
                content = await self._out.readexactly(int(size) + 1)
                return sha, content[:-1]
            case []:
                raise asyncio.IncompleteReadError(b"", None)
            case _:
                raise _GoneError(gone)


@contextlib.asynccontextmanager
async def _batch(git_dir: Path) -> AsyncIterator[_Batch]:
    env = command.environment()
    pipe = asyncio.subprocess.PIPE
    async with command.process(git_dir, ("cat-file", "--batch"), env, stdin=pipe) as process:
        try:
            async with asyncio.timeout(command.READ_TIMEOUT):
                yield _Batch(process)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise failures.failure("reading the commit", await _last_words(process)) from None
        except _GoneError as gone:
            found = failures.failure("reading the commit", await _last_words(process))
            raise (found if found.damaged else gone.error) from None
        except TimeoutError:
            raise MirrorError("reading the commit took too long: it is tried again") from None


async def _last_words(process: asyncio.subprocess.Process) -> str:
    assert process.stdin and process.stderr  # noqa: S101, PT018 - both are pipes
    process.stdin.close()
    return (await process.stderr.read(command.STDERR_LIMIT)).decode("utf-8", "replace")


async def describe(git_dir: Path, sha: str) -> Snapshot:
    """The commit and its definitions.

    Raises:
        MirrorError: There is no such commit, it is no commit, or it cannot be read.
    """
    too_large: set[str] = set()
    while True:
        # A file that is too large ends the conversation rather than being read to its end.
        found = await _attempt(git_dir, sha, too_large)
        if isinstance(found, Snapshot):
            return found
        too_large.add(found)


async def _attempt(git_dir: Path, sha: str, too_large: set[str]) -> Snapshot | str:
    """The snapshot, or the path of a file that is too large and shall be left out."""
    async with _batch(git_dir) as batch:
        peeled, commit, root = await _commit(batch, sha)
        paths = await _candidates(batch, root, len(peeled) // 2)
        unreadable = {path: reason for path, reason in paths.items() if isinstance(reason, str)}
        definitions: dict[str, bytes] = {}
        for path, entry in paths.items():
            if isinstance(entry, str):
                continue
            if path in too_large:
                unreadable[path] = f"is larger than {DEFINITION_LIMIT // 1024} KiB"
                continue
            try:
                _, definitions[path] = await batch.get(entry.sha, DEFINITION_LIMIT, _hole(path))
            except _TooLargeError:
                return path
        return Snapshot(sha=peeled, commit=commit, definitions=definitions, unreadable=unreadable)


def _hole(what: str) -> MirrorError:
    return MirrorError(f"{what} is missing in the mirror, which is made anew", damaged=True)


async def _commit(batch: _Batch, sha: str) -> tuple[str, CommitInfo, bytes]:
    """The commit's id, what it says, and its root tree's raw bytes."""
    none = MirrorError(
        f"{sha[:12]} is no commit that the git host has: push it again", permanent=True
    )
    try:
        peeled, raw = await batch.get(f"{sha}^{{commit}}", COMMIT_LIMIT, none)
        _, root = await batch.get(f"{peeled}^{{tree}}", TREE_LIMIT, _hole("the root folder"))
    except _TooLargeError as error:
        raise MirrorError(
            f"commit {sha[:12]} or its root folder's listing is too large to read "
            f"({error.size} bytes)",
            permanent=True,
        ) from None
    return peeled, parse_commit(raw), root


async def _candidates(batch: _Batch, root: bytes, size: int) -> dict[str, _Entry | str]:
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
            found.update(await _folder(batch, entry.sha, size))
    return found


async def _folder(batch: _Batch, sha: str, size: int) -> dict[str, _Entry | str]:
    try:
        _, tree = await batch.get(sha, TREE_LIMIT, _hole(f"the folder {FOLDER}"))
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
