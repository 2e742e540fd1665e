"""Where an address is: the operator's location table first, then the GeoIP databases in their order.

Databases: MaxMind City files (GeoLite2, GeoIP2) and DB-IP's City Lite in its flat schema, read through
geoip2. The table is a CSV file with a header line; its columns are `network`
(CIDR or address), `site`, `latitude`, `longitude` and, if wanted, `city` and `country_code`.
"""

import csv
import ipaddress
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import maxminddb
from geoip2.models import City

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


class CityDatabase:
    """One database file, MaxMind's schema or DB-IP's flat one; both become geoip2's City model."""

    def __init__(self, path: Path) -> None:
        """Raises SettingsError when the file is missing, broken, or a database of another kind."""
        try:
            self._reader = maxminddb.open_database(path)
        except (OSError, maxminddb.InvalidDatabaseError, UnicodeDecodeError) as error:
            raise SettingsError([f"{path}: {getattr(error, 'strerror', None) or error}"]) from None
        kind = self._reader.metadata().database_type
        if "city" not in kind.lower() and "enterprise" not in kind.lower():
            self._reader.close()
            raise SettingsError([f"{path}: a database of type {kind}; a City database is needed"])

    def locate(self, address: Address) -> Place | None:
        """The place that the database gives, if it gives coordinates."""
        try:
            record = self._reader.get(address)
            city: City = City(["en"], **_nested(record)) if isinstance(record, dict) else City(["en"])
            where = _coordinates(city)
        except (maxminddb.InvalidDatabaseError, ValueError):  # also: IPv6 in a database of IPv4 alone
            return None
        except (TypeError, AttributeError, KeyError):  # a record of another shape says nothing
            return None
        if where is None:
            return None
        return Place(
            latitude=where[0],
            longitude=where[1],
            city=city.city.name,
            country_code=city.country.iso_code,
            country_name=city.country.name,
            continent=city.continent.code,
        )

    def close(self) -> None:
        self._reader.close()


def _coordinates(city: City) -> tuple[float, float] | None:
    latitude, longitude = city.location.latitude, city.location.longitude
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return latitude, longitude


def _nested(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """MaxMind's schema as it is; DB-IP's flat one (`latitude` at the top) brought into that form."""
    if "latitude" not in record:
        return record
    return {
        "city": {"names": {"en": record.get("city")}},
        "country": {"iso_code": record.get("country_code")},
        "location": {"latitude": float(record["latitude"]), "longitude": float(record["longitude"])},
    }


class GeoIP:
    """The Locator of a running server: table above databases."""

    def __init__(self, table: LocationTable, databases: Sequence[CityDatabase]) -> None:
        self._table = table
        self._databases = tuple(databases)

    @classmethod
    def open(cls, table: Path | None, databases: Iterable[Path]) -> "GeoIP":
        """Raises SettingsError with the mistakes of every file."""
        mistakes: list[str] = []
        opened: list[CityDatabase] = []
        places = LocationTable({})
        for path in databases:
            try:
                opened.append(CityDatabase(path))
            except SettingsError as error:
                mistakes.extend(error.mistakes)
        try:
            places = LocationTable.read(table) if table else places
        except SettingsError as error:
            mistakes.extend(error.mistakes)
        if mistakes:
            for database in opened:
                database.close()
            raise SettingsError(mistakes)
        return cls(places, opened)

    def locate(self, address: str) -> Place | None:
        """The place of an IPv4, IPv6 or mapped address; None when unknown."""
        parsed = _unmapped(address)
        if place := self._table.locate(parsed):
            return place
        return next((place for base in self._databases if (place := base.locate(parsed))), None)

    def placed(self, address: str) -> bool:
        """Whether the operator's table holds the address."""
        return self._table.locate(_unmapped(address)) is not None

    def close(self) -> None:
        for database in self._databases:
            database.close()


def _unmapped(address: str) -> Address:
    parsed = ipaddress.ip_address(address)
    return getattr(parsed, "ipv4_mapped", None) or parsed
