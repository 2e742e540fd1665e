"""Which squids a requester is told, in what order, and why: pure rules, one currency.

    effective_km = great-circle km + network_km[relation] + metered_km + load_km + doubt_km + tier_km

Squids of nearly equal effective distance form a group; inside a group a weighted rendezvous hash of
requester and squid gives each requester its own stable order, so that workers are spread over equals
in proportion to their capacity and stay where they are. Whom a crowded place has no room for (`crowding`),
to him its squids cost load_km.

These are the rules for one requester and one squid, as explanations need them. `terms.py` has the same for
all squids at once: `relation` is `ties` there, `secrecy` is `open`, `exclusion` is `allowed`, and `ranked` is
`effective`. Whoever changes one changes the other; tests/server/test_board.py holds them against each other.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from shoal_common.distance import FEE_KM, slack_km, way_km
from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.squid import UNKNOWN_OWNER, Listed, Owner, Place, Reach, Squid, is_site_local, metered

EARTH_RADIUS_KM = 6371.0
METERED_KM = FEE_KM
"""No metered path while a free one has room: more than half the globe, the lowest tier, a doubt and by the
classic formula a full load cost together, and by more than a group is wide."""
CROWDED_KM = 2 * FEE_KM
"""A squid that has no room for a requester comes after all that have, metered ones too. Short of that its
load says nothing: workers come back every 10 to 30 minutes, so whoever sorts squids by differences of load
sends all of them to and fro."""
DOUBT_KM = 20_000.0
"""A squid that could not be checked comes after all that could."""
TIER_KM = 1_000.0
"""What each tier of the location table is worth."""
SLOW_START = ((60.0, 0.1), (180.0, 0.25), (600.0, 0.5))
"""Up to which age (s) a squid has which part of its weight: its cache is cold."""
Floats = npt.NDArray[np.float64]


class Relation(StrEnum):
    """The closest tie between requester and squid that is known for sure."""

    LAN = "same network"
    SITE = "same site"
    ORGANISATION = "same organisation"
    REGION = "same cloud region"
    NETWORK = "same declared network"
    OTHER = "elsewhere"


ASSUMED_KM = {
    Relation.LAN: 0.0,
    Relation.SITE: 0.0,
    Relation.ORGANISATION: 1_000.0,
    Relation.REGION: 100.0,
    Relation.NETWORK: 10_000.0,
    Relation.OTHER: 10_000.0,
}
"""Distance assumed when either end's place is unknown; elsewhere it is half of the longest there is."""
NETWORK_KM = {
    Relation.LAN: 0.0,
    Relation.SITE: 0.0,
    Relation.ORGANISATION: 50.0,
    Relation.REGION: 50.0,
    Relation.NETWORK: 75.0,
    Relation.OTHER: 100.0,
}


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
    tier_km: float
    metered_km: float
    effective_km: float
    group: int = 0

    @property
    def squid(self) -> Squid:
        return self.listed.squid

    @property
    def network_km(self) -> float:
        """What the relation costs."""
        return NETWORK_KM[self.relation]

    @property
    def crowded(self) -> bool:
        """Whether its place has no room for the requester."""
        return self.load_km > 0

    @property
    def local(self) -> bool:
        """Whether the squid's private address can be reached by the requester."""
        return is_local(self.relation)


def relation(requester: Requester, listed: Listed) -> Relation:
    """How requester and squid belong together; what is unknown equals nothing.

    Same network: seen from outside under one address (a NAT), or a private-only squid and a requester
    whose address is private to our own side, where we have reached the squid ourselves. Private addresses
    are the same in many networks, so being equal they tell something only where nothing else is known.
    """
    squid = listed.squid
    if requester.address == squid.public_address:
        return Relation.LAN
    if requester.address == squid.beat.private_ip and not (requester.place or listed.place):
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
    for tie, shared in (
        (Relation.ORGANISATION, requester.owner.same_as),
        (Relation.REGION, requester.owner.same_region),
        (Relation.NETWORK, requester.owner.shares_network),
    ):
        if shared(listed.owner):
            return tie
    return Relation.OTHER


def is_local(tie: Relation) -> bool:
    """Whether a requester with this relation can reach the squid by its private address."""
    return tie in (Relation.LAN, Relation.SITE)


