"""Text that strangers wrote, made harmless to look at.

Escape sequences are taken out rather than acted on: an OSC 8 link may lead anywhere, an OSC 52
writes the clipboard of some terminals, and colours belong to a later, richer view of the log.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from markupsafe import Markup, escape

_CODE = re.compile("`([^`]+)`")
LINE_SHOWN = 4_000
"""Characters of one line that are shown; the plain text has the rest."""

_ELSEWHERE = "in the plain text"

# ECMA-48: strings (OSC, DCS, SOS, PM, APC) up to their end or the line's, CSI, other escapes.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
# What is left of C0 and C1 but tab and line feed, and the characters that turn the reading order.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def clean(text: str) -> str:
    """The text without escape sequences, control characters and changes of direction."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def clean_line(data: bytes, *, unread: int = 0) -> str:
    """One line of output as a terminal would leave it standing.

    A carriage return goes back to the line's start: what was written last is shown.

    Args:
        data: The line, or as much of its beginning as is worth reading.
        unread: Bytes of it that were not read.
    """
    text = data.decode("utf-8", "replace").rstrip("\r\n")
    if not text.isprintable():  # what is has nothing to take out: most lines, and it is quick
        text = clean(text.rsplit("\r", 1)[-1])
    shown = text[:LINE_SHOWN]
    if unread:
        return f"{shown} … ({len(data) - len(shown.encode()) + unread:,} more bytes {_ELSEWHERE})"
    if len(text) > LINE_SHOWN:
        return f"{shown} … ({len(text) - LINE_SHOWN} more characters {_ELSEWHERE})"
    return text


def web_address(text: str | None) -> str | None:
    """An address that may stand in a link: http or https with a host, nothing else."""
    if text is None:
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in {"http", "https"} and parts.netloc else None


def coded(text: str) -> Markup:
    """Text of ours for a page: what stands between backticks is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(clean(text)))))  # noqa: S704 - escaped


def local_path(text: str | None) -> str:
    """A path on this server to go to after signing in; `/` for whatever else is asked for."""
    if text is None or not re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text):
        return "/"
    return text
