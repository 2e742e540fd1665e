"""Squids that might be used: what a server listed, the LAN announced or an earlier run remembered."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from shoal_common.distance import costs_money, way_km
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from shoal_common.listing import ListedCache, Listing

OWN_SITE = "own site"
TWO_RUNS = 840.0
"""What has been so for this long (s) has lasted: a little less than a quarter of an hour, cron's pace, so
that two runs are enough to see it."""
LISTEN_AGAIN_SECONDS = 1800.0
SILENT_SECONDS = 3600.0
"""So long after its last announcement a squid of the LAN is listened for again, and is no longer used."""


class Source(StrEnum):
    """Who told of it in this run."""

    SERVER = "listed by the server"
    LAN = "announced on the LAN"
    REMEMBERED = "remembered from an earlier run"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address of a squid; addresses of one squid share `squid`.

    `distance` is in effective kilometres, None where the server does not tell these; `local` means the
    worker's own site. `heard`: it was found on the LAN, now or in an earlier run, which last `announced` it
    then (s since 1970). What shares a `domain` is likely to fail together. `inside`: where its own site finds
    it, as far as told. `reverse`: as a proxy it has only what its own back end has. `unlisted`: since when (s
    since 1970) one that is remembered has been missing in what servers answer; `lapsed`: it is no longer to
    be used for that.
    """

    place: HostPort
    source: Source
    squid: str
    distance: float | None = None
    local: bool = False
    heard: bool = False
    domain: str = ""
    inside: HostPort | None = None
    reverse: bool = False
    unlisted: float | None = None
    lapsed: bool = False
    announced: float = 0.0

    @property
    def proxy(self) -> str:
        """As CVMFS and Frontier write it."""
        return f"http://{self.place}"

    @property
    def eligible(self) -> bool:
        """Whether it may be chosen anew: a squid that the server no longer lists may only be kept."""
        return self.source is not Source.REMEMBERED or (self.heard and not self.lapsed)

    @property
    def usable(self) -> bool:
        """Whether it may be used beside others, anew or still."""
        return self.source is not Source.REMEMBERED or not self.lapsed

    @property
    def metered(self) -> bool:
        """Whether it costs money, as far as the server tells."""
        return self.distance is not None and costs_money(self.distance)

    def within(self, km: float) -> bool:
        """Whether it is no farther away than that, as far as the server tells."""
        return self.distance is None or way_km(self.distance) <= km

    def silent(self, now: float, seconds: float) -> bool:
        """Whether the LAN did not announce it in so many seconds before `now` (s since 1970)."""
        return not 0 <= now - self.announced < seconds


def from_listing(listing: Listing, service: Upstream, most: int) -> tuple[Candidate, ...]:
    """The first `most` caches for `service`, in the server's order; one with two addresses comes twice.

    A private address means nothing outside its site, so it is tried for `local` caches alone, and
    first. An IPv6 address comes after the IPv4 ones: CVMFS prefers these.
    """
    caches = [cache for cache in listing.caches if cache.upstream.serves(service)][:most]
    return tuple(candidate for cache in caches for candidate in _addresses(cache, service))


def _addresses(cache: ListedCache, service: Upstream) -> Iterator[Candidate]:
    """A Varnish has one back end: all that a Frontier job asks for, but not all repositories of CVMFS."""
    reverse = cache.cache_type is CacheType.VARNISH and service is Upstream.CVMFS
    inside = HostPort(cache.private_ip, cache.port) if cache.private_ip else None
    for address in (cache.private_ip if cache.local else None, cache.public_ip, cache.ipv6):
        if address:
            yield Candidate(
                place=HostPort(address, cache.port),
                source=Source.SERVER,
                squid=_squid(cache),
                distance=cache.distance,
                local=cache.local,
                domain=_domain(cache, address),
                inside=inside,
                reverse=reverse,
            )


def _squid(cache: ListedCache) -> str:
    """Behind a NAT several share one public address, so the private one, where it is told, belongs to it."""
    outside = str(HostPort(cache.public_ip or cache.private_ip or cache.ipv6 or "", cache.port))
    return f"{outside}/{cache.private_ip}" if cache.public_ip and cache.private_ip else outside


def _domain(cache: ListedCache, address: str) -> str:
    """The site as far as it is told, to a tenth of a degree; or else the network, /24 or /48."""
    if cache.local:
        return OWN_SITE
    latitude, longitude = cache.geo.get("latitude"), cache.geo.get("longitude")
    if latitude is not None and longitude is not None:
        return f"{float(latitude):.1f} {float(longitude):.1f}"
    known = cache.public_ip or address
    return str(ipaddress.ip_network(f"{known}/{48 if ':' in known else 24}", strict=False))


def missing(used: Candidate, state: str, *, full: bool, now: float) -> Candidate:
    """A squid in use that an answer does not list, from a server in this state (see `Listing`).

    A server that has just started has not heard of all squids yet, so this one stays for a while; for longer
    if the server says that it lacks something. Where a server that is well lists as many as were asked for
    (`full`), it prefers all these.
    """
    if state not in ("", "ok"):
        return replace(used, unlisted=None)
    since = now if used.unlisted is None else min(used.unlisted, now)
    return replace(used, unlisted=since, lapsed=(full and state == "ok") or now - since >= TWO_RUNS)


def merge(
    listed: Sequence[Candidate],
    heard: Sequence[Candidate],
    remembered: Sequence[Candidate],
    *,
    server_first: bool,
) -> tuple[Candidate, ...]:
    """All of them in order of preference, none twice.

    What is on the LAN comes first (`server_first`: last), except that a squid that the server lists
    keeps the server's place. One that it lists by another address is still that squid, and what it no longer
    lists stands where it belongs by its distance.
    """
    known = {candidate.place for candidate in listed}
    lan = [
        _recognised(candidate, listed)
        for candidate in (*heard, *remembered)
        if candidate.heard and candidate.place not in known
    ]
    others = [candidate for candidate in remembered if not candidate.heard and candidate.place not in known]
    told = _by_distance(listed, others)
    return _unique((*told, *lan) if server_first else (*lan, *told))


def _by_distance(listed: Sequence[Candidate], others: Sequence[Candidate]) -> list[Candidate]:
    """In the order of `listed`, with each of the others before the first that is no nearer."""

    def position(other: Candidate) -> int:
        distances = (one.distance for one in listed)
        return next(
            (
                index
                for index, distance in enumerate(distances)
                if distance is None or other.distance is None or distance >= other.distance
            ),
            len(listed),
        )

    keyed = [(position(other), 0, other) for other in others]
    keyed += [(index, 1, one) for index, one in enumerate(listed)]
    return [candidate for *_, candidate in sorted(keyed, key=lambda one: one[:2])]


def _recognised(heard: Candidate, listed: Sequence[Candidate]) -> Candidate:
    """As the first listed squid that has this address inside its site: servers before 2.0 tell that of
    squids of which they do not say that they are the worker's own.
    """
    same = next((candidate for candidate in listed if candidate.inside == heard.place), None)
    return replace(heard, squid=same.squid, domain=same.domain) if same else heard


def _unique(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    first: dict[HostPort, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.place, candidate)
    return tuple(first.values())
