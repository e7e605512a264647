"""Signing the Standard Webhooks way, and choosing among the secrets of a host.

Spec: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
(1.0.0). The `whsec_` secret's bytes sign `<id>.<timestamp>.<body>`; the signature header is a list
of `v1,<base64>` parted by spaces, so that a sender can sign with an old and a new key at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import Field, SecretStr

from pipelines.values import Value
from server.hosts.port import SignatureInvalidError

PREFIX = "whsec_"
TOLERANCE = timedelta(minutes=5)
MIN_KEY_BYTES = 24

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,255}")  # no full stop: it parts id and timestamp
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class Candidate(Value):
    """A secret that may have signed a delivery, and whom it speaks for."""

    repository: str | None
    """Full name of the one repository it belongs to; None: any of the host's."""
    key: bytes = Field(repr=False)
    """Not shown where the value is printed: in logs and test reports."""


def candidates(
    host: bytes | None, repositories: Mapping[str, bytes | None]
) -> tuple[Candidate, ...]:
    """Every secret to try: the host's own first, then each repository's.

    Args:
        host: The key for any repository of the host.
        repositories: Keys by full name; None where a repository has none of its own.

    Raises:
        ValueError: A key is empty (anyone could sign with it), or two repositories share one
            (it could not be told which of them a delivery is for).
    """
    found = [Candidate(repository=None, key=host)] if host is not None else []
    for name, key in repositories.items():
        if key is not None:
            found.append(Candidate(repository=name, key=key))
    owners: dict[bytes, str | None] = {}
    for candidate in found:
        if not candidate.key:
            raise ValueError(f"the secret of {_owner(candidate)} is empty: anyone could sign")
        other = owners.setdefault(candidate.key, candidate.repository)
        if other is not None and other != candidate.repository:
            raise ValueError(
                f"{other} and {candidate.repository} share a secret: give each its own, "
                "or set it once for the whole host"
            )
    return tuple(found)


def _owner(candidate: Candidate) -> str:
    return candidate.repository or "the host"


def secret_bytes(secret: SecretStr | None) -> bytes | None:
    """A configured secret as the bytes that sign."""
    return None if secret is None else secret.get_secret_value().encode()


def digests_equal(left: bytes, right: bytes) -> bool:
    """Whether two secrets are the same, in a time that tells neither content nor length."""
    return hmac.compare_digest(hashlib.sha256(left).digest(), hashlib.sha256(right).digest())


def raw(header: str) -> bytes:
    """A header's value as it came over the wire (web servers decode headers as Latin-1)."""
    return header.encode("latin-1", "backslashreplace")


def key(secret: str) -> bytes:
    """The key in a `whsec_…` secret.

    Raises:
        ValueError: It is no such secret; the message never repeats it.
    """
    if not secret.startswith(PREFIX):
        raise ValueError(
            "a signing secret starts with `whsec_`, followed by base64; "
            "`lading hook install` makes one for plain git, GitLab shows its own once"
        )
    try:
        found = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("what follows `whsec_` in a signing secret must be base64") from None
    if len(found) < MIN_KEY_BYTES:
        raise ValueError(
            f"a signing secret needs {MIN_KEY_BYTES} bytes or more, this has {len(found)}"
        )
    return found


def sign(key: bytes, delivery_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers that make a receiver trust these bytes.

    Args:
        key: From :func:`key`.
        delivery_id: Visible ASCII without a full stop; the same on every retry.
        at: An aware time; receivers refuse what is more than five minutes off.
        body: The raw body.
    """
    if not _ID.fullmatch(delivery_id):
        raise ValueError("a delivery id is 1 to 255 visible ASCII characters without a full stop")
    timestamp = str(int(at.timestamp()))
    return {
        ID_HEADER: delivery_id,
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: f"v1,{_signature(key, delivery_id, timestamp, body)}",
    }


def verify(
    candidates: Sequence[Candidate], headers: Mapping[str, str], body: bytes, now: datetime
) -> Candidate:
    """The candidate that signed these bytes.

    Args:
        candidates: All are compared, each in constant time.
        headers: Names in lower case.
        body: The raw body.
        now: An aware time.

    Raises:
        SignatureInvalidError: Missing, malformed, wrong, or more than five minutes off.
    """
    delivery_id = _header(headers, ID_HEADER, _ID)
    timestamp = _header(headers, TIMESTAMP_HEADER, _TIMESTAMP)
    signatures = _signatures(headers.get(SIGNATURE_HEADER, ""))
    found = None
    for candidate in candidates:
        right = _signature(candidate.key, delivery_id, timestamp, body).encode()
        # No early end: the time must not tell which secret, or which signature, was right.
        matches = [hmac.compare_digest(right, given) for given in signatures]
        if any(matches) and found is None:
            found = candidate
    if found is None:
        raise SignatureInvalidError(
            "webhook-signature fits no secret of this host: check that sender and Lading "
            "have the same `whsec_…` secret"
        )
    _check_age(timestamp, now)
    return found


def _signature(key: bytes, delivery_id: str, timestamp: str, body: bytes) -> str:
    content = f"{delivery_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, content, "sha256")).decode()


def _header(headers: Mapping[str, str], name: str, shape: re.Pattern[str]) -> str:
    value = headers.get(name)
    if value is None:
        raise SignatureInvalidError(f"the header {name} is missing: the delivery is not signed")
    if not shape.fullmatch(value):
        raise SignatureInvalidError(f"the header {name} is malformed, or was sent twice")
    return value


def _signatures(header: str) -> list[bytes]:
    if not header:
        raise SignatureInvalidError(
            f"the header {SIGNATURE_HEADER} is missing or empty: the delivery is not signed"
        )
    if ", " in header:
        raise SignatureInvalidError(f"the header {SIGNATURE_HEADER} was sent twice")
    # `v1a` (ed25519) may stand beside ours; what we cannot check, we pass over.
    return [raw(part[3:]) for part in header.split(" ") if part.startswith("v1,")]


def _check_age(timestamp: str, now: datetime) -> None:
    off = now.timestamp() - int(timestamp)
    if abs(off) > TOLERANCE.total_seconds():
        side = "ago" if off > 0 else "in the future"
        raise SignatureInvalidError(
            f"the delivery was signed {abs(off):.0f} s {side}; 300 s are allowed: "
            "check the clocks of both machines, and have the delivery sent again"
        )
