"""The records of GeoIP databases: what they say of a place and of an owner.

MaxMind's schemas (GeoLite2, GeoIP2) nest; the flat one, in which DB-IP's City Lite is also published, has
all at the top. Each is read twice: by geoip2's models, which judge a file when it is opened, and field by
field for lookups, because a model costs ten times as much to make.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from geoip2.models import ASN, ISP, City, Domain

from shoal_server.squid import Owner, Place

MOST_SHARED = 65_536
_NOTHING: Mapping[str, Any] = {}

shared_owner = lru_cache(MOST_SHARED)(Owner)
"""The one object for all addresses that belong to the same."""


def place(record: Mapping[str, Any]) -> Place | None:
    """Where it says it is; TypeError, AttributeError or ValueError for a record of another shape."""
    where = record.get("location")
    if where is None:
        return _flat_place(record)
    latitude, longitude = where.get("latitude"), where.get("longitude")
    if latitude is None or longitude is None:
        return None
    country = record.get("country", _NOTHING)
    return _place_of(
        latitude,
        longitude,
        record.get("city", _NOTHING).get("names", _NOTHING).get("en"),
        country.get("iso_code"),
        country.get("names", _NOTHING).get("en"),
        record.get("continent", _NOTHING).get("code"),
    )


def _flat_place(record: Mapping[str, Any]) -> Place | None:
    """Values are at the top, and empty ones are empty texts."""
    if "latitude" not in record:
        return None
    latitude, longitude = float(record["latitude"]), float(record["longitude"])
    return _place_of(latitude, longitude, record.get("city") or None, record.get("country_code") or None)


@lru_cache(MOST_SHARED)
def _place_of(
    latitude: float,
    longitude: float,
    city: str | None,
    country_code: str | None,
    country_name: str | None = None,
    continent: str | None = None,
) -> Place:
    """The one object for all addresses in the same place; ValueError when it is none."""
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise ValueError("no coordinates")
    names = (city, country_code, country_name, continent)
    if not all(name is None or isinstance(name, str) for name in names):
        raise ValueError("no names")
    return Place(float(latitude), float(longitude), None, *names)


def owner(record: Mapping[str, Any]) -> Owner:
    """Whose it says it is."""
    number, domain = record.get("autonomous_system_number"), record.get("domain")
    organisation = record.get("isp") or record.get("organization")
    return shared_owner(
        number if isinstance(number, int) else None,
        organisation if isinstance(organisation, str) else None,
        domain if isinstance(domain, str) else None,
    )


def geoip2_place(record: Mapping[str, Any]) -> Place | None:
    """The place as geoip2 reads it; it knows nested records alone."""
    city = City(["en"], **(record if "location" in record else _nested(record)))
    latitude, longitude = city.location.latitude, city.location.longitude
    if latitude is None or longitude is None:
        return None
    country = city.country
    return Place(
        latitude, longitude, None, city.city.name, country.iso_code, country.name, city.continent.code
    )


def _nested(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "city": {"names": {"en": record.get("city") or None}},
        "country": {"iso_code": record.get("country_code") or None},
        "location": {key: float(record[key]) for key in ("latitude", "longitude")},
    }


def geoip2_owner(record: Mapping[str, Any]) -> Owner:
    """The owner as geoip2 reads it."""
    isp, asn, domain = ISP("::", **record), ASN("::", **record), Domain("::", **record)
    return Owner(asn.autonomous_system_number, isp.isp or isp.organization, domain.domain)
