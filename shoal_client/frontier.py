"""FRONTIER_SERVER: what it says, and the same with our proxies in it.

The grammar is the Frontier client's (frontier_config.c): `(key=value)` groups, text between them is
ignored, parentheses nest; a string without any is the URL of one server. A mistake in it ends the job,
and so does a 25th proxy. Every byte that was there stays there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from urllib.parse import urlsplit

from shoal_common.errors import InvalidProxyList
from shoal_common.hosts import HostPort, host_text
from shoal_common.proxylist import FRONTIER_MAX_PROXIES, ProxyList

MOST_SERVERS = 3
_PROXY_KEYS = ("proxyurl", "backupproxyurl")
_PAC_KEY = "proxyconfigurl"


@dataclass(frozen=True, slots=True)
class Group:
    """One `(key=value)`, beginning at the character `start`."""

    start: int
    key: str
    value: str

    @property
    def end(self) -> int:
        """The character behind it."""
        return self.start + len(f"({self.key}={self.value})")


def parse(text: str) -> tuple[Group, ...]:
    """The groups of a FRONTIER_SERVER; raises InvalidProxyList for what the Frontier client refuses."""
    if not text.isprintable():
        raise InvalidProxyList("it has control characters")
    groups: list[Group] = []
    depth = start = 0
    for index, character in enumerate(text):
        if character == "(":
            start = index if depth == 0 else start
            depth += 1
        elif character == ")":
            depth -= 1
            if depth < 0:
                break
            if depth == 0:
                groups.append(_group(start, text[start + 1 : index]))
    if depth:
        raise InvalidProxyList("its parentheses are not balanced")
    return tuple(groups)


def _group(start: int, inside: str) -> Group:
    key, sign, value = inside.partition("=")
    if not sign:
        raise InvalidProxyList(f"({inside}) has no =")
    return Group(start, key, value)


def server_urls(text: str) -> tuple[str, ...]:
    """The first servers that it names and that can be asked; none for a string that is invalid."""
    try:
        groups = parse(text)
    except InvalidProxyList:
        return ()
    urls = [group.value for group in groups if group.key == "serverurl"] if groups else [text]
    return tuple(url for url in urls if is_server(url))[:MOST_SERVERS]


def is_server(url: str) -> bool:
    """Whether it is the URL of a server that can be asked."""
    try:
        parts = urlsplit(url)
        host_text(parts.hostname or "")
        return parts.scheme == "http" and url.isascii() and " " not in url and parts.port != 0
    except ValueError:
        return False


def rewrite(text: str, chain: ProxyList, *, taken: int = 0, replace_pac: bool = False) -> str:
    """`text` with the proxies of `chain` before its own, as far as the limit of 24 in all allows.

    They go before the first `(proxyurl`, or else to the end. Those that are there already are not repeated:
    where the chain begins with such, the others go behind these, so that a site's own squid comes before one
    far away. DIRECT and auto are left out. `taken` counts what the environment adds to the 24 (see
    `in_environment`). Where a PAC file is named its proxies come first to the Frontier client, wherever it
    stands; `replace_pac` takes it out. Raises InvalidProxyList if `text` is nothing that the Frontier client
    would take.
    """
    groups = parse(text)
    if not groups and not is_server(text):
        raise InvalidProxyList("it is neither a list of (key=value) nor the URL of a server")
    present = [group.value for group in groups if group.key in _PROXY_KEYS]
    known = {canonical(url) for url in present}
    fresh = [
        proxy for proxy in chain.proxies if proxy.startswith("http://") and canonical(proxy) not in known
    ]
    room = max(0, FRONTIER_MAX_PROXIES - taken - len(present))
    ours = "".join(f"(proxyurl={proxy})" for proxy in fresh[:room])
    if not ours:
        return text
    if not groups:
        return f"(serverurl={text}){ours}"
    at = _place(text, groups, chain)
    rewritten = text[:at] + ours + text[at:]
    return _without_pac(rewritten) if replace_pac else rewritten


def _place(text: str, groups: Sequence[Group], chain: ProxyList) -> int:
    """Before which character of `text` the proxies of `chain` that are not there go."""
    there = {canonical(group.value): group.end for group in groups if group.key == "proxyurl"}
    leading = takewhile(there.__contains__, map(canonical, chain.proxies))
    before = (group.start for group in groups if group.key == "proxyurl")
    return max((there[proxy] for proxy in leading), default=next(before, len(text)))


def balances(text: str, *, replace_pac: bool = False) -> bool:
    """Whether the Frontier client spreads its requests over all proxies that `text` names: so it is told, and
    no PAC file, which ends that, stays there.
    """
    try:
        groups = parse(text)
    except InvalidProxyList:
        return False
    told = any((group.key, group.value) == ("loadbalance", "proxies") for group in groups)
    return told and (replace_pac or not asks_pac(text))


def asks_pac(text: str) -> bool:
    """Whether it names a PAC file, whose proxies the Frontier client (since 2.8.20) tries first."""
    try:
        return any(group.key == _PAC_KEY for group in parse(text))
    except InvalidProxyList:
        return False


def _without_pac(text: str) -> str:
    for group in reversed(parse(text)):
        if group.key == _PAC_KEY:
            text = text[: group.start] + text[group.end :]
    return text


def in_environment(environ: Mapping[str, str]) -> int:
    """How many proxies the environment adds: FRONTIER_PROXY and FRONTIER_PROXY1 to 24."""
    return sum(bool(environ.get(f"FRONTIER_PROXY{number or ''}")) for number in range(25))


def canonical(url: str) -> str:
    """A proxy's URL without what may be left out: the scheme, port 80, a closing slash."""
    place = url.strip().removeprefix("http://").rstrip("/").lower()
    try:
        return str(HostPort.parse(place, 80))
    except ValueError:
        return place
