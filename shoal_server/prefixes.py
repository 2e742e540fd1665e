"""Addresses and networks as whole numbers, and the longest network that holds an address.

IPv6 addresses are the numbers that they are, IPv4 addresses (also mapped ones, RFC 4291 section 2.5.5.2)
are counted from -2**32 to -1: so one order holds both, and `::/0` holds no IPv4 address.
"""

import ipaddress
from bisect import bisect_right
from collections.abc import Callable, Mapping
from socket import AF_INET, AF_INET6, inet_ntoa, inet_ntop, inet_pton
from typing import Generic, TypeVar

V = TypeVar("V")

FIRST_IPV4 = -(1 << 32)
_FIRST_MAPPED = 0xFFFF << 32

Span = tuple[int, int]
"""The first and the last number of a network."""


def parsed(address: str) -> tuple[int, str]:
    """The number of an address and its usual text: without a scope, IPv4 where it is mapped.

    Raises ValueError when it is none.
    """
    try:
        if ":" not in address:
            return int.from_bytes(inet_pton(AF_INET, address)) + FIRST_IPV4, address
        packed = inet_pton(AF_INET6, address.partition("%")[0])
    except OSError:
        raise ValueError(f"{address!r} is no address") from None
    number = int.from_bytes(packed)
    if number >> 32 == 0xFFFF:
        return ipv4(number & 0xFFFFFFFF)
    return number, inet_ntop(AF_INET6, packed)


def ipv4(value: int) -> tuple[int, str]:
    """The number and the text of the IPv4 address with this 32-bit value."""
    return value + FIRST_IPV4, inet_ntoa(value.to_bytes(4))


def relayed(number: int) -> tuple[int, str] | None:
    """The IPv4 address behind a 6to4 address (RFC 3056): where its network really is."""
    return ipv4((number >> 80) & 0xFFFFFFFF) if number >> 112 == 0x2002 else None


def span(network: str, *, strict: bool = True) -> Span:
    """The addresses of a network (CIDR) or of a single address; ValueError says what is wrong.

    With `strict`, bits beyond the prefix must be zero.
    """
    address, _, length = network.partition("/")
    try:
        first, _ = parsed(address)
        bits = (32 if first < 0 and ":" not in address else 128) - int(length if length.isdecimal() else -1)
    except ValueError:
        return _thorough(network, strict=strict)
    beyond = (1 << bits) - 1 if 0 <= bits <= (32 if first < 0 else 128) else -1
    if beyond < 0 or "%" in address or (strict and first & beyond):
        return _thorough(network, strict=strict)
    return first & ~beyond, first | beyond


def _thorough(network: str, *, strict: bool) -> Span:
    """The same for every spelling there is (netmasks too), and with the reason if it is none."""
    if "%" in network:
        raise ValueError(f"{network!r} has a scope, which means something on one machine alone")
    known = ipaddress.ip_network(network, strict=strict)
    first, last = int(known.network_address), int(known.broadcast_address)
    if known.version == 4:
        return first + FIRST_IPV4, last + FIRST_IPV4
    if first >> 32 == last >> 32 == 0xFFFF:
        return first - _FIRST_MAPPED + FIRST_IPV4, last - _FIRST_MAPPED + FIRST_IPV4
    return first, last


class Prefixes(Generic[V]):
    """What is known of networks, by the longest prefix; a look costs the same for any number of lengths.

    All networks are laid out as neighbouring ranges of numbers, so a look is one binary search.
    `within` makes the value of a network that lies in another from the outer's and its own; without it the
    inner one's counts alone.
    """

    def __init__(self, values: Mapping[Span, V], within: Callable[[V, V], V] | None = None) -> None:
        self._starts = [FIRST_IPV4]
        self._values: list[V | None] = [None]
        around: list[tuple[int, V]] = []
        for (first, last), value in sorted(values.items(), key=lambda item: (item[0][0], -item[0][1])):
            self._close(around, first)
            if around and within:
                value = within(around[-1][1], value)  # noqa: PLW2901 - the same network's, completed
            around.append((last, value))
            self._begin(first, value)
        self._close(around, 1 << 128)

    def _close(self, around: list[tuple[int, V]], before: int) -> None:
        """Leave the networks that end before the number."""
        while around and around[-1][0] < before:
            last, _ = around.pop()
            self._begin(last + 1, around[-1][1] if around else None)

    def _begin(self, number: int, value: V | None) -> None:
        if self._starts[-1] == number:
            self._values[-1] = value
        elif self._values[-1] is not value:
            self._starts.append(number)
            self._values.append(value)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._starts)

    def at(self, number: int) -> V | None:
        """The value of the longest prefix that holds the address with this number (`parsed`)."""
        return self._values[bisect_right(self._starts, number) - 1]
