"""Which squids a requester is told, in what order, and why: pure rules, one currency.

    effective_km = great-circle km + network_km[relation] + load_km(utilisation) + doubt_km

Squids of nearly equal effective distance form a group; inside a group a weighted rendezvous hash of
requester and squid gives each requester its own stable order, so that workers are spread over equals
in proportion to their spare capacity and stay where they are.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.snapshot import Listed
from shoal_server.squid import UNKNOWN_OWNER, Owner, Place, Reach, Squid, is_site_local

EARTH_RADIUS_KM = 6371.0
IDLE_KM = 100.0
"""What half load costs; 0.9 costs nine times as much, and saturation more than any distance."""
DOUBT_KM = 20_000.0
"""A squid that could not be checked comes after all that could."""
GROUP_KM = 50.0
GROUP_SHARE = 0.1
FULLEST = 0.999


class Relation(StrEnum):
    """The closest tie between requester and squid that is known for sure."""

    LAN = "same network"
    SITE = "same site"
    ORGANISATION = "same organisation"
    OTHER = "elsewhere"


ASSUMED_KM = {
    Relation.LAN: 0.0,
    Relation.SITE: 0.0,
    Relation.ORGANISATION: 1_000.0,
    Relation.OTHER: 10_000.0,
}
"""Distance assumed when either end's place is unknown; elsewhere it is half of the longest there is."""
NETWORK_KM = {Relation.LAN: 0.0, Relation.SITE: 0.0, Relation.ORGANISATION: 50.0, Relation.OTHER: 100.0}


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks, and what for; `uses` are the endpoints (`address:port`) that it says it uses already."""

    address: str
    place: Place | None
    service: Upstream = Upstream.BOTH
    uses: frozenset[str] = frozenset()
    owner: Owner = UNKNOWN_OWNER


@dataclass(frozen=True, slots=True)
class Policy:
    """`verify`: squids are checked; without that, what checks once found counts for nothing.

    `types`: the kinds of cache that the caller can use.
    """

    verify: bool = True
    types: frozenset[CacheType] = frozenset(CacheType)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One squid in an answer, with the terms of its rank; `group` counts from 0, nearest first."""

    listed: Listed
    relation: Relation
    distance_km: float | None
    load_km: float
    doubt_km: float
    effective_km: float
    group: int = 0

    @property
    def squid(self) -> Squid:
        return self.listed.squid

    @property
    def local(self) -> bool:
        """Whether the squid's private address can be reached by the requester."""
        return is_local(self.relation)


def relation(requester: Requester, listed: Listed) -> Relation:
    """How requester and squid belong together; what is unknown equals nothing.

    Same network: seen from outside under one address (a NAT), or a private-only squid and a requester
    whose address is private to our own side, where we have reached the squid ourselves.
    """
    squid = listed.squid
    if requester.address in (squid.public_address, squid.beat.private_ip):
        return Relation.LAN
    if (
        requester.place
        and listed.place
        and requester.place.site
        and requester.place.site == listed.place.site
    ):
        return Relation.SITE
    reached = squid.verification.reach is Reach.GLOBAL
    if squid.private_only and reached and is_site_local(requester.address):
        return Relation.LAN
    return Relation.ORGANISATION if requester.owner.same_as(listed.owner) else Relation.OTHER


def is_local(tie: Relation) -> bool:
    """Whether a requester with this relation can reach the squid by its private address."""
    return tie in (Relation.LAN, Relation.SITE)


def exclusion(requester: Requester, listed: Listed, policy: Policy) -> str | None:
    """Why this requester is not told of this squid, as a sentence for an operator; None: it may be."""
    squid = listed.squid
    if not squid.beat.upstream.serves(requester.service):
        return f"it serves {squid.beat.upstream.value} alone"
    if squid.beat.cache_type not in policy.types:
        return f"it is a {squid.beat.cache_type.value}, which this kind of answer does not list"
    if squid.draining and not squid.endpoints & requester.uses:
        return "it is draining: only those who use it already are still told of it"
    objection = _objection(squid, requester.service) if policy.verify else None
    return objection or secrecy(requester, listed, verify=policy.verify)


