"""A bridge for a private engine, so that it never touches another engine's."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import re
import shlex
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.parts.errors import program

# linux/sockios.h and linux/if.h
_ADD_BRIDGE, _DELETE_BRIDGE = 0x89A0, 0x89A1
_SET_FLAGS, _SET_ADDRESS, _SET_NETMASK = 0x8914, 0x8916, 0x891C
_UP_AND_RUNNING = 0x1 | 0x40

_SUBNETS = tuple(ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=24))


def create_bridge(name: str) -> None:
    """Make the bridge with an address in a subnet that no route of this machine covers."""
    subnet = _free_subnet(int.from_bytes(name.encode(), "big"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _ADD_BRIDGE, name.encode() + b"\0")
        _set_address(control, name, _SET_ADDRESS, subnet[1])
        _set_address(control, name, _SET_NETMASK, subnet.netmask)
        _set_flags(control, name, _UP_AND_RUNNING)


def remove_bridge(name: str) -> None:
    """Take away the bridge and the packet rules that name it; quiet when there are none."""
    for table in ("nat", "filter"):
        for rule in _rules(table, name):
            _iptables(table, "-D", *rule)
    if not exists(name):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _set_flags(control, name, 0)
        fcntl.ioctl(control, _DELETE_BRIDGE, name.encode() + b"\0")


@contextlib.contextmanager
def other_engines_rules_kept() -> Iterator[None]:
    """Put back what a starting `dockerd` sweeps out of the chains that all engines share.

    It empties `DOCKER` and the isolation chains, and with them the published ports and the
    isolation of every other engine on the machine.
    """
    before = {table: _iptables(table, "-S").splitlines() for table in ("nat", "filter")}
    try:
        yield
    finally:
        for table, rules in before.items():
            present = set(_iptables(table, "-S").splitlines())
            swept = [rule for rule in rules if rule.startswith("-A ") and rule not in present]
            for rule in reversed(swept):  # each to the head of its chain: the order is kept
                _iptables(table, "-I", *shlex.split(rule)[1:])


def exists(name: str) -> bool:
    """Whether there is a network interface of this name."""
    return Path("/sys/class/net", name).exists()


def _free_subnet(seed: int) -> ipaddress.IPv4Network:
    taken = list(routes())
    start = seed % len(_SUBNETS)
    for subnet in _SUBNETS[start:] + _SUBNETS[:start]:
        if not any(subnet.overlaps(route) for route in taken):
            return subnet
    return _SUBNETS[start]


def routes(table: Path = Path("/proc/net/route")) -> Iterator[ipaddress.IPv4Network]:
    """The subnets that this machine has a way to, without the default route."""
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = (
            ipaddress.IPv4Address(struct.pack("<I", int(fields[column], 16))) for column in (1, 7)
        )
        if int(mask):  # the default route covers everything and takes nothing
            yield ipaddress.IPv4Network(f"{destination}/{mask}", strict=False)


def _set_address(
    control: socket.socket, name: str, request: int, address: ipaddress.IPv4Address
) -> None:
    value = struct.pack("16sH2x4s8x", name.encode(), socket.AF_INET, address.packed)
    fcntl.ioctl(control, request, value)


def _set_flags(control: socket.socket, name: str, flags: int) -> None:
    fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", name.encode(), flags))


def _rules(table: str, bridge: str) -> Iterator[list[str]]:
    for line in _iptables(table, "-S").splitlines():
        if line.startswith("-A ") and re.search(rf"\s{re.escape(bridge)}(\s|$)", line):
            yield shlex.split(line)[1:]


def _iptables(table: str, *arguments: str) -> str:
    done = subprocess.run(
        [program("iptables"), "--wait", "5", "--table", table, *arguments],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout
