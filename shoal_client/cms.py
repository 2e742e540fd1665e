"""CMS's site-local-config.xml with our proxies in it; every other byte stays as it is.

CMS makes each child of `calib-data/frontier-connect` a `(name…=value)` of the connect string, so that
`<proxy url=…/>` is a proxyurl; comments are no children. Ours stand between two comments, in front of
the site's own proxies, or behind those of them that the chain begins with.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from xml.parsers import expat

from shoal_client import files
from shoal_client.documents import Document
from shoal_client.frontier import canonical, is_server
from shoal_common.errors import Unavailable
from shoal_common.proxylist import FRONTIER_MAX_PROXIES, ProxyList

START = b"<!-- >>> shoal-client replaces what stands from here -->"
END = b"<!-- <<< to here -->"
_CONNECT = ["calib-data", "frontier-connect"]
_PROXIES = ("proxy", "backupproxy")
_BLANKS = re.compile(rb"\r?\n[ \t]*\Z|[ \t]*\Z")


@dataclass(frozen=True, slots=True)
class Child:
    """One child of `frontier-connect`, or its end, which has no name; it begins at the byte `start`."""

    name: str
    url: str
    start: int
    balance: str = ""


@dataclass(slots=True)
class _Reader:
    """Follows the parser; `events` is all of the file but for what stands between our marks."""

    parser: expat.XMLParserType
    stack: list[str] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self.stack[-2:] == _CONNECT:
            url, balance = attributes.get("url", ""), attributes.get("balance", "")
            self.children.append(Child(name, url, self.parser.CurrentByteIndex, balance))
        self.stack.append(name)

    def end(self, name: str) -> None:
        del name
        if self.stack[-2:] == _CONNECT:
            self.children.append(Child("", "", self.parser.CurrentByteIndex))
        self.stack.pop()

    def entity(self, *declaration: object) -> None:
        del declaration
        raise Unavailable("declares entities, which can be neither trusted nor placed")


def children(text: bytes) -> tuple[Child, ...]:
    """The children of the one `frontier-connect` in `calib-data`, and its end. Raises Unavailable without
    such.
    """
    if b"\0" in text:
        raise Unavailable("is in an encoding that cannot be edited byte by byte")
    parser = expat.ParserCreate()
    reader = _Reader(parser)
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.EntityDeclHandler = reader.entity
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: unknown encodings
        raise Unavailable(f"is no XML: {error}") from None
    ends = sum(not child.name for child in reader.children)
    if ends != 1 or len(reader.children) < 2:
        raise Unavailable("has no calib-data with one frontier-connect that is filled")
    return tuple(reader.children)


def server_urls(path: Path) -> tuple[str, ...]:
    """The Frontier servers that it names; none if it cannot be used, which writing it will tell."""
    try:
        found = children(files.read(path) or b"")
    except (OSError, Unavailable):
        return ()
    return tuple(child.url for child in found if child.name == "server" and is_server(child.url))


def site_local_config(path: Path, chain: ProxyList, equals: ProxyList) -> Document:
    """The file at `path` with the proxies of `chain` first, 24 with the site's own; with those of `equals` if
    it spreads the requests over all of them.
    """

    def compose(before: bytes | None) -> bytes:
        if before is None:
            raise Unavailable("does not exist: the site's own file is edited, none is made")
        return _edited(before, chain, equals)

    return Document(path, compose, START)


def _edited(before: bytes, chain: ProxyList, equals: ProxyList) -> bytes:
    bare = _without_ours(before)
    own = children(bare)
    chain = equals if _balances(own) else chain
    known = {canonical(child.url) for child in own if child.name in _PROXIES}
    place = _place(own, chain)
    room = max(0, FRONTIER_MAX_PROXIES - sum(child.name in _PROXIES for child in own))
    ours = [url for url in chain.plain if canonical(url) not in known][:room]
    if not ours:
        return bare
    anchor = own[place].start
    blanks = _blanks_before(bare, anchor)
    lines = [START, *(f'<proxy url="{url}"/>'.encode("ascii") for url in ours), END]
    after = bare[:anchor] + b"".join(line + blanks for line in lines) + bare[anchor:]
    _check(after, own, ours, place)
    return after


def _balances(own: tuple[Child, ...]) -> bool:
    """As `frontier.balances`."""
    told = any((child.name, child.balance) == ("load", "proxies") for child in own)
    return told and all(child.name != "proxyconfig" for child in own)


def _place(own: tuple[Child, ...], chain: ProxyList) -> int:
    """Before which of the site's own children ours go: its first proxy, or what follows those with which the
    chain begins, so that its own squid comes before one far away.
    """
    there = {canonical(child.url): index + 1 for index, child in enumerate(own) if child.name == "proxy"}
    leading = takewhile(there.__contains__, map(canonical, chain.plain))
    first = next((index for index, child in enumerate(own) if child.name == "proxy"), 0)
    return max((there[proxy] for proxy in leading), default=first)


def _check(after: bytes, own: tuple[Child, ...], ours: list[str], place: int) -> None:
    """Reads what was made: the site's own children in their order, and ours among them in theirs."""
    made = [(child.name, child.url) for child in children(after)]
    kept = [(child.name, child.url) for child in own]
    if made != [*kept[:place], *(("proxy", url) for url in ours), *kept[place:]]:
        raise Unavailable("cannot be edited: it would not read as meant")


def _without_ours(text: bytes) -> bytes:
    marks = [text.count(mark) for mark in (START, END)]
    if marks == [0, 0]:
        return text
    start, end = text.find(START), text.find(END)
    if marks != [1, 1] or end < start:
        raise Unavailable("has damaged marks of shoal-client: repair or remove them by hand")
    blanks = _blanks_before(text, start)
    return text[:start] + text[end + len(END) :].removeprefix(blanks)


def _blanks_before(text: bytes, at: int) -> bytes:
    match = _BLANKS.search(text, max(0, at - 1000), at)
    return match[0] if match else b""
