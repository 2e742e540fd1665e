"""Whose networks are where: the regions of providers, and the networks that the operator declared.

A file is a provider's list as it is published (AWS ip-ranges.json, Google cloud.json, Azure
ServiceTags JSON, Oracle public_ip_ranges.json), a plain list of networks, or a table with the columns
`network`, `name` and `cost`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from shoal_server.locations import count_networks, network_name, region_name
from shoal_server.prefixes import Prefixes, Span, span
from shoal_server.tables import Mistakes, Row, lines_of, read_rows, text_of

COLUMNS = ("network", "name", "cost")
MOST_SHARED = 16_384
_NO_NETWORKS: frozenset[str] = frozenset()


class Cost(StrEnum):
    """What it costs to send something out of a declared network."""

    FREE = "free"
    METERED = "metered"


@dataclass(frozen=True, slots=True)
class Belonging:
    """What the files say of a network.

    `cost` is the operator's word; without it a provider's region is metered (`sold`).
    """

    region: str | None = None
    networks: frozenset[str] = _NO_NETWORKS
    cost: Cost | None = None
    sold: bool = False

    @property
    def metered(self) -> bool:
        """Whether what leaves it costs money."""
        return self.sold if self.cost is None else self.cost is Cost.METERED


shared_belonging = lru_cache(MOST_SHARED)(Belonging)
Belongings = Mapping[Span, Belonging]
T = TypeVar("T")
_Found = tuple[str, str, str]
"""Where in a file, the network there, and its region."""
_Entry = tuple[str, object, str, str]
"""Where in a file, the network there, whose it is, and the region as its owner names it."""
_PREFIX_KEYS = {
    "ip_prefix": ("aws", "region"),
    "ipv6_prefix": ("aws", "region"),
    "ipv4Prefix": ("google", "scope"),
    "ipv6Prefix": ("google", "scope"),
}


def read_networks(path: Path) -> Belongings:
    """All networks of a file of any of the kinds; raises SettingsError with every mistake and its line."""
    text = text_of(path)
    mistakes = Mistakes(path)
    start = next(lines_of(text), (1, ""))[1]
    if start.startswith(("{", "[")):
        found = _published(text, mistakes)
    elif "," in start:
        found = _declared(text, mistakes)
    else:
        found = _listed(text, path.stem, mistakes)
    mistakes.tell()
    return found


def together(files: Iterable[Belongings]) -> Prefixes[Belonging]:
    """All files as one: a network in another is in the other's declared networks too, and the rest of
    what is said of it is from the smallest that says it."""
    all_: dict[Span, Belonging] = {}
    for belongings in files:
        for key, belonging in belongings.items():
            all_[key] = _same(all_[key], belonging) if key in all_ else belonging
    return Prefixes(all_, _within)


def _same(one: Belonging, other: Belonging) -> Belonging:
    """What two lines say of one network: it is metered if either says so."""
    dear = Cost.METERED in (one.cost, other.cost)
    return shared_belonging(
        one.region or other.region,
        one.networks | other.networks,
        Cost.METERED if dear else one.cost or other.cost,
        one.sold or other.sold,
    )


def _within(outer: Belonging, inner: Belonging) -> Belonging:
    return shared_belonging(
        inner.region or outer.region,
        inner.networks | outer.networks,
        inner.cost or outer.cost,
        inner.sold or outer.sold,
    )


def _declared(text: str, mistakes: Mistakes) -> Belongings:
    """The operator's table of networks that have a name and a cost."""
    found: dict[Span, Belonging] = {}
    nothing = (0, 0)

    def entry(row: Row) -> tuple[Span, Belonging]:
        name = row.cell("name", network_name, "")
        cost = row.cell("cost", _cost, Cost.FREE)
        return row.cell("network", span, nothing), shared_belonging(None, frozenset({name}), cost)

    for _, (key, belonging) in read_rows(text, COLUMNS, (), entry, mistakes):
        found[key] = _same(found[key], belonging) if key in found else belonging
    count_networks({belonging.networks for belonging in found.values()}, mistakes)
    return found


def _cost(text: str) -> Cost:
    try:
        return Cost(text.lower())
    except ValueError:
        raise ValueError(f"{text!r} is none of {', '.join(Cost)}") from None


def _listed(text: str, name: str, mistakes: Mistakes) -> Belongings:
    """A network on each line, with its region behind it or else the region that the file is named after."""

    def found() -> Iterator[_Found]:
        for number, line in lines_of(text):
            network, _, region = line.partition(" ")
            yield f"line {number}", network, region.strip() or name

    regions = _regions(found(), mistakes, sold=False)
    if not regions:
        mistakes.add("", "it names no network")
    return regions


def _published(text: str, mistakes: Mistakes) -> Belongings:
    """A provider's own list."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        mistakes.add(f"line {error.lineno}", f"no JSON: {error.msg}")
        return {}
    except RecursionError:
        mistakes.add("", "no JSON that can be read: it is too deep")
        return {}
    found = _regions(_published_entries(document), mistakes, sold=True)
    if not found:
        mistakes.add("", "no list of networks by AWS, Google, Azure or Oracle in the form that they publish")
    return found


def _regions(found: Iterable[_Found], mistakes: Mistakes, *, sold: bool) -> Belongings:
    """The first region that is said of a network counts: providers list one once for each service."""
    belongings: dict[Span, Belonging] = {}
    for where, network, region in found:
        try:
            key = span(network, strict=False)  # AWS documents them with bits beyond the prefix
            belonging = shared_belonging(region_name(region), _NO_NETWORKS, None, sold)
        except ValueError as error:
            mistakes.add(where, error)
        else:
            belongings.setdefault(key, belonging)
    return belongings


def _published_entries(document: object) -> Iterator[_Found]:
    """What a provider's list says of regions; networks without one are no machines that can be rented."""
    for where, network, provider, region in (
        *_aws_or_google(document),
        *_azure(document),
        *_oracle(document),
    ):
        if region and str(region).lower() != "global":
            yield where, str(network), f"{provider} {region}".lower()


def _aws_or_google(document: object) -> Iterator[_Entry]:
    """https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-syntax.html; Google's cloud.json is alike."""
    for name in ("prefixes", "ipv6_prefixes"):
        for number, entry in enumerate(_part(document, name, list)):
            for key, (provider, region) in _PREFIX_KEYS.items():
                if network := _part(entry, key, str):
                    yield f"{name}[{number}]", network, provider, _part(entry, region, str)


def _azure(document: object) -> Iterator[_Entry]:
    """ "Azure IP Ranges and Service Tags": each service, in each region, with its networks."""
    for number, tag in enumerate(_part(document, "values", list)):
        properties = _part(tag, "properties", dict)
        for network in _part(properties, "addressPrefixes", list):
            yield f"values[{number}]", network, "azure", _part(properties, "region", str)


def _oracle(document: object) -> Iterator[_Entry]:
    """https://docs.oracle.com/en-us/iaas/Content/General/Concepts/addressranges.htm"""
    for number, region in enumerate(_part(document, "regions", list)):
        for entry in _part(region, "cidrs", list):
            yield f"regions[{number}]", _part(entry, "cidr", str), "oracle", _part(region, "region", str)


def _part(value: object, key: str, kind: type[T]) -> T:
    """What a JSON object has under a key, if it is of the kind; else an empty one."""
    part = value.get(key) if isinstance(value, dict) else None
    return part if isinstance(part, kind) else kind()
