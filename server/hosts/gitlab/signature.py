"""Who vouched for a delivery: a signature over the body, or a secret token beside it.

https://docs.gitlab.com/user/project/integrations/webhooks/. Where the header
`webhook-signature` is there, it alone decides: a delivery whose signature is wrong is never
rescued by a right token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from server.hosts import signing
from server.hosts.port import SignatureInvalidError
from server.hosts.signing import Candidate

TOKEN_HEADER = "x-gitlab-token"  # noqa: S105  (a header's name)


def verify(
    signers: Sequence[Candidate],
    tokens: Sequence[Candidate],
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
) -> Candidate:
    """The candidate that vouches for these bytes.

    Args:
        signers: Keys out of signing tokens.
        tokens: Secret tokens.
        headers: Names in lower case.
        body: The raw body.
        now: An aware time; a signature is good for five minutes.

    Raises:
        SignatureInvalidError: Neither a right signature nor, without one, a right token.
    """
    if signing.SIGNATURE_HEADER in headers:
        if not signers:
            raise SignatureInvalidError(
                "the delivery is signed, but no signing_token is configured: set the one that "
                "GitLab showed when it was made"
            )
        return signing.verify(signers, headers, body, now)
    return _by_token(signers, tokens, headers)


def _by_token(
    signers: Sequence[Candidate], tokens: Sequence[Candidate], headers: Mapping[str, str]
) -> Candidate:
    if not tokens:
        raise SignatureInvalidError(
            "the header webhook-signature is missing: give the webhook on GitLab its signing token"
            if signers
            else "neither webhook_secret nor signing_token is configured for this host or any of "
            "its projects: set one, and give the same to the webhook on GitLab"
        )
    given = headers.get(TOKEN_HEADER, "")
    if not given:
        raise SignatureInvalidError(
            "X-Gitlab-Token is missing: set the secret token in the webhook's settings on GitLab"
        )
    # All are compared: the time must not tell which was right.
    fits = [signing.digests_equal(token.key, signing.raw(given)) for token in tokens]
    if not any(fits):
        raise SignatureInvalidError(
            "X-Gitlab-Token fits no webhook_secret of this host: check that the webhook's secret "
            "token on GitLab and webhook_secret here are the same"
        )
    return tokens[fits.index(True)]