def exclusion(requester: Requester, listed: Listed, policy: Policy) -> str | None:
    """Why this requester is not told of this squid, as a sentence for an operator; None: it may be.

    That it is draining comes last: it is the reason only where who uses the squid is told of it.
    """
    squid = listed.squid
    if squid.beat.cache_type not in policy.types:
        return f"it is a {squid.beat.cache_type.value}, which this kind of answer does not list"
    against = objection(squid, requester.service, verify=policy.verify)
    against = against or secrecy(requester, listed, verify=policy.verify)
    if not against and squid.draining and not squid.endpoints & requester.uses:
        return "it is draining: only those who use it already are still told of it"
    return against


def objection(squid: Squid, service: Upstream, *, verify: bool) -> str | None:
    """Why nobody is told of a squid for a service, as a sentence."""
    if not squid.beat.upstream.serves(service):
        return f"it serves {squid.beat.upstream.value} alone"
    check = squid.verification
    if not verify:
        return None
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
    if verify and check.reach is Reach.LOCAL and not (is_local(tie) or tie is Relation.ORGANISATION):
        return f"it serves its own site alone: {check.reason}"
    return None


def failure_domain(place: Place | None, owner: Owner, squid_id: str) -> Hashable:
    """What would fail together: the operator's site, else squids within about 100 km, else one network."""
    if place is None:
        return owner.asn or squid_id
    return place.site or (round(place.latitude), round(place.longitude))


def ranked(
    requester: Requester, listed: Listed, *, verify: bool, group: int = 0, crowded: bool = False
) -> Ranked:
    """The terms of a squid's rank for a requester."""
    tie = relation(requester, listed)
    distance = great_circle_km(requester.place, listed.place) if requester.place and listed.place else None
    load = CROWDED_KM if crowded else 0.0
    doubt = doubt_km(listed.squid, verify=verify)
    tier = tier_km(listed.place)
    pay = metered_km(requester, listed, tie)
    way = ASSUMED_KM[tie] if distance is None else distance
    effective = way + NETWORK_KM[tie] + load + doubt + tier + pay
    return Ranked(listed, tie, distance, load, doubt, tier, pay, effective, group)


def own_km(listed: Listed, *, verify: bool) -> float:
    """The part of the effective distance that is the squid's own for whom it has room."""
    squid = listed.squid
    return doubt_km(squid, verify=verify) + tier_km(listed.place)


def tier_km(place: Place | None) -> float:
    """What it costs a squid that the operator gave a lower preference."""
    return TIER_KM * place.tier if place else 0.0


def metered_km(requester: Requester, listed: Listed, tie: Relation) -> float:
    """What it costs that the squid's network charges for what leaves it to the requester's."""
    return METERED_KM if not is_local(tie) and metered(requester.owner, listed.owner) else 0.0


def doubt_km(squid: Squid, *, verify: bool) -> float:
    """What it costs a squid that nobody could check."""
    return DOUBT_KM if verify and squid.verification.reach is Reach.UNVERIFIED else 0.0


def great_circle_km(a: Place, b: Place) -> float:
    """Distance over the sphere by the haversine formula (R. W. Sinnott, 1984)."""
    phi_a, phi_b = math.radians(a.latitude), math.radians(b.latitude)
    chord = (
        math.sin((phi_b - phi_a) / 2) ** 2
        + math.cos(phi_a) * math.cos(phi_b) * math.sin(math.radians(b.longitude - a.longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def unit_vector(place: Place) -> tuple[float, float, float]:
    """A place on the sphere of radius 1."""
    latitude, longitude = math.radians(place.latitude), math.radians(place.longitude)
    flat = math.cos(latitude)
    return flat * math.cos(longitude), flat * math.sin(longitude), math.sin(latitude)


def group_end(first_km: float, own_km: float) -> float:
    """The effective distance up to which a squid is as good as its group's first.

    `own_km` of that is for what the first itself is; that its network is metered is no way either.
    """
    return first_km + slack_km(way_km(first_km - own_km))


def weight(max_load: Floats, age: Floats) -> Floats:
    """Squids' shares among their equals: their capacities (kB/s), part of them while they are new (s)."""
    limits, parts = zip(*SLOW_START, strict=True)
    weights: Floats = max_load * np.array([*parts, 1.0])[np.searchsorted(limits, age, side="right")]
    return weights
