"""The operator's location table: where networks and hosts are, by the operator's own word.

A CSV table; a line is for a network (CIDR), an address, a host name, or all names in a domain
(`*.example.org`).
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from shoal_common.hosts import is_host_name
from shoal_server.columns import MOST_NETWORKS
from shoal_server.prefixes import Prefixes, Span, span
from shoal_server.squid import Place
from shoal_server.tables import Mistakes, Row, read_rows, text_of

NEEDED = ("network", "site", "latitude", "longitude")
MORE = ("city", "country_code", "region", "tier", "networks")
HIGHEST_TIER = 9
MOST_SHARED = 65_536
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}")
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+ -]{0,127}")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

shared_place = lru_cache(MOST_SHARED)(Place)
"""The one object for all addresses that are in the same place."""


@dataclass(frozen=True, slots=True)
class Location:
    """What a line says: where it is, in which region of a provider, and in which declared networks."""

    place: Place
    region: str | None = None
    networks: frozenset[str] = frozenset()


_shared_location = lru_cache(MOST_SHARED)(Location)


class LocationTable:
    """The operator's own knowledge: of addresses by longest prefix, of names by longest match.

    Keys of `names` are names in small letters; those of a domain begin with `*.`.
    """

    def __init__(
        self, networks: Mapping[Span, Location] | None = None, names: Mapping[str, Location] | None = None
    ) -> None:
        self._networks = Prefixes(networks or {})
        self._names = dict(names or {})

    @classmethod
    def read(cls, path: Path) -> "LocationTable":
        """Raises SettingsError with every mistake, by line."""
        networks: dict[Span, Location] = {}
        names: dict[str, Location] = {}
        for key, location in _entries(path):
            if isinstance(key, str):
                names[key] = location
            else:
                networks[key] = location
        return cls(networks, names)

    def at(self, number: int) -> Location | None:
        """What the longest prefix says that holds the address with this number (see `prefixes`)."""
        return self._networks.at(number)

    @property
    def knows_names(self) -> bool:
        return bool(self._names)

    def named(self, name: str) -> Location | None:
        """What the line of this host name says, else that of the smallest domain around it."""
        rest = name.lower().rstrip(".")
        found = self._names.get(rest)
        while found is None and "." in rest:
            rest = rest.partition(".")[2]
            found = self._names.get(f"*.{rest}")
        return found


def network_name(text: str) -> str:
    """The name of a declared network; ValueError if it is none."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name: letters, digits and . _ : / + -, at most 64")
    return text


def count_networks(owners: Iterable[frozenset[str]], mistakes: Mistakes) -> None:
    """Adds a mistake when a file has names for more networks than a lookup can tell apart."""
    count = len(frozenset[str]().union(*owners))
    if count > MOST_NETWORKS:
        mistakes.add("", f"it has {count} names of networks; at most {MOST_NETWORKS} can be told apart")


def region_name(text: str) -> str:
    """The name of a provider's region, such as `aws us-east-1`; ValueError if it is none."""
    if not _REGION.fullmatch(text):
        raise ValueError(f"{text!r} is no region: letters, digits, blanks and . _ : / + -, at most 128")
    return text


def _entries(path: Path) -> Iterator[tuple[Span | str, Location]]:
    mistakes = Mistakes(path)
    lines: dict[Span | str, int] = {}
    named: set[frozenset[str]] = set()
    for line, (key, location) in read_rows(text_of(path), NEEDED, MORE, _entry, mistakes):
        if lines.setdefault(key, line) != line:
            mistakes.add(f"line {line}", f"network: it is on line {lines[key]} already")
        named.add(location.networks)
        yield key, location
    count_networks(named, mistakes)
    mistakes.tell()


def _entry(row: Row) -> tuple[Span | str, Location]:
    place = shared_place(
        row.cell("latitude", partial(_degrees, 90), 0.0),
        row.cell("longitude", partial(_degrees, 180), 0.0),
        row.cell("site", _site, ""),
        row.cell("city", _optional, None),
        row.cell("country_code", _optional, None),
        tier=row.cell("tier", _tier, 0),
    )
    region: str | None = row.cell("region", lambda text: region_name(text) if text else None, None)
    nowhere: frozenset[str] = frozenset()
    networks = row.cell("networks", lambda text: frozenset(map(network_name, text.split())), nowhere)
    nothing: Span | str = ""
    return row.cell("network", _key, nothing), _shared_location(place, region, networks)


def _key(text: str) -> Span | str:
    if is_host_name(text.removeprefix("*.")):
        return text.lower()
    try:
        return span(text)
    except ValueError as error:
        if "host bits" in str(error):
            raise
        raise ValueError(
            f"{text!r} is no network, address, host name, or domain such as *.example.org"
        ) from None


def _site(text: str) -> str:
    if not text:
        raise ValueError("a name is needed")
    return _shown(text)


def _optional(text: str) -> str | None:
    return _shown(text) or None


def _shown(text: str) -> str:
    """`text` if it is of one line that can be shown; ValueError otherwise."""
    if _UNSHOWN.search(text):
        raise ValueError(f"{text!r} holds a control character or a line's end")
    return text


def _degrees(most: float, text: str) -> float:
    value = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not -most <= value <= most:
        raise ValueError(f"{text!r} is not a number from -{most:g} to {most:g}")
    return value


def _tier(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and int(text) <= HIGHEST_TIER):
        raise ValueError(f"{text!r} is not a whole number from 0 to {HIGHEST_TIER}")
    return int(text or 0)
