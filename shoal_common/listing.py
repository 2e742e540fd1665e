"""The JSON answer of `/nearest` and `/all`, both directions.

Deployed clients read it with regular expressions, so its text matters, not its meaning alone: `": "`
after each key, all watched keys in each entry and nowhere else, `local` null or
true, IPv4 only but for who asks for more, no comma in a scalar string (docs/rest.md has the rules).
`encode` keeps them all.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from shoal_common.errors import InvalidListing
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import host_text, ipv4, ipv6, port_number

GEO_KEYS = (
    "city",
    "region_code",
    "time_zone",
    "metro_code",
    "latitude",
    "longitude",
    "postal_code",
    "country_code",
    "country_name",
    "continent",
)
MOST_PLACES = 4096
GeoData = Mapping[str, str | float | None]


@dataclass(frozen=True, slots=True)
class ListedCache:
    """One cache as an answer shows it.

    Times in seconds since 1970 by the server's clock, load and max_load in kB/s, distance in
    effective kilometres (None in `/all`). `local`: it is on the requester's own site.
    """

    hostname: str
    port: int
    public_ip: str | None
    private_ip: str | None
    external_ip: str | None = None
    created: float = 0.0
    last_active: float = 0.0
    load: float = 0.0
    max_load: float = 0.0
    verified: bool = True
    global_access: bool = True
    local: bool = False
    cache_type: CacheType = CacheType.SQUID
    upstream: Upstream = Upstream.BOTH
    geo: GeoData = field(default_factory=dict)
    distance: float | None = None
    ipv6: str | None = None
    """Told to those alone who ask for it: other readers of the legacy text build broken URLs from it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a server answered: the usable caches in its order, and why each other entry was refused.

    `state`: `ok`, or what the server said that it lacks (docs/rest.md); empty: it said nothing.
    """

    caches: tuple[ListedCache, ...]
    refused: tuple[str, ...] = ()
    state: str = ""


def encode(caches: Sequence[ListedCache]) -> bytes:
    """The legacy text: an object keyed "0", "1", … in rank order, or `null` when there is none."""
    return joined([entry_text(cache) for cache in caches])


def entry_text(cache: ListedCache) -> bytes:
    """One entry of the legacy text, without its key."""
    return entry_own(cache) + entry_shared(cache)


def entry_own(cache: ListedCache) -> bytes:
    """The beginning of an entry: what no other squid says.

    Written out, as the rest is, since `json.dumps` takes three times as long, and a server writes thousands.
    """
    return (
        f'{{"created": {_decimal(cache.created)}, "last_active": {_decimal(cache.last_active)}, '
        f'"hostname": {_quoted(_legacy_host(cache))}, "squid_port": {cache.port}, '
        f'"public_ip": {_or_null(cache.public_ip)}, "private_ip": {_or_null(cache.private_ip)}, '
        f'"external_ip": {_or_null(cache.external_ip)}, {_six(cache)}"load": {_decimal(cache.load)}'
    ).encode()


def _six(cache: ListedCache) -> str:
    return f'"ipv6": {_quoted(cache.ipv6)}, ' if cache.ipv6 else ""


def entry_shared(cache: ListedCache) -> bytes:
    """The end of an entry: what squids of one kind and place have in common for whoever is told of them.

    The distance comes last, in effective kilometres.
    """
    places = _geo_text(tuple(map(cache.geo.get, GEO_KEYS)))
    distance = "" if cache.distance is None else f', "distance": {_decimal(cache.distance)}'
    return (
        f', "geo_data": {places}, '
        f'"verified": {_BOOLEAN[cache.verified]}, "global_access": {_BOOLEAN[cache.global_access]}, '
        f'"max_load": {round(cache.max_load)}, "local": {"true" if cache.local else "null"}, '
        f'"cache_type": "{cache.cache_type.value}", "upstream": "{cache.upstream.value}"{distance}}}'
    ).encode()


def joined(entries: Sequence[bytes]) -> bytes:
    """The legacy text of entries as `entry_text` makes them."""
    if not entries:
        return b"null"
    return b"{" + b", ".join([b'"%d": %b' % numbered for numbered in enumerate(entries)]) + b"}"


_BOOLEAN = {True: "true", False: "false"}


def _decimal(number: float) -> str:
    """To two places, as JSON has it, whatever kind of float it is."""
    return float.__repr__(round(float(number), 2))


def _or_null(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


@functools.lru_cache(MOST_PLACES)
def _geo_text(values: tuple[str | float | None, ...]) -> str:
    return json.dumps(dict(zip(GEO_KEYS, map(_geo_value, values), strict=True)))


def _legacy_host(cache: ListedCache) -> str:
    """Deployed parsers turn any string that holds `null` into None."""
    return (cache.public_ip or cache.private_ip or "unknown") if "null" in cache.hostname else cache.hostname


def _geo_value(value: str | float | None) -> str | float | None:
    """Deployed parsers end a string at the first double quote, escaped or not."""
    return value.replace('"', "'").replace("\\", "/") if isinstance(value, str) else value


def decode(body: bytes) -> Listing:
    """Read a server's answer of any generation; entries that fail validation are refused one by one.

    Raises InvalidListing when the answer as a whole is no listing.
    """
    try:
        answer = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidListing(f"not JSON in UTF-8: {error}"[:200]) from None
    if answer is None:
        return Listing(())
    if not isinstance(answer, dict) or not all(re.fullmatch("[0-9]{1,6}", key) for key in answer):
        raise InvalidListing('no map of caches keyed "0", "1", …')
    caches: list[ListedCache] = []
    refused: list[str] = []
    for key in sorted(answer, key=int):
        try:
            caches.append(_cache(answer[key]))
        except ValueError as error:
            refused.append(f"entry {key}: {error}")
    return Listing(tuple(caches), tuple(refused))


def _cache(entry: Any) -> ListedCache:
    """ValueError naming the key at fault. Only what a client acts on is demanded."""
    if not isinstance(entry, dict):
        raise ValueError("not an object")
    public, private = _address(entry, "public_ip"), _address(entry, "private_ip")
    six = _address(entry, "ipv6", ipv6)
    address = public or private or six
    if address is None:
        raise ValueError("neither public_ip nor private_ip")
    return ListedCache(
        hostname=_host(entry, address),
        port=_port(entry),
        public_ip=public,
        private_ip=private,
        load=_number(entry, "load") or 0.0,
        max_load=_number(entry, "max_load") or 0.0,
        local=entry.get("local") is True,
        cache_type=_cache_type(entry),
        upstream=_upstream(entry),
        geo=_place(entry.get("geo_data")),
        distance=_number(entry, "distance"),
        ipv6=six,
    )


def _address(entry: Mapping[str, Any], key: str, form: Callable[[str], str] = ipv4) -> str | None:
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a string")
    try:
        return form(value)
    except ValueError:
        kind = "an IPv4" if form is ipv4 else "an IPv6"
        raise ValueError(f"{key}: {value[:60]!r} is not {kind} address") from None


def _place(geo: Any) -> GeoData:
    """Latitude and longitude in degrees if both are known: what a client may act on."""
    if not isinstance(geo, dict):
        return {}
    latitude, longitude = _number(geo, "latitude"), _number(geo, "longitude")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return {}
    return {"latitude": latitude, "longitude": longitude}


def _host(entry: Mapping[str, Any], address: str) -> str:
    """The address for what is no host name: servers before 2.0 pass on whatever a squid's VM calls itself,
    and a client only shows it.
    """
    value = entry.get("hostname")
    try:
        return host_text(value.removesuffix(".")) if isinstance(value, str) else address
    except ValueError:
        return address


def _port(entry: Mapping[str, Any]) -> int:
    value = entry.get("squid_port", entry.get("cache_port"))
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("squid_port is missing or no port")
    try:
        return port_number(value)
    except ValueError as error:
        raise ValueError(f"squid_port: {error}") from None


def _number(entry: Mapping[str, Any], key: str) -> float | None:
    """What cannot be read as a finite number is as good as not said: a client only shows it."""
    value = entry.get(key)
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and abs(number) < 1e300 else None


def _cache_type(entry: Mapping[str, Any]) -> CacheType:
    return CacheType.VARNISH if entry.get("cache_type") == CacheType.VARNISH.value else CacheType.SQUID


def _upstream(entry: Mapping[str, Any]) -> Upstream:
    """Servers before 2025 say nothing; their squids serve both."""
    value = entry.get("upstream")
    return Upstream(value) if value in [member.value for member in Upstream] else Upstream.BOTH
