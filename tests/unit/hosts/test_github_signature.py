from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config import GitHubSettings
from server.hosts.github import GitHubHost
from server.hosts.port import SignatureInvalidError

NOW = datetime(2026, 2, 12, tzinfo=UTC)
SECRET = "It's a Secret to Everybody"
BODY = b"Hello, World!"
RIGHT = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
SHA1 = "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"


def host(secret: str | None = SECRET, **own: str) -> GitHubHost:
    table = {
        "kind": "github",
        "webhook_secret": secret,
        "repositories": {
            name.replace("_", "/"): {"webhook_secret": value} for name, value in own.items()
        },
    }
    return GitHubHost("github", GitHubSettings.model_validate(table))


def headers(signature: str | None) -> dict[str, str]:
    known = {"x-github-event": "push", "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    return known if signature is None else {**known, "x-hub-signature-256": signature}


def test_the_published_example_verifies() -> None:
    verified = host().verify(headers(RIGHT), BODY, NOW)

    assert verified.repository is None
    assert verified.delivery_id == "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    assert verified.event_type == "push"


@pytest.mark.parametrize(
    "signature",
    [
        "",
        " ",
        "sha256=",
        "sha256",
        RIGHT[:-1],
        RIGHT + "0",
        RIGHT.upper(),
        RIGHT.replace("sha256", "SHA256"),
        RIGHT.replace("sha256", "sha1"),
        RIGHT.removeprefix("sha256="),
        RIGHT[:-1] + "8",
        f"{RIGHT}, {RIGHT}",
        f" {RIGHT}",
        f"{RIGHT}\n",
        "sha256=" + "0" * 64,
        "sha256=" + "é" * 64,
        "sha256=" + "😀" * 64,
        "sha256=" + "٠" * 64,
        SHA1,
    ],
)
def test_a_signature_that_is_not_exactly_right_is_refused(signature: str) -> None:
    with pytest.raises(SignatureInvalidError):
        host().verify(headers(signature), BODY, NOW)


def test_a_missing_signature_is_refused_with_what_to_do() -> None:
    with pytest.raises(SignatureInvalidError, match="set a secret in the webhook's settings"):
        host().verify(headers(None), BODY, NOW)


def test_a_right_sha1_signature_alone_is_refused() -> None:
    with pytest.raises(SignatureInvalidError, match="SHA-1"):
        host().verify({**headers(None), "x-hub-signature": SHA1}, BODY, NOW)


def test_without_any_secret_configured_nothing_is_taken() -> None:
    with pytest.raises(SignatureInvalidError, match="no webhook_secret is configured"):
        host(secret=None).verify(headers(RIGHT), BODY, NOW)


def test_a_repositorys_own_secret_speaks_for_that_repository_alone() -> None:
    own = host("another secret of 16", acme_web=SECRET, acme_api="a third one of 16")

    assert own.verify(headers(RIGHT), BODY, NOW).repository == "acme/web"


def test_two_repositories_cannot_share_a_secret() -> None:
    with pytest.raises(ValueError, match="acme/web and acme/api share a secret"):
        host(None, acme_web=SECRET, acme_api=SECRET)


@given(text=st.text(max_size=100))
def test_whatever_the_header_holds_the_answer_is_a_plain_refusal(text: str) -> None:
    with pytest.raises(SignatureInvalidError):
        host().verify(headers(text), BODY, NOW)


def test_an_unsigned_bomb_is_refused_before_it_is_parsed() -> None:
    bomb = b"[" * 20_000_000
    started = time.perf_counter()

    with pytest.raises(SignatureInvalidError):
        host().verify(headers("sha256=" + "0" * 64), bomb, NOW)

    assert time.perf_counter() - started < 1
