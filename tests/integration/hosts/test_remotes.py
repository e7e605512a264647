from __future__ import annotations

import base64
import os
import subprocess

import pytest
from pydantic import SecretStr

from server.hosts.port import PayloadInvalidError, Remote, RepositoryRef
from server.hosts.remotes import remote

ACME = RepositoryRef(external_id="1", full_name="acme/web")
TOKEN = SecretStr("ghp_very_secret")


def header_for(found: Remote, address: str) -> str:
    """The extra header that git itself would send to the address."""
    asked = subprocess.run(
        ["git", "config", "--get-urlmatch", "http.extraHeader", address],
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nowhere"}
        | found.env,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


def test_the_address_is_the_configured_one_with_the_name_behind_it() -> None:
    found = remote("https://github.com", ACME, "x-access-token", TOKEN)

    assert found.url == "https://github.com/acme/web.git"
    assert found.protocols == "https"


def test_the_token_is_in_no_address() -> None:
    assert TOKEN.get_secret_value() not in remote("https://github.com", ACME, "x", TOKEN).url


def test_git_sends_the_token_to_the_repository() -> None:
    found = remote("https://github.com", ACME, "x-access-token", TOKEN)

    basic = base64.b64encode(b"x-access-token:ghp_very_secret").decode()
    assert header_for(found, found.url) == f"Authorization: Basic {basic}"


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example.com/acme/web.git",
        "https://github.com.evil.example.com/acme/web.git",
        "https://evil.example.com/https://github.com/",
        "http://github.com/acme/web.git",
        "https://github.com:8443/acme/web.git",
    ],
)
def test_git_sends_the_token_nowhere_else(address: str) -> None:
    assert header_for(remote("https://github.com", ACME, "x", TOKEN), address) == ""


def test_below_a_path_the_token_stays_below_it() -> None:
    found = remote("https://example.com/gitlab", ACME, "oauth2", TOKEN)

    assert header_for(found, "https://example.com/gitlab/acme/web.git") != ""
    assert header_for(found, "https://example.com/other/acme/web.git") == ""


def test_without_a_token_nothing_is_sent() -> None:
    assert remote("https://github.com", ACME, "x", None).env == {}


def test_http_is_allowed_only_where_it_is_configured() -> None:
    assert remote("http://127.0.0.1:8080", ACME, "x", None).protocols == "http"


@pytest.mark.parametrize("name", ["../../etc", "acme/web?x=1", "acme/..", "-x/y", "acme", "a/b\n"])
def test_a_name_that_leads_elsewhere_gets_no_address(name: str) -> None:
    with pytest.raises(PayloadInvalidError):
        remote("https://github.com", RepositoryRef(external_id="1", full_name=name), "x", TOKEN)
