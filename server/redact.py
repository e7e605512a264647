"""Headers of a delivery as they may be shown."""

from __future__ import annotations

from collections.abc import Mapping

_SECRET = ("token", "signature", "authorization", "cookie", "secret", "password", "api-key")
HIDDEN = "[hidden]"


def clean_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers, with the values of those that hold a secret or a signature taken out.

    Signatures go too: with the body beside them they would let a reader try secrets offline, or
    send the delivery again.
    """
    return {
        name: HIDDEN if any(word in name.lower() for word in _SECRET) else value
        for name, value in sorted(headers.items())
    }
