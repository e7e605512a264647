"""What a terminal can show: colours, signs, how wide a text is."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from typing import TextIO

RESET = "\x1b[0m"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_STEPS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)
"""Colours that tell steps apart; red is for what failed."""


class Paint:
    """Puts colours into texts, or leaves them alone."""

    def __init__(self, *, on: bool) -> None:
        self.on = on

    def __call__(self, text: str, *codes: int) -> str:
        """The text in those colours (SGR codes)."""
        if not self.on or not codes:
            return text
        return f"\x1b[{';'.join(map(str, codes))}m{text}{RESET}"

    def bold(self, text: str) -> str:
        """What the eye shall find first."""
        return self(text, 1)

    def dim(self, text: str) -> str:
        """What may be overlooked."""
        return self(text, 2)

    def red(self, text: str) -> str:
        """What is wrong."""
        return self(text, 1, 31)

    def yellow(self, text: str) -> str:
        """What may be wrong."""
        return self(text, 1, 33)

    def green(self, text: str) -> str:
        """What is well."""
        return self(text, 32)

    def cyan(self, text: str) -> str:
        """Places and names."""
        return self(text, 36)

    def of_step(self, number: int, text: str) -> str:
        """A step's own colour."""
        return self(text, _STEPS[number % len(_STEPS)])


def paint_for(stream: TextIO) -> Paint:
    """Colours where a person looks on and does not mind them (https://no-color.org)."""
    return Paint(on=is_terminal(stream) and not os.environ.get("NO_COLOR"))


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks on, at something that can go back in its line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def signs(stream: TextIO) -> tuple[str, str]:
    """How "holds" and "does not" are shown, in letters that the stream can take."""
    try:
        "✓✗─└".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "+", "-"
    return "✓", "✗"


def inert(text: str) -> str:
    """A stranger's text without anything that a terminal would obey; as many characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\t", " "))


def width(text: str) -> int:
    """How many columns a text takes."""
    return sum(_columns(each) for each in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def tolerant(stream: TextIO) -> None:
    """Have a stream show what its encoding lacks as `?`, rather than break off."""
    if stream in (sys.stdout, sys.stderr) and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
