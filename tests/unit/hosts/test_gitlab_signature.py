from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from server.config import GitLabSettings
from server.hosts import signing
from server.hosts.gitlab import GitLabHost
from server.hosts.port import SignatureInvalidError

NOW = datetime(2026, 2, 12, tzinfo=UTC)
TOKEN = "a secret token of GitLab"
SIGNING = "whsec_" + base64.b64encode(b"s" * 32).decode()
OWN_SIGNING = "whsec_" + base64.b64encode(b"o" * 32).decode()
BODY = b"{}"


def host(token: str | None = TOKEN, signed: str | None = SIGNING) -> GitLabHost:
    own = {"webhook_secret": "the project's own token", "signing_token": OWN_SIGNING}
    table = {
        "kind": "gitlab",
        "webhook_secret": token,
        "signing_token": signed,
        "repositories": {"mike/diaspora": own} if token or signed else {},
    }
    return GitLabHost("gitlab", GitLabSettings.model_validate(table))


def signature(token: str = SIGNING, at: datetime = NOW) -> dict[str, str]:
    return signing.sign(signing.key(token), "f5e5f430", at, BODY)


def test_a_right_token_is_taken() -> None:
    assert host().verify({"x-gitlab-token": TOKEN}, BODY, NOW).repository is None


def test_a_projects_own_token_speaks_for_that_project_alone() -> None:
    verified = host().verify({"x-gitlab-token": "the project's own token"}, BODY, NOW)

    assert verified.repository == "mike/diaspora"


@pytest.mark.parametrize(
    "odd",
    ["", " ", TOKEN + " ", TOKEN[:-1], TOKEN.upper(), f"{TOKEN}, {TOKEN}", "é", "😀", "\ud800"],
)
def test_a_token_that_is_not_exactly_right_is_refused(odd: str) -> None:
    with pytest.raises(SignatureInvalidError, match="X-Gitlab-Token"):
        host().verify({"x-gitlab-token": odd}, BODY, NOW)


def test_a_token_beyond_ascii_is_compared_as_it_came_over_the_wire() -> None:
    token = "schlüssel für gitlab"
    as_decoded = token.encode().decode("latin-1")

    assert host(token).verify({"x-gitlab-token": as_decoded}, BODY, NOW).repository is None


def test_a_right_signature_is_taken() -> None:
    verified = host().verify(signature(), BODY, NOW)

    assert (verified.repository, verified.delivery_id) == (None, "f5e5f430")


def test_a_projects_own_signing_token_speaks_for_that_project_alone() -> None:
    assert host().verify(signature(OWN_SIGNING), BODY, NOW).repository == "mike/diaspora"


@pytest.mark.parametrize("wrong", ["", "v1,AAAA", "v2,x", signature()["webhook-signature"] + "A"])
def test_a_wrong_signature_is_never_rescued_by_a_right_token(wrong: str) -> None:
    headers = {**signature(), "webhook-signature": wrong, "x-gitlab-token": TOKEN}

    with pytest.raises(SignatureInvalidError, match="webhook-signature"):
        host().verify(headers, BODY, NOW)


def test_a_signature_that_cannot_be_checked_is_not_rescued_by_a_right_token() -> None:
    unsigned = GitLabHost("gitlab", GitLabSettings(kind="gitlab", webhook_secret=SecretStr(TOKEN)))

    with pytest.raises(SignatureInvalidError, match="no signing_token is configured"):
        unsigned.verify({**signature(), "x-gitlab-token": TOKEN}, BODY, NOW)


def test_a_signature_older_than_five_minutes_is_refused() -> None:
    old = signature(at=NOW - timedelta(minutes=6))

    with pytest.raises(SignatureInvalidError, match="360 s ago"):
        host().verify({**old, "x-gitlab-token": TOKEN}, BODY, NOW)


def test_with_only_a_signing_token_a_delivery_must_be_signed() -> None:
    settings = GitLabSettings(kind="gitlab", signing_token=SecretStr(SIGNING))

    with pytest.raises(SignatureInvalidError, match="webhook-signature is missing"):
        GitLabHost("gitlab", settings).verify({"x-gitlab-token": SIGNING}, BODY, NOW)


def test_without_any_secret_configured_nothing_is_taken() -> None:
    with pytest.raises(SignatureInvalidError, match="neither webhook_secret nor signing_token"):
        host(None, None).verify({"x-gitlab-token": ""}, BODY, NOW)


@pytest.mark.parametrize(
    ("headers", "delivery_id"),
    [
        ({"idempotency-key": "i", "x-gitlab-event-uuid": "e"}, "i"),
        ({"x-gitlab-event-uuid": "e"}, "e"),
        ({}, None),
    ],
)
def test_the_delivery_id_is_the_one_that_stays_on_a_resend(
    headers: dict[str, str], delivery_id: str | None
) -> None:
    verified = host().verify({"x-gitlab-token": TOKEN, **headers}, BODY, NOW)

    assert verified.delivery_id == delivery_id


@given(text=st.text(max_size=50))
def test_whatever_the_headers_hold_the_answer_is_a_plain_refusal(text: str) -> None:
    for headers in (
        {"x-gitlab-token": text},
        {**signature(), "webhook-signature": text},
        {**signature(), "webhook-id": text},
        {**signature(), "webhook-timestamp": text},
    ):
        with pytest.raises(SignatureInvalidError):
            host().verify(headers, BODY, NOW)
