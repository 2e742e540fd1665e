"""What a board's arrays hold: a row for each squid, a column for each thing that lookups ask about it."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_common.heartbeat import CacheType, Upstream

MOST_NETWORKS = 63
Columns = Mapping[str, npt.NDArray[Any]]
Flags = npt.NDArray[np.bool_]

ROW = np.dtype(
    [
        ("x", "f4"),
        ("y", "f4"),
        ("z", "f4"),
        ("placed", "?"),
        ("metered", "?"),
        ("own", "f4"),
        ("load", "f4"),
        ("takes", "f4"),
        ("known_long", "?"),
        ("flags", "u2"),
        ("would", "u2"),
        ("weight", "f4"),
        ("share", "f4"),
        ("seed", "u8"),
        ("networks", "u8"),
        *((name, "i4") for name in ("domain", "site", "asn", "organisation", "name", "region")),
        ("outside", "i8"),
        ("inside", "i8"),
    ]
)
COLUMNS: tuple[str, ...] = ROW.names or ()
PASSING = ("load", "takes", "known_long", "weight", "share")
"""What changes with every heartbeat."""
LASTING = tuple(name for name in COLUMNS if name not in PASSING)
SERVES = {service: 1 << bit for bit, service in enumerate(Upstream)}
TYPES = {kind: 8 << bit for bit, kind in enumerate(CacheType)}
IPV4, INSIDE_IPV4, PRIVATE_ONLY, LOCAL, REACHED = 32, 64, 128, 256, 512


class Codes:
    """Small numbers for names, so that arrays can be compared; 0 stands for unknown."""

    def __init__(self) -> None:
        self.asns: dict[int | None, int] = {}
        self.organisations: dict[str | None, int] = {}
        self.names: dict[str | None, int] = {}
        self.sites: dict[str | None, int] = {}
        self.regions: dict[str | None, int] = {}
        self.networks: dict[str, int] = {}
        self.domains: dict[Hashable, int] = {}
        self.domain_seeds: dict[int, int] = {}


def bits(codes: dict[str, int], names: Iterable[str]) -> int:
    """A bit for each name; the 64th name and those after it are not told apart from none."""
    numbers = [codes.setdefault(name, len(codes)) for name in sorted(names)]
    return sum(1 << number for number in numbers if number < MOST_NETWORKS)


def number_of(codes: dict[Any, int], value: Hashable) -> int:
    return codes.setdefault(value, len(codes) + 1) if value else 0


def serving(columns: Columns) -> Flags:
    """The rows that are told to anybody, for any service."""
    serves: Flags = (columns["flags"] & np.uint16(sum(SERVES.values()))) != 0
    return serves
