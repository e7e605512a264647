"""What a builder gets to see: a folder of the commit, less what `.dockerignore` names."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pipelines.globs import Glob
from pipelines.plan import BuildWork
from pipelines.problems import LadingError
from pipelines.source import Source
from pipelines.tarstream import Change, chunks, rewritten
from pipelines.values import Value

OUTSIDE_DOCKERFILE = ".lading.dockerfile"
"""Name in the context of a Dockerfile that lies outside it."""
IGNORE = ".dockerignore"
MOST_NAMES = 100


class ContextError(LadingError):
    """The build cannot begin; the message says which path is wrong and where to mend it."""


class BuildContext(Value):
    """What is sent to the builder."""

    folder: str
    """From the repository's root; `.` is the root."""
    dockerfile: str
    """From the context's root."""
    text: bytes
    """The Dockerfile."""
    ignore: bytes | None = None
    """The rules that hold, of `<dockerfile>.dockerignore` or `.dockerignore`."""
    outside: bool = False
    """Whether the Dockerfile is not in the folder, and is sent along."""
    rendered: bool = False
    """Whether the Dockerfile is a template's, whose image has no use for the rules."""
    files: tuple[str, ...] = ()
    """The paths that are sent, from the context's root; empty: all."""


def read_context(source: Source, work: BuildWork) -> BuildContext:
    """Find the Dockerfile and the ignore rules at the commit. Blocking.

    Raises:
        ContextError: A path leads out of the repository, or there is no Dockerfile.
        SourceError: The commit cannot be read.
    """
    folder = _inside(work.context, "context")
    if work.rendered is not None:
        return BuildContext(
            folder=folder,
            dockerfile=_free_name(source, folder),
            text=work.rendered.encode(),
            ignore=source.read(posixpath.normpath(posixpath.join(folder, IGNORE))),
            outside=True,
            rendered=True,
            files=work.files,
        )
    path = _inside(work.dockerfile, "dockerfile")
    text = source.read(path)
    if text is None:
        raise ContextError(
            f"there is no {path} at commit {source.sha[:12]}: "
            "add it, or set `dockerfile` to where it is"
        )
    ignore = source.read(f"{path}.dockerignore")
    if ignore is None:
        ignore = source.read(posixpath.normpath(posixpath.join(folder, IGNORE)))
    inside = path if folder == "." else posixpath.relpath(path, folder)
    outside = inside.startswith("../")
    if outside:
        inside = _free_name(source, folder)
    return BuildContext(folder=folder, dockerfile=inside, text=text, ignore=ignore, outside=outside)


def _free_name(source: Source, folder: str) -> str:
    """A name for a Dockerfile that is sent along, which no file of the folder has."""
    names = (OUTSIDE_DOCKERFILE, *(f"{OUTSIDE_DOCKERFILE}-{n}" for n in range(2, MOST_NAMES)))
    for name in names:
        if source.read(posixpath.normpath(posixpath.join(folder, name))) is None:
            return name
    raise ContextError(
        f"every name from {OUTSIDE_DOCKERFILE} to {names[-1]} is taken in {folder}: rename one"
    )


@contextmanager
def context_stream(source: Source, context: BuildContext) -> Iterator[Iterator[bytes]]:
    """The context as a tar stream, made while it is read. Blocking.

    Raises:
        SourceError: The folder is not there.
    """
    rules = _rules(context.ignore or b"")
    with source.archive(path=context.folder) as archive:
        if not rules and not context.outside:
            yield chunks(archive)
        else:
            yield rewritten(archive, _ignoring(rules, context), _extra(context))


def _inside(path: str, setting: str) -> str:
    normal = posixpath.normpath(path)
    if posixpath.isabs(normal) or normal == ".." or normal.startswith("../"):
        raise ContextError(
            f"`{setting}` {path!r} leads out of the repository: give a path within it"
        )
    return normal


class _Rule(NamedTuple):
    """One line of `.dockerignore`."""

    glob: Glob
    ignores: bool


def _rules(ignore: bytes) -> list[_Rule]:
    # https://docs.docker.com/build/concepts/context/#dockerignore-files
    lines = (line.strip() for line in ignore.decode("utf-8-sig", "replace").splitlines())
    return [rule for line in lines if not line.startswith("#") and (rule := _rule(line))]


def _rule(line: str) -> _Rule | None:
    pattern = posixpath.normpath("/" + line.removeprefix("!").strip()).strip("/")
    # Go's patterns negate a set of characters with ^, Python's with !.
    return _Rule(Glob(pattern.replace("[^", "[!")), not line.startswith("!")) if pattern else None


def _ignoring(rules: list[_Rule], context: BuildContext) -> Change:
    # The builder itself reads these two, and hides them from COPY where the rules say so.
    always = () if context.outside else (context.dockerfile, IGNORE)
    ours = (context.dockerfile, IGNORE) if context.outside else ()

    def change(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        path = entry.name.rstrip("/")
        if path.partition("/")[0] in ours:
            return None  # one of our own takes its place
        if path in always:
            return entry
        return entry if _is_sent(context.files, path) and not _ignored(rules, path) else None

    return change


def _is_sent(files: tuple[str, ...], path: str) -> bool:
    """Whether a path is one of the files, or lies in or above one."""
    return not files or any(
        each in (path, ".") or path.startswith(f"{each}/") or each.startswith(f"{path}/")
        for each in files
    )


def _ignored(rules: list[_Rule], path: str) -> bool:
    """Whether the last rule that speaks of the path, or of a folder above it, ignores it."""
    parts = path.split("/")
    paths = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    ignored = False
    for rule in rules:
        if rule.ignores != ignored and any(rule.glob.matches(name) for name in paths):
            ignored = rule.ignores
    return ignored


def _extra(context: BuildContext) -> list[tuple[tarfile.TarInfo, bytes]]:
    """A Dockerfile from outside, hidden from COPY the way docker's own client does it."""
    if not context.outside:
        return []
    own = context.ignore is None or context.rendered
    lines = (context.ignore or b"").rstrip(b"\n").splitlines()
    hidden = [*lines, *([IGNORE.encode()] if own else ()), context.dockerfile.encode(), b""]
    return [_file(context.dockerfile, context.text), _file(IGNORE, b"\n".join(hidden))]


def _file(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    return entry, data
