"""Which files of the commit a template wants to know of, and what is known of them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator

from pipelines.definition.models import Definition, Templated
from pipelines.recipes.catalogue import Catalogue
from pipelines.recipes.template import LockRule, Template
from pipelines.values import Value

MAX_READ = 1024 * 1024
"""Bytes of a file whose text matters; a larger one is as if it were empty."""
MAX_BUILDS = 100
"""Builds of templates in one definition."""
MAX_TEXTS = 200
"""Files whose text is read of one commit; nobody has as many."""
BATCH = 500
"""Paths in one question to git: a command line has its bounds."""


class Sought(Value):
    """Paths from the repository's root."""

    paths: frozenset[str] = frozenset()
    """Of which it matters whether they are there."""
    texts: frozenset[str] = frozenset()
    """Whose text matters."""


class Files(Value):
    """What is known of a commit's files."""

    paths: frozenset[str] = frozenset()
    texts: dict[str, str] = {}


class Lock(Value):
    """The lock file that holds, paths from the context."""

    rule: LockRule
    file: str
    also: tuple[str, ...]
    """The files beside it, that are there."""
    hashes: bool


Look = Callable[[Sought], Files]
"""Finds out about a commit's files."""


def sought(definitions: Iterable[Definition | None], catalogue: Catalogue) -> Sought:
    """What must be known before the builds of these definitions can be rendered."""
    paths: set[str] = set()
    texts: set[str] = set()
    for definition in definitions:
        for build in templated(definition)[:MAX_BUILDS] if definition else ():
            _want(build, catalogue.template(build.template), paths, texts)
    return Sought(paths=frozenset(paths), texts=frozenset(sorted(texts)[:MAX_TEXTS]))


def templated(definition: Definition) -> list[Templated]:
    """The builds that name a template, in the file's order."""
    return [build for build in definition.build.values() if isinstance(build, Templated)]


def batches(paths: Iterable[str]) -> Iterator[list[str]]:
    """Paths in order, as many at once as one command takes."""
    ordered = sorted(paths)
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]


def _want(build: Templated, template: Template, paths: set[str], texts: set[str]) -> None:
    def put(names: Iterable[str], into: set[str]) -> None:
        into.update(beside(build.context, name) for name in names)

    named = named_lock(build)
    put((*template.look_for, *template.read), paths)
    put(template.read, texts)
    for rule in template.lock:
        file = named if named and rule.takes(named) else rule.file
        put((file, *_also(rule, file)), paths)
        put((file,) if rule.read else (), texts)
    put((named,) if named else (), paths)


LISTING = ("ls-tree", "-z", "-l", "--full-tree")
"""The arguments of git that give what `listed` reads, before commit, `--` and paths."""


class Blob(Value):
    """A plain file of a commit."""

    id: str
    size: int
    """Bytes."""


def listed(listing: bytes) -> dict[str, Blob]:
    """The plain files of git's listing, by path; links, folders and submodules are none.

    https://git-scm.com/docs/git-ls-tree#_output_format
    """
    found = {}
    for entry in listing.split(b"\0"):
        facts, _, path = entry.partition(b"\t")
        words = facts.split()
        if path and words[0].startswith(b"100"):
            blob = Blob(id=words[2].decode(), size=int(words[3]))
            found[path.decode("utf-8", "replace")] = blob
    return found


def beside(context: str, name: str) -> str:
    """A path of the context, from the repository's root."""
    return posixpath.normpath(posixpath.join(context, name))


def named_lock(build: Templated) -> str | None:
    """What `dependencies` names."""
    named = getattr(build.parameters, "dependencies", None)
    return None if named is None else str(named)


def lock_of(build: Templated, template: Template, files: Files) -> Lock | None:
    """The lock file that holds; None where there is none.

    Raises:
        LookupError: `dependencies` names one that is not there, or that the template does not know.
    """
    named = named_lock(build)
    if named is not None:
        rule = next((rule for rule in template.lock if rule.takes(named)), None)
        if rule is None:
            raise LookupError(f"is no lock file that it knows ({template.lock_names()})")
        if found := _found(build.context, rule, named, files):
            return found
        raise LookupError("is not in the commit")
    found_all = (_found(build.context, rule, rule.file, files) for rule in template.lock)
    return next((found for found in found_all if found), None)


def _found(context: str, rule: LockRule, file: str, files: Files) -> Lock | None:
    also = _also(rule, file)
    if not all(beside(context, name) in files.paths for name in (file, *also)):
        return None
    text = files.texts.get(beside(context, file), "")
    return Lock(rule=rule, file=file, also=also, hashes="--hash=" in text)


def _also(rule: LockRule, file: str) -> tuple[str, ...]:
    """The files that stand beside a lock file."""
    folder = posixpath.dirname(file)
    return tuple(posixpath.join(folder, name) for name in rule.also)
