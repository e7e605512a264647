"""What registries want to see, and where a login may go."""

from __future__ import annotations

import pytest

from pipelines.registries.challenges import (
    Challenge,
    may_have_the_login,
    read_challenge,
    read_token,
)
from pipelines.registries.names import Repository
from pipelines.registries.trust import is_insecure

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (
            HUB,
            Challenge(
                scheme="bearer", realm="https://auth.docker.io/token", service="registry.docker.io"
            ),
        ),
        (
            HUB + ',scope="repository:acme/web:pull",error="invalid_token"',
            Challenge(
                scheme="bearer", realm="https://auth.docker.io/token", service="registry.docker.io"
            ),
        ),
        ('Basic realm="Registry Realm"', Challenge(scheme="basic", realm="Registry Realm")),
        ("basic", Challenge(scheme="basic")),
        (
            'Basic realm="a, b", Bearer realm="https://x/t"',
            Challenge(scheme="bearer", realm="https://x/t"),
        ),
        ("bearer realm=https://x/t", Challenge(scheme="bearer", realm="https://x/t")),
        ('Digest realm="x"', Challenge(scheme="")),
        ("", Challenge(scheme="")),
    ],
)
def test_a_challenge_is_read(header: str, challenge: Challenge) -> None:
    assert read_challenge({"WWW-Authenticate": header}) == challenge


@pytest.mark.parametrize(
    ("realm", "asked", "may"),
    [
        ("https://auth.docker.io/token", "https://registry-1.docker.io/v2/", True),
        ("http://auth.docker.io/token", "https://registry-1.docker.io/v2/", False),
        ("http://127.0.0.1:5001/token", "http://127.0.0.1:5000/v2/", True),
        ("http://169.254.169.254/token", "http://127.0.0.1:5000/v2/", False),
        ("https://elsewhere.example/token", "http://127.0.0.1:5000/v2/", False),
        ("https://me:you@auth.docker.io/token", "https://registry-1.docker.io/v2/", False),
        ("file:///etc/passwd", "http://127.0.0.1:5000/v2/", False),
        ("/token", "https://r.io/v2/", False),
        ("", "https://r.io/v2/", False),
    ],
)
def test_a_login_goes_where_the_proven_registry_sends_it_and_never_in_clear(
    realm: str, asked: str, *, may: bool
) -> None:
    assert may_have_the_login(realm, asked=asked) is may


@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b'{"token": "abc"}', "abc"),
        (b'{"access_token": "abc"}', "abc"),
        (b'{"token": "a\\r\\nX: y"}', None),
        (b'{"token": 3}', None),
        (b"[]", None),
        (b"<html>", None),
    ],
)
def test_a_token_is_read_where_it_can_be_sent_on(body: bytes, token: str | None) -> None:
    assert read_token(body) == token


@pytest.mark.parametrize(
    ("name", "host", "path", "api"),
    [
        ("ghcr.io/acme/web", "ghcr.io", "acme/web", "ghcr.io"),
        ("docker.io/acme/web", "docker.io", "acme/web", "registry-1.docker.io"),
        ("docker.io/web", "docker.io", "library/web", "registry-1.docker.io"),
        ("index.docker.io/acme/web", "docker.io", "acme/web", "registry-1.docker.io"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "a/b/c", "127.0.0.1:5000"),
    ],
)
def test_a_repository_is_taken_apart(name: str, host: str, path: str, api: str) -> None:
    repository = Repository.parse(name)
    assert (repository.host, repository.path, repository.api) == (host, path, api)


ENGINE = {
    "InsecureRegistryCIDRs": ["127.0.0.0/8"],
    "IndexConfigs": {
        "docker.io": {"Secure": True},
        "registry.example:5000": {"Secure": False},
    },
}


@pytest.mark.parametrize(
    ("host", "insecure"),
    [
        ("127.0.0.1:5000", True),
        ("localhost:5000", True),
        ("registry.example:5000", True),
        ("docker.io", False),
        ("10.0.0.1", False),
        ("[2001:db8::1]:5000", False),
    ],
)
def test_a_registry_is_insecure_where_the_engine_says_so(host: str, *, insecure: bool) -> None:
    assert is_insecure(host, ENGINE) is insecure
