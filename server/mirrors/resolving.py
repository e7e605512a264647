"""A name that a person gives - branch, tag or commit - to the commit it stands for."""

from __future__ import annotations

from pathlib import Path

from pipelines.values import Value
from server.mirrors.command import MirrorError

_BRANCH = "refs/heads/"
_TAG = "refs/tags/"


class Resolved(Value):
    """What a name stands for on the host now."""

    sha: str
    ref: str
    """Where the commit can be fetched."""
    branch: str | None = None
    tag: str | None = None


class Head(Value):
    """What a branch or tag points at."""

    object: str
    """The ref's own object: for an annotated tag the tag's."""
    commit: str


class Pushed(Value):
    """A commit that was pushed, and is here."""

    git_dir: Path
    head: str | None
    """Where its branch is by now; None where that is not known, and for tags."""


def read_heads(listing: str) -> dict[str, Head]:
    """Branches and tags by full ref, from what `git ls-remote` printed: lines of id, tab, ref."""
    refs = {ref: sha for sha, _, ref in (line.partition("\t") for line in listing.splitlines())}
    return {
        ref: Head(object=sha, commit=refs.get(f"{ref}^{{}}", sha))
        for ref, sha in refs.items()
        if ref.startswith((_BRANCH, _TAG)) and not ref.endswith("^{}")
    }


def names(name: str) -> tuple[str, str]:
    """The branch and the tag that a name may stand for, as full refs."""
    short = name.removeprefix(_BRANCH).removeprefix(_TAG)
    return f"{_BRANCH}{short}", f"{_TAG}{short}"


def choose(name: str, listing: str) -> Resolved:
    """The branch of that name, else the tag.

    Args:
        name: As the person gave it, with or without `refs/heads/` or `refs/tags/`.
        listing: What `git ls-remote` printed: lines of id, tab, ref.

    Raises:
        MirrorError: Neither is there.
    """
    refs = {ref: sha for sha, _, ref in (line.partition("\t") for line in listing.splitlines())}
    branch, tag = names(name)
    if branch in refs and name != tag:
        return Resolved(sha=refs[branch], ref=branch, branch=branch.removeprefix(_BRANCH))
    if tag in refs and name != branch:
        # An annotated tag is an object of its own; `^{}` is the commit it points at.
        sha = refs.get(f"{tag}^{{}}", refs[tag])
        return Resolved(sha=sha, ref=tag, tag=tag.removeprefix(_TAG))
    message = (
        f"the repository has no branch or tag {name[:80]!r}: give one that it has, "
        "or a whole commit id"
    )
    raise MirrorError(message, permanent=True)
