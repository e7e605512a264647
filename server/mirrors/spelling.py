"""How commits and refs are spelled; whatever is spelled otherwise reaches no command line."""

from __future__ import annotations

import re

from server.mirrors.command import MirrorError

REF_LIMIT = 1024  # characters

SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
REF = re.compile(r"(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|$)))refs/[^\x00-\x20\x7f~^:?*\[\\]+(?<![/.])")


def is_ref(name: str) -> bool:
    """Whether git allows the name, and we its length."""
    return len(name) <= REF_LIMIT and REF.fullmatch(name) is not None


def check(sha: str, ref: str | None = None) -> None:
    """See that a commit's id, and a ref, are ones.

    Raises:
        MirrorError: They are not.
    """
    if not SHA.fullmatch(sha):
        raise MirrorError(f"{sha[:80]!r} is no commit id: it has 40 or 64 digits", permanent=True)
    if ref is not None and not is_ref(ref):
        raise MirrorError(f"{ref[:80]!r} is no ref name that git allows", permanent=True)