def _objection(squid: Squid, service: Upstream) -> str | None:
    """What its checks say against it."""
    check = squid.verification
    if check.reach is Reach.FAILED:
        return f"its last check failed: {check.reason}"
    if service.value in check.lacks:
        return f"its last check found it good for other services: {check.reason}"
    if check.reach is Reach.UNVERIFIED and check.checked is None:
        return "it has not been checked yet"
    return None


def secrecy(requester: Requester, listed: Listed, *, verify: bool) -> str | None:
    """Why a squid is nobody's business outside its own site, if it is so and the requester is outside."""
    tie, check = relation(requester, listed), listed.squid.verification
    if listed.squid.private_only and not is_local(tie):
        return "it has a private address only, and the requester is not on its site"
    if verify and check.reach is Reach.LOCAL and tie is Relation.OTHER:
        return f"it serves its own site alone: {check.reason}"
    return None


def rank(requester: Requester, listed: Iterable[Listed], policy: Policy) -> list[Ranked]:
    """The squids that the requester may use, best first."""
    allowed = [one for one in listed if exclusion(requester, one, policy) is None]
    nearest_first = sorted(
        (_ranked(requester, one, policy) for one in allowed), key=lambda one: one.effective_km
    )
    return [one for group in _grouped(nearest_first) for one in _spread(requester, group)]


def first(ranked: Sequence[Ranked], count: int) -> Sequence[Ranked]:
    """The first `count`, spanning two failure domains where there are two: a site may go down as a whole.

    If all of them are in one domain, the last one gives its place to the best squid of another.
    """
    told = ranked[:count]
    if count < 2 or len({_failure_domain(one.listed) for one in told}) != 1:
        return told
    here = _failure_domain(told[0].listed)
    elsewhere = next((one for one in ranked[count:] if _failure_domain(one.listed) != here), None)
    return [*told[:-1], elsewhere] if elsewhere else told


def _failure_domain(listed: Listed) -> object:
    """What would fail together: the operator's site, else squids within about 100 km, else one network."""
    place = listed.place
    if place is None:
        return listed.owner.asn or listed.squid.id
    return place.site or (round(place.latitude), round(place.longitude))


def _ranked(requester: Requester, listed: Listed, policy: Policy) -> Ranked:
    tie = relation(requester, listed)
    distance = great_circle_km(requester.place, listed.place) if requester.place and listed.place else None
    load = load_km(listed.squid.utilisation)
    doubt = DOUBT_KM if policy.verify and listed.squid.verification.reach is Reach.UNVERIFIED else 0.0
    effective = (ASSUMED_KM[tie] if distance is None else distance) + NETWORK_KM[tie] + load + doubt
    return Ranked(listed, tie, distance, load, doubt, effective)


def great_circle_km(a: Place, b: Place) -> float:
    """Distance over the sphere by the haversine formula (R. W. Sinnott, 1984)."""
    phi_a, phi_b = math.radians(a.latitude), math.radians(b.latitude)
    chord = (
        math.sin((phi_b - phi_a) / 2) ** 2
        + math.cos(phi_a) * math.cos(phi_b) * math.sin(math.radians(b.longitude - a.longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def load_km(utilisation: float) -> float:
    """What a squid's load is worth in kilometres: waiting time grows like u / (1 - u)."""
    busy = min(max(utilisation, 0.0), FULLEST)
    return IDLE_KM * busy / (1 - busy)


def _grouped(ranked: Sequence[Ranked]) -> Iterable[list[Ranked]]:
    """Cut the order where a squid is more than GROUP_KM and GROUP_SHARE farther than its group's first."""
    group: list[Ranked] = []
    number = 0
    for one in ranked:
        if group and one.effective_km > group[0].effective_km + max(
            GROUP_KM, GROUP_SHARE * group[0].effective_km
        ):
            yield group
            group, number = [], number + 1
        group.append(replace(one, group=number))
    if group:
        yield group


def _spread(requester: Requester, group: list[Ranked]) -> list[Ranked]:
    """Weighted rendezvous hashing (C. Schindelhauer, G. Schomaker, 2005): score -w / ln(h), largest first."""

    def score(one: Ranked) -> float:
        digest = hashlib.blake2b(f"{requester.address} {one.squid.id}".encode(), digest_size=8).digest()
        fraction = (int.from_bytes(digest) + 1) / (2**64 + 2)
        spare = one.squid.max_load * (1 - min(one.squid.utilisation, FULLEST))
        return -spare / math.log(fraction)

    return sorted(group, key=score, reverse=True)
