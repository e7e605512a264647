"""Headers are shown without what would let a reader send a delivery again."""

from __future__ import annotations

import pytest

from server.redact import HIDDEN, clean_headers


@pytest.mark.parametrize(
    "name",
    [
        "X-Gitlab-Token",
        "x-hub-signature",
        "x-hub-signature-256",
        "webhook-signature",
        "Authorization",
        "proxy-authorization",
        "cookie",
    ],
)
def test_a_secret_header_is_hidden_in_any_case(name: str) -> None:
    assert clean_headers({name: "s3cret"}) == {name: HIDDEN}


def test_other_headers_stay() -> None:
    assert clean_headers({"x-github-event": "push"}) == {"x-github-event": "push"}
