"""Whose caches a run may read, and where it keeps its own. Pure.

A cache is kept apart for the default branch and for each other branch, so that nothing gets into
the default branch's but by what runs on it. A pull request, from a fork or not, reads that one and
keeps nothing; nor do tags and commits named by their id, which belong to no branch.
"""

from __future__ import annotations

from pipelines.events import Event, EventKind
from pipelines.values import Value

DEFAULT = "default"


class Scopes(Value):
    """Where a run looks for a cache, and where it keeps one."""

    reads: tuple[str, ...]
    """The first that has it counts."""
    writes: str | None
    refusal: str = ""
    """Why it keeps none, for people."""


def scopes(event: Event) -> Scopes:
    """The scopes for what happened, by what the host told and never by names from git alone."""
    if event.kind is EventKind.PULL_REQUEST:
        return Scopes(reads=(DEFAULT,), writes=None, refusal="pull request")
    if event.kind is EventKind.TAG or event.branch is None:
        what = "tag" if event.tag is not None else "commit without a branch"
        return Scopes(reads=(DEFAULT,), writes=None, refusal=what)
    if event.branch == event.default_branch:
        return Scopes(reads=(DEFAULT,), writes=DEFAULT)
    own = f"branch {event.branch}"
    return Scopes(reads=(own, DEFAULT), writes=own)
