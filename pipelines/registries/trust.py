"""Which registries may be spoken to without a certificate that holds: those the engine says."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from typing import Any


def is_insecure(host: str, configuration: Mapping[str, Any]) -> bool:
    """Whether the engine would speak to the registry without TLS, too. May ask the name service.

    Args:
        host: With its port where it has one.
        configuration: `RegistryConfig` of the engine's `info`: by default 127.0.0.0/8 is insecure,
            and besides whatever its `insecure-registries` name.
    """
    index = (configuration.get("IndexConfigs") or {}).get(host)
    if index is not None:
        return not index.get("Secure", True)
    ranges = [
        ipaddress.ip_network(each, strict=False)
        for each in configuration.get("InsecureRegistryCIDRs") or ()
    ]
    return any(
        address in each
        for address in _addresses(host)
        for each in ranges
        if address.version == each.version
    )


def _addresses(host: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return
    for *_, address in found:
        yield ipaddress.ip_address(str(address[0]).partition("%")[0])
