"""Which addresses strangers may have us connect to."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from pipelines.registries.client import RegistryClient
from pipelines.registries.guard import ForbiddenAddressError, Guard
from pipelines.registries.names import Repository
from pipelines.registries.refusals import Refusal, RegistryError
from pipelines.registries.tags import digest_of

HOME = Guard([ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("127.0.0.0/8")])


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_pass(address: str) -> None:
    assert Guard().allows(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "224.0.0.1",
        "::1",
        "::",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_addresses_that_are_not_public_do_not_pass(address: str) -> None:
    assert not Guard().allows(address)


def test_a_private_network_that_is_allowed_passes_and_no_other() -> None:
    assert HOME.allows("10.20.3.4")
    assert HOME.allows("::ffff:10.20.3.4")
    assert not HOME.allows("10.21.3.4")


def test_the_address_that_clouds_give_credentials_at_never_passes() -> None:
    assert not Guard([ipaddress.ip_network("0.0.0.0/0")]).allows("169.254.169.254")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "[::1]"])
def test_a_host_is_judged_by_where_its_name_leads_however_it_is_spelled(name: str) -> None:
    with pytest.raises(ForbiddenAddressError, match=r"network\.private"):
        Guard().addresses(name, 80)


def test_a_name_that_leads_elsewhere_the_second_time_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: saved while it was public, asked when it is not."""
    connected: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, place: connected.append(place))
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))],
    )
    client = RegistryClient(
        Repository(host="registry.example", path="acme/web"),
        login=None,
        insecure=True,
        guard=Guard(),
    )
    try:
        with pytest.raises(RegistryError, match="may not lead") as raised:
            digest_of(client, "1")
    finally:
        client.close()
    assert raised.value.refusal is Refusal.UNAVAILABLE
    assert connected == []
