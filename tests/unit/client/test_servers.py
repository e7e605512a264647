from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.client.errors import ClientError
from server.client.servers import (
    AddressError,
    Servers,
    UnknownServerError,
    address,
    goes_in_clear,
    name_for,
)

TOKEN = "lading_" + "t" * 43


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    return Servers(tmp_path / "config" / "lading" / "servers.json")


def test_the_file_is_the_persons_alone_from_the_first_byte_on(servers: Servers) -> None:
    servers.add("work", "https://ci.test", TOKEN)

    assert servers.path.stat().st_mode & 0o777 == 0o600
    assert servers.path.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in servers.path.parent.iterdir()] == ["servers.json"]


def test_a_file_that_others_may_read_is_refused(servers: Servers) -> None:
    servers.add("work", "https://ci.test", TOKEN)
    servers.path.chmod(0o640)

    with pytest.raises(ClientError, match="others may read"):
        servers.chosen(None, {})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"servers": {"a": {"url": "x"}}}', "\xff"])
def test_a_file_of_another_form_is_told_without_what_is_in_it(servers: Servers, text: str) -> None:
    servers.path.parent.mkdir(parents=True)
    servers.path.touch(mode=0o600)
    servers.path.write_text(text, encoding="latin-1")

    with pytest.raises(ClientError, match="not as `lading login` writes it"):
        servers.read()


def test_the_server_signed_in_to_last_is_the_current_one(servers: Servers) -> None:
    servers.add("work", "https://ci.test", TOKEN)
    servers.add("home", "https://home.test", TOKEN + "h")

    assert servers.chosen(None, {}).url == "https://home.test"
    assert servers.chosen("work", {}).token.get_secret_value() == TOKEN
    servers.use("work")
    assert servers.chosen(None, {}).url == "https://ci.test"


def test_signing_in_a_second_time_replaces_the_token(servers: Servers) -> None:
    servers.add("work", "https://ci.test", TOKEN)
    servers.add("work", "https://ci.test", TOKEN + "2")

    assert servers.chosen("work", {}).token.get_secret_value() == TOKEN + "2"
    assert len(servers.read().servers) == 1


def test_what_is_forgotten_is_in_the_file_no_more(servers: Servers) -> None:
    servers.add("work", "https://ci.test", TOKEN)

    assert servers.forget(None) == "work"
    assert TOKEN not in servers.path.read_text()
    with pytest.raises(UnknownServerError, match="no server is known yet"):
        servers.forget(None)


def test_no_other_server_takes_the_place_of_a_forgotten_one_by_itself(servers: Servers) -> None:
    servers.add("work", "https://ci.test", TOKEN)
    servers.add("home", "https://home.test", TOKEN)
    servers.forget("home")

    with pytest.raises(UnknownServerError, match=r"no server is the current one.*work"):
        servers.chosen(None, {})


def test_the_environment_goes_before_the_current_server_and_not_before_a_named_one(
    servers: Servers,
) -> None:
    servers.add("work", "https://ci.test", TOKEN)
    environ = {"LADING_URL": "https://other.test/", "LADING_TOKEN": f"{TOKEN}e\n"}

    chosen = servers.chosen(None, environ)
    assert (chosen.url, chosen.token.get_secret_value()) == ("https://other.test", f"{TOKEN}e")
    assert servers.chosen("work", environ).token.get_secret_value() == TOKEN


def test_a_kept_token_goes_to_the_address_it_was_given_for_alone(servers: Servers) -> None:
    servers.add("work", "https://ci.test", TOKEN)

    kept = servers.chosen(None, {"LADING_URL": "https://ci.test"})
    assert kept.token.get_secret_value() == TOKEN
    with pytest.raises(UnknownServerError, match="there is no token for it"):
        servers.chosen(None, {"LADING_URL": "https://ci.test.evil.test"})
    with pytest.raises(UnknownServerError, match="there is no token for it"):
        servers.chosen(None, {"LADING_URL": "http://ci.test"})


def test_a_token_without_an_address_is_wrong_use(servers: Servers) -> None:
    with pytest.raises(AddressError, match="LADING_URL is not"):
        servers.chosen(None, {"LADING_TOKEN": TOKEN})


def test_a_token_is_shown_by_nothing_that_prints_servers(servers: Servers) -> None:
    servers.add("work", "https://ci.test", TOKEN)

    assert TOKEN not in repr(servers.read())
    assert json.loads(servers.path.read_text())["servers"]["work"]["token"] == TOKEN


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://ci.test", "https://ci.test"),
        ("https://ci.test/", "https://ci.test"),
        ("https://ci.test/api/v1/", "https://ci.test"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://ci.test/lading", "https://ci.test/lading"),
        (" ci.test\n", "https://ci.test"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_is_kept_as_pages_have_it(text: str, kept: str) -> None:
    assert address(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://ci.test",
        "https://",
        "https://ada:secret@ci.test",
        "https://ci.test?x=1",
        "https://ci.test:port",
        "https://ci.test/\x1b[2J",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        address(text)


def test_a_server_is_called_as_its_host_unless_somebody_wants_otherwise() -> None:
    assert name_for("https://ci.test:8443/x", None) == "ci.test:8443"
    assert name_for("https://ci.test", "work") == "work"
    with pytest.raises(AddressError):
        name_for("https://ci.test", "../work")


def test_only_http_to_another_machine_goes_in_clear() -> None:
    assert goes_in_clear("http://ci.test")
    assert not goes_in_clear("https://ci.test")
    assert not goes_in_clear("http://127.0.0.1:8080")
