"""What `lading secret` asks and says, wherever the secret is kept."""

from __future__ import annotations

import sys

from server.cli.errors import UsageError

HEAD = ("NAME", "OF", "ONLY FOR", "CHANGED (UTC)", "BY")
TOO_SHORT = (
    "It is too short to be taken out of output: with fewer than 8 characters it would hide "
    "ordinary words. Use a longer one where you can."
)


def read_value(name: str) -> str:
    """The value from standard input, or asked for without showing it; one line end is not of it.

    Raises:
        UsageError: It is no text.
    """
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"Value of {name} (it is not shown): ")
    try:
        return sys.stdin.read().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("the value is not UTF-8 text: encode it, for example as base64") from None


def is_set(name: str, repository: str | None) -> str:
    """What is said of a secret that was stored."""
    return f"Secret {name} of {repository or 'the server'} is set; runs get it from now on."
