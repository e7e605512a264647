"""Who signed a delivery.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries: the header
`X-Hub-Signature-256` holds `sha256=` and the hex HMAC-SHA256 of the raw body. The older
`X-Hub-Signature` (SHA-1) is never looked at.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence

from server.hosts.port import SignatureInvalidError
from server.hosts.signing import Candidate

HEADER = "x-hub-signature-256"
OLD_HEADER = "x-hub-signature"

_SHAPE = re.compile(r"sha256=[0-9a-f]{64}")


def sign(key: bytes, body: bytes) -> str:
    """The value of `X-Hub-Signature-256`."""
    return f"sha256={hmac.digest(key, body, 'sha256').hex()}"


def verify(candidates: Sequence[Candidate], headers: Mapping[str, str], body: bytes) -> Candidate:
    """The candidate that signed these bytes.

    Raises:
        SignatureInvalidError: The header is missing, malformed, or fits no candidate.
    """
    if not candidates:
        raise SignatureInvalidError(
            "no webhook_secret is configured for this host or any of its repositories: set one, "
            "and give the same to the webhook on GitHub"
        )
    given = _given(headers)
    found = None
    for candidate in candidates:
        # No early end: the time must not tell which secret was right.
        right = hmac.compare_digest(sign(candidate.key, body).encode(), given)
        if right and found is None:
            found = candidate
    if found is None:
        raise SignatureInvalidError(
            "X-Hub-Signature-256 fits no webhook_secret of this host: check that the webhook's "
            "secret on GitHub and webhook_secret here are the same"
        )
    return found


def _given(headers: Mapping[str, str]) -> bytes:
    header = headers.get(HEADER, "")
    if not header and OLD_HEADER in headers:
        raise SignatureInvalidError(
            "only the SHA-1 signature X-Hub-Signature was sent; Lading accepts "
            "X-Hub-Signature-256 alone, which every GitHub since 2020 sends beside it"
        )
    if not header:
        raise SignatureInvalidError(
            "X-Hub-Signature-256 is missing: set a secret in the webhook's settings on GitHub"
        )
    if not _SHAPE.fullmatch(header):
        raise SignatureInvalidError(
            "X-Hub-Signature-256 must be `sha256=` and 64 lower-case hex digits, sent once"
        )
    return header.encode("ascii")
