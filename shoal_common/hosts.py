"""Host names, addresses and ports as they may appear in a file that a shell or a browser evaluates.

Whatever passes here holds letters, digits, `.`, `-`, `_` and, for IPv6, `:` alone, so it is inert in
a shell, in JavaScript, in HTML and in a log line.
"""

import functools
import ipaddress
import re
from dataclasses import dataclass
from typing import Self

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A name's last label holds a letter (RFC 3696 section 2): 10.1.2.3.4 and 999.1.1.1 are no names. Nor is
# 0x7f000001, which resolvers and browsers take for 127.0.0.1 (WHATWG URL, "ends in a number").
_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?!0[xX][0-9A-Fa-f]*\Z)(?=[0-9_-]*[A-Za-z]){_LABEL}")


REMEMBERED = 16_384
"""Texts whose reading is remembered: the same squids say the same of themselves twice a minute."""


@functools.lru_cache(REMEMBERED)
def is_host_name(text: str) -> bool:
    """Whether `text` is a host name (RFC 1123, with `_` as clouds use it); an address is none."""
    return _NAME.fullmatch(text) is not None


@functools.lru_cache(REMEMBERED)
def ipv4(text: str) -> str:
    """The dotted-quad form of an IPv4 address; ValueError if `text` is none or can be no host's."""
    address = ipaddress.IPv4Address(text)
    if address.is_unspecified or address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise ValueError(f"{address} is no host's address")
    return str(address)


@functools.lru_cache(REMEMBERED)
def ipv6(text: str) -> str:
    """The canonical form of an IPv6 address a peer can reach; ValueError for others.

    Scoped and link-local addresses mean nothing off their link; a mapped IPv4 address is no IPv6 host.
    """
    address = ipaddress.IPv6Address(text)
    if address.is_unspecified or address.is_multicast or address.is_link_local or address.scope_id:
        raise ValueError(f"{text} is no address that another host can reach")
    if address.ipv4_mapped:
        raise ValueError(f"{text} is an IPv4 address in disguise")
    return str(address)


def is_loopback(host: str) -> bool:
    """Whether what is said to a host, a name or an address, stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
_PERHAPS_PRIVATE = ("10.", "172.", "192.", "100.")


def is_private_network(address: str) -> bool:
    """Whether an IPv4 address is of a private network or a carrier's NAT (RFC 1918, RFC 6598)."""
    if not address.startswith(_PERHAPS_PRIVATE):
        return False
    parsed = ipaddress.IPv4Address(address)
    return any(parsed in network for network in _PRIVATE)


def port_number(text: str | int) -> int:
    """A TCP port, 1 to 65535; ValueError otherwise."""
    digits = str(text)
    if not re.fullmatch(r"[0-9]{1,5}", digits) or not 1 <= int(digits) <= 65535:
        raise ValueError("a port is a whole number from 1 to 65535")
    return int(digits)


@dataclass(frozen=True, slots=True, order=True)
class HostPort:
    """Where something listens: a host name, IPv4 or IPv6 address (without brackets), and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Self:
        """Read `host:port` or `[v6]:port`; ValueError says what is wrong.

        `port` may be 0 (any free port), which a listener understands.
        """
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?", text)
        if match is None:
            raise ValueError(f"{text!r} is not HOST:PORT")
        six, host, port = match.groups()
        if port is None and default_port is None:
            raise ValueError(f"{text!r} lacks a port")
        number = int(port) if port is not None else default_port or 0
        if number > 65535:
            raise ValueError(f"{text!r}: a port is at most 65535")
        return cls(str(ipaddress.IPv6Address(six)) if six else host_text(host), number)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def redacted(text: str) -> str:
    """`text` with `***` for the password of a URL in it, whatever characters that holds: fit for a log."""
    return re.sub(r"(://[^:@]*):.*@", r"\1:***@", text, flags=re.DOTALL)


def host_text(text: str) -> str:
    """`text` if it is a host name or an IPv4 address; ValueError otherwise."""
    if is_host_name(text):
        return text
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(f"{text!r} is neither a host name nor an IPv4 address") from None
