"""Which addresses may be connected to, where strangers may name the host.

The address that is checked is the very one that is connected to: a name that is asked for twice may
have two answers (DNS rebinding). A proxy of the environment is a machine that the administrator
names, so it is not checked; what lies behind it is the proxy's to refuse.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


class ForbiddenAddressError(OSError):
    """A host's address is not one that may be connected to."""


class Guard:
    """Lets public addresses pass, and those of some private networks.

    Args:
        private: Networks besides the public ones. Addresses of the link (169.254.0.0/16, where
            clouds answer with credentials) are refused whatever stands here.
    """

    def __init__(self, private: Iterable[Network] = ()) -> None:
        self._private = tuple(private)

    def allows(self, text: str) -> bool:
        """Whether an address, as `getaddrinfo` gives it, may be connected to."""
        address = _inner(ipaddress.ip_address(text.partition("%")[0]))
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            return False
        if any(address.version == each.version and address in each for each in self._private):
            return True
        return address.is_global

    def addresses(self, host: str, port: int) -> list[tuple[int, Any]]:
        """Family and socket address of each way to a host, every one of them allowed.

        Raises:
            ForbiddenAddressError: One of them is not.
            OSError: No name service knows the host.
        """
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        for _, _, _, _, place in found:
            if not self.allows(str(place[0])):
                raise ForbiddenAddressError(
                    f"{host} is at {place[0]}, where addresses given through the API may not lead: "
                    "the administrator can allow its network in `network.private` of config.toml"
                )
        return [(family, place) for family, _, _, _, place in found]

    def watch(self, manager: urllib3.PoolManager) -> None:
        """Have a manager's own connections go where the guard lets them."""
        manager.pool_classes_by_scheme = {
            "http": _pools(HTTPConnectionPool, _Plain, self),
            "https": _pools(HTTPSConnectionPool, _Secure, self),
        }

    def connect(self, host: str, port: int, timeout: float | None) -> socket.socket:
        """A connection to the first address that takes one.

        Raises:
            OSError: None does, or none may be tried.
        """
        last: OSError | None = None
        for family, place in self.addresses(host, port):
            one = socket.socket(family, socket.SOCK_STREAM)
            try:
                one.settimeout(timeout)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.connect(place)
            except OSError as error:
                one.close()
                last = error
            else:
                return one
        raise last or OSError(f"{host} has no address")


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return address


class _Plain(HTTPConnection):
    guard: Guard

    def _new_conn(self) -> socket.socket:
        return _connected(self, self.guard)


class _Secure(HTTPSConnection):
    guard: Guard

    def _new_conn(self) -> socket.socket:
        return _connected(self, self.guard)


def _connected(connection: HTTPConnection, guard: Guard) -> socket.socket:
    timeout = connection.timeout if isinstance(connection.timeout, int | float) else None
    try:
        return guard.connect(connection.host, connection.port or 0, timeout)
    except OSError as error:
        raise urllib3.exceptions.NewConnectionError(connection, str(error)) from error


def _pools(
    pool: type[HTTPConnectionPool], connection: type[HTTPConnection], guard: Guard
) -> type[HTTPConnectionPool]:
    guarded = type(connection.__name__, (connection,), {"guard": guard})
    return type(pool.__name__, (pool,), {"ConnectionCls": guarded})
