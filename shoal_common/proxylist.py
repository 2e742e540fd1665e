"""Proxy chains: how CVMFS, Frontier and PAC files write "try these, then those".

The CVMFS grammar (CVMFS documentation, "Proxy Lists") is `group;group`, a group `proxy|proxy`. CVMFS
trims no blanks, understands no quotes, and takes an empty group for a dead proxy; one stray blank has
sent whole sites to DIRECT. So what is written here is written to the character.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from shoal_common.errors import InvalidProxyList
from shoal_common.hosts import HostPort, host_text, port_number

DIRECT = "DIRECT"
AUTO = "auto"
FRONTIER_MAX_PROXIES = 24
"""More than this in one connect string is a fatal error to the Frontier client."""

_PLAIN = re.compile(r"http://[A-Za-z0-9.:_\-\[\]]+")
_PROXY = re.compile(r"(?:(https?)://)?(?:([A-Za-z0-9._~%-]+(?::[A-Za-z0-9._~%-]*)?)@)?([^@/]+?)/?")


def proxy_url(text: str) -> str:
    """One member of a chain in canonical form: `DIRECT`, `auto`, or `scheme://[user@]host[:port]`.

    Raises InvalidProxyList for whatever is none of these.
    """
    if text in (DIRECT, AUTO):
        return text
    match = _PROXY.fullmatch(text)
    if match is None:
        raise InvalidProxyList(f"{text!r} is no proxy: http://host:port, DIRECT or auto")
    scheme, user, place = match.groups()
    try:
        address = _address(place)
    except ValueError as error:
        raise InvalidProxyList(f"{text!r} is no proxy: {error}") from None
    return f"{scheme or 'http'}://{user + '@' if user else ''}{address}"


def _address(place: str) -> str:
    if re.search(r":[0-9]+\Z", place):
        parsed = HostPort.parse(place)
        port_number(parsed.port)
        return str(parsed)
    if place.startswith("[") and place.endswith("]"):
        return f"[{ipaddress.IPv6Address(place[1:-1])}]"
    return host_text(place)


def _split(text: str) -> list[list[str]]:
    groups = ([member.strip() for member in group.split("|")] for group in text.split(";"))
    return [[member for member in group if member] for group in groups]


def _fault(member: str, group: Sequence[str]) -> str:
    try:
        ProxyList.of([group if member == AUTO else [member]])
    except InvalidProxyList as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class ProxyList:
    """Groups in fail-over order; inside a group CVMFS picks at random. No member stands twice."""

    groups: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, groups: Iterable[Sequence[str]]) -> Self:
        """From groups of members in any accepted spelling; repeats and empty groups are left out.

        Raises InvalidProxyList for a member that is no proxy, and for `auto` inside a `|` group,
        which CVMFS would take for a host.
        """
        seen: set[str] = set()
        kept: list[tuple[str, ...]] = []
        for group in groups:
            members = [proxy_url(member) for member in group]
            if AUTO in members and len(members) > 1:
                raise InvalidProxyList("auto must be a group of its own")
            fresh = tuple(dict.fromkeys(member for member in members if member not in seen))
            seen.update(fresh)
            if fresh:
                kept.append(fresh)
        return cls(tuple(kept))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a chain as people write it: blanks around members and empty groups do no harm here.

        Raises InvalidProxyList as `of` does.
        """
        return cls.of(_split(text))

    @classmethod
    def usable(cls, text: str) -> tuple[Self, tuple[str, ...]]:
        """As `parse`, without the members that are no proxies (CVMFS takes them for dead ones); and what is
        wrong with each of these.
        """
        checked = [[(member, _fault(member, group)) for member in group] for group in _split(text)]
        faults = tuple(fault for group in checked for _, fault in group if fault)
        return cls.of([member for member, fault in group if not fault] for group in checked), faults

    def then(self, other: "ProxyList") -> "ProxyList":
        """This chain with `other` behind it, without what is already there."""
        return ProxyList.of((*self.groups, *other.groups))

    @property
    def members(self) -> tuple[str, ...]:
        """All members in order, groups opened."""
        return tuple(member for group in self.groups for member in group)

    @property
    def proxies(self) -> tuple[str, ...]:
        """The members that are proxies: neither DIRECT nor auto."""
        return tuple(member for member in self.members if member not in (DIRECT, AUTO))

    @property
    def plain(self) -> tuple[str, ...]:
        """The proxies that every reader understands, and that are inert in every file: no https, no users."""
        return tuple(proxy for proxy in self.proxies if _PLAIN.fullmatch(proxy))

    def to_cvmfs(self) -> str:
        """The value of CVMFS_HTTP_PROXY; empty for an empty chain, which CVMFS refuses."""
        return ";".join("|".join(group) for group in self.groups)

    def to_frontier(self) -> str:
        """`(proxyurl=…)` for the first 24 proxies.

        DIRECT and auto are left out: the Frontier client would take them for host names. It speaks
        plain HTTP to a proxy, so https proxies are left out too.
        """
        plain = [proxy for proxy in self.proxies if proxy.startswith("http://")]
        return "".join(f"(proxyurl={proxy})" for proxy in plain[:FRONTIER_MAX_PROXIES])
