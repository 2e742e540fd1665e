"""GeoIP databases: City files for places, ASN, ISP and Domain files for whose network it is.

MaxMind's schemas (GeoLite2, GeoIP2) and DB-IP's City Lite in its flat one, read through geoip2's
models. A file is mapped into memory and stays so until its object is gone: replace it by renaming.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import maxminddb
from geoip2.models import ASN, ISP, City, Domain

from shoal_common.errors import SettingsError
from shoal_server.locations import Address
from shoal_server.squid import UNKNOWN_OWNER, Owner, Place

OWNER_KINDS = ("asn", "isp", "domain")
PLACE_KINDS = ("city", "enterprise")


def open_database(path: Path) -> "CityDatabase | OwnerDatabase":
    """Raises SettingsError when the file is missing, broken, or a database of another kind."""
    try:
        reader = maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: {getattr(error, 'strerror', None) or error}"]) from None
    kind = reader.metadata().database_type
    if any(word in kind.lower() for word in PLACE_KINDS):
        return CityDatabase(reader)
    if any(word in kind.lower() for word in OWNER_KINDS):
        return OwnerDatabase(reader)
    reader.close()
    raise SettingsError([f"{path}: a database of type {kind}; a City, ASN, ISP or Domain database is needed"])


class CityDatabase:
    """Places, in MaxMind's schema or DB-IP's flat one; both become geoip2's City model."""

    def __init__(self, reader: maxminddb.Reader) -> None:
        self._reader = reader

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


class OwnerDatabase:
    """Whose network an address is in: autonomous system, provider, or domain, as far as the file says."""

    def __init__(self, reader: maxminddb.Reader) -> None:
        self._reader = reader

    def owner(self, address: Address) -> Owner:
        """What the database says of the address; nothing, if it does not know it."""
        try:
            record = self._reader.get(address)
        except (maxminddb.InvalidDatabaseError, ValueError):  # also: IPv6 in a database of IPv4 alone
            return UNKNOWN_OWNER
        if not isinstance(record, dict):
            return UNKNOWN_OWNER
        fields: Mapping[str, Any] = record
        isp, asn, domain = ISP(address, **fields), ASN(address, **fields), Domain(address, **fields)
        return Owner(asn.autonomous_system_number, isp.isp or isp.organization, domain.domain)
