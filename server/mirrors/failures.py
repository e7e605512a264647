"""git's own words turned into errors that say what happened, why, and what to do next."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from server.mirrors.command import MirrorError

_SHORTEST_SECRET = 6  # characters; shorter values are counts and scheme names

_DAMAGE = re.compile(
    r"is corrupt|object file \S+ is empty|bad object|inflate: |unable to unpack|"
    r"packfile \S+ (?:does not match|is truncated)|index file \S+ is too small|"
    r"far too short to be a packfile|wrong index v\d file size|unknown object type"
)


class _Cause(NamedTuple):
    pattern: str
    advice: str
    permanent: bool
    refused: bool = False


_CAUSES = (
    _Cause(
        r"does not appear to be a git repository|repository .* (?:not found|does not exist)"
        r"|Repository not found|The requested URL returned error: 404",
        "the repository was not found: check its name and the host's `url`, and that the "
        "credential may read it",
        permanent=True,
        refused=True,
    ),
    _Cause(
        r"Authentication failed|could not read (?:Username|Password)|returned error: 40[13]"
        r"|Permission denied",
        "the git host refused us: check the host's token or key, and that it may read the "
        "repository",
        permanent=True,
        refused=True,
    ),
    _Cause(
        r"Host key verification failed",
        "the git host's SSH key is not the known one: compare it with the host's published key, "
        "then put it into known_hosts",
        permanent=True,
    ),
    _Cause(
        r"dubious ownership",
        "git refuses the repository because another user owns it: let Lading's user own it",
        permanent=True,
    ),
    _Cause(
        r"transport '[^']*' not allowed",
        "the kind of address is not one that Lading fetches from: use https or ssh",
        permanent=True,
    ),
    _Cause(
        r"unable to update url base from redirection|returned error: 30\d",
        "the git host sent us to another address, which is not followed: set the host's `url` "
        "to the new address",
        permanent=True,
    ),
    _Cause(
        r"fsck error|error in object",
        "the repository holds an object that git's checks refuse, so it is not fetched: "
        "`git fsck --strict` in a clone shows which",
        permanent=True,
    ),
    _Cause(
        r"Could not resolve host|Failed to connect|Connection refused|Connection timed out"
        r"|No route to host|Network is unreachable",
        "the git host cannot be reached: check that it is up, and the network to it",
        permanent=False,
    ),
    _Cause(
        r"Operation too slow|timed out|Timeout",
        "the git host stopped sending: it is tried again",
        permanent=False,
    ),
    _Cause(
        r"No space left on device",
        "the disk is full: make room in Lading's data folder",
        permanent=False,
    ),
)


def failure(
    what: str, err: str, *, url: str = "", secrets: Mapping[str, str] | None = None
) -> MirrorError:
    """Git's own words as an error that says what happened, why, and what to do next.

    Args:
        what: What was tried: "fetching acme/web".
        err: git's standard error.
        url: The remote's address; a password in it is not repeated.
        secrets: The remote's environment; none of its values is repeated.
    """
    said = scrub(_last(err), url=url, secrets=secrets)
    for cause in _CAUSES:
        if re.search(cause.pattern, err):
            return MirrorError(
                f"{what} failed: {cause.advice}. git said: {said}",
                permanent=cause.permanent,
                refused=cause.refused,
            )
    return MirrorError(
        f"{what} failed, and is tried again. git said: {said}", damaged=_tells_damage(err)
    )


def scrub(text: str, *, url: str = "", secrets: Mapping[str, str] | None = None) -> str:
    """The text without any credential of the remote, and without control characters."""
    hidden = {word for value in (secrets or {}).values() for word in (value, *value.split())}
    hidden = {word for word in hidden if len(word) >= _SHORTEST_SECRET}
    with contextlib.suppress(ValueError):
        if password := urlsplit(url).password:
            hidden.add(password)
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"(\w+://)[^/@\s]+@", r"\1***@", text)
    return "".join(char if char.isprintable() else " " for char in text)


def _last(err: str) -> str:
    """The line that tells the cause: git's last `fatal:` or `error:`, else its last line."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith(("fatal: ", "error: ", "remote: "))]
    return (causes or lines or ["nothing"])[-1][:500]


def _tells_damage(err: str) -> bool:
    """Whether our own copy is at fault; what the other end says of its copy does not count."""
    ours = (line for line in err.splitlines() if not line.startswith("remote:"))
    return any(_DAMAGE.search(line) for line in ours)
