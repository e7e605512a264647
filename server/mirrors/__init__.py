"""Bare mirrors of repositories on this machine, kept by the git command line."""

from server.mirrors.command import MirrorError, RefGoneError
from server.mirrors.mirrors import MirrorKey, Mirrors, Wanted
from server.mirrors.objects import CommitInfo, Snapshot
from server.mirrors.resolving import Head, Pushed, Resolved

__all__ = [
    "CommitInfo",
    "Head",
    "MirrorError",
    "MirrorKey",
    "Mirrors",
    "Pushed",
    "RefGoneError",
    "Resolved",
    "Snapshot",
    "Wanted",
]
