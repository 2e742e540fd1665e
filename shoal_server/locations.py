"""The operator's location table: where networks are, by the operator's own word.

A CSV file with a header line; its columns are `network` (CIDR or address), `site`, `latitude`,
`longitude` and, if wanted, `city` and `country_code`. Lines that begin with `#` are comments.
"""

import csv
import ipaddress
import math
from collections.abc import Mapping
from pathlib import Path

from shoal_common.errors import SettingsError
from shoal_server.squid import Place

REQUIRED_COLUMNS = ("network", "site", "latitude", "longitude")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class LocationTable:
    """The operator's own knowledge, by longest prefix."""

    def __init__(self, places: Mapping[Network, Place]) -> None:
        self._places = dict(places)
        self._lengths = {
            version: sorted({n.prefixlen for n in places if n.version == version}, reverse=True)
            for version in (4, 6)
        }

    @classmethod
    def read(cls, path: Path) -> "LocationTable":
        """Raises SettingsError with every mistake, by entry."""
        mistakes: list[str] = []
        places: dict[Network, Place] = {}
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                lines = (line for line in file if line.strip() and not line.startswith("#"))
                rows = csv.DictReader(lines, skipinitialspace=True)
                missing = [name for name in REQUIRED_COLUMNS if name not in (rows.fieldnames or ())]
                if missing:
                    raise SettingsError([f"{path}: the header line lacks {', '.join(missing)}"])
                for number, row in enumerate(rows, start=1):
                    try:
                        places[_network(row)] = _place(row)
                    except ValueError as error:
                        mistakes.append(f"{path}: entry {number}: {error}")
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SettingsError([f"{path}: {getattr(error, 'strerror', None) or error}"]) from None
        if mistakes:
            raise SettingsError(mistakes)
        return cls(places)

    def locate(self, address: Address) -> Place | None:
        """The place of the longest prefix that holds the address."""
        for length in self._lengths[address.version]:
            place = self._places.get(ipaddress.ip_network((address, length), strict=False))
            if place is not None:
                return place
        return None


def _network(row: Mapping[str, str]) -> Network:
    try:
        return ipaddress.ip_network((row["network"] or "").strip())
    except ValueError as error:
        raise ValueError(f"network: {error}") from None


def _place(row: Mapping[str, str]) -> Place:
    site = (row["site"] or "").strip()
    if not site:
        raise ValueError("site: a name is needed")
    return Place(
        latitude=_degrees(row, "latitude", 90),
        longitude=_degrees(row, "longitude", 180),
        site=site,
        city=(row.get("city") or "").strip() or None,
        country_code=(row.get("country_code") or "").strip() or None,
    )


def _degrees(row: Mapping[str, str], column: str, most: float) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not -most <= value <= most:
        raise ValueError(f"{column}: {row[column]!r} is not a number from -{most:g} to {most:g}")
    return value
