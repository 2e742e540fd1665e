"""All squids of one moment as arrays: the rules of `ranking.py` applied to all of them at once.

A `Ledger` keeps a row for each squid and changes one at a time; its board is an immutable picture.
From a board a `Plan` is made for each place that asks: the groups of squids for requesters there, nearest
first. A plan costs one pass over the arrays (microseconds for a thousand squids) and is remembered, so
what one requester costs does not grow with the number of squids.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server import classic
from shoal_server.addresses import Addresses, code
from shoal_server.classic import RankBy
from shoal_server.columns import (
    INSIDE_IPV4,
    IPV4,
    LOCAL,
    MOST_NETWORKS,
    PRIVATE_ONLY,
    REACHED,
    SERVES,
    TYPES,
    Codes,
    Columns,
    Flags,
    serving,
)
from shoal_server.crowding import Door, parts
from shoal_server.packed import Roster
from shoal_server.plan import Plan, Rows
from shoal_server.ranking import (
    ASSUMED_KM,
    EARTH_RADIUS_KM,
    METERED_KM,
    NETWORK_KM,
    Relation,
    group_end,
    is_local,
    unit_vector,
)
from shoal_server.squid import UNKNOWN_OWNER, Owner, Place

MOST_PLANS = 20_000
MOST_DOMAINS = 32
"""In so many failure domains squids are looked for that have room for everybody."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for; `ipv4`: only squids that a reader without IPv6 can use."""

    service: Upstream = Upstream.BOTH
    types: frozenset[CacheType] = frozenset(CacheType)
    ipv4: bool = False


@dataclass(frozen=True, slots=True)
class Seat:
    """Where requesters sit who are all answered alike but for their own order of equals.

    `address` is given if it may be a squid's own; `inside`: it means something on our own site alone.
    """

    place: Place | None
    owner: Owner = UNKNOWN_OWNER
    inside: bool = False
    address: str | None = None


class Board:
    """The squids at one moment, `listed` row by row."""

    def __init__(
        self,
        listed: Roster,
        columns: Columns,
        codes: Codes,
        draining: Mapping[str, int],
        addresses: Addresses,
        rank_by: RankBy = RankBy.DISTANCE,
        surge: "Mapping[int, float] | None" = None,
    ) -> None:
        self.listed = listed
        self.rank_by = rank_by
        self._draining = draining
        self._columns = columns
        self._doors: Mapping[int, Door] = {}
        self._codes = codes
        self._addresses = addresses
        if rank_by is RankBy.DISTANCE and (surge or (columns["takes"] < 1).any()):
            self._crowd(surge or {})
        self._any_metered = bool(self._columns["metered"].any())
        self._plans: dict[tuple[Seat, Wanted, int], Plan] = {}

    @property
    def nobody_drains(self) -> bool:
        """Whether it makes no difference what a requester uses already."""
        return not self._draining

    def hosts(self, address: str) -> bool:
        """Whether a squid has this address."""
        return address in self._addresses

    def domain_seed(self, number: int) -> int:
        """What stands for a failure domain, whatever its number is."""
        return self._codes.domain_seeds[number]

    def draining(self, uses: Iterable[str], service: Upstream) -> list[int]:
        """The rows of draining squids that serve a requester who uses these endpoints."""
        if not self._draining:
            return []
        rows = {self._draining[endpoint] for endpoint in uses if endpoint in self._draining}
        return sorted(row for row in rows if self._columns["would"][row] & SERVES[service])

    def plan(
        self, seat: Seat, wanted: Wanted, count: int, also: Sequence[int] = (), among: Flags | None = None
    ) -> Plan:
        """The plan for at least `count` squids, `among` some rows only.

        `also` are rows that may be told though they are draining.
        """
        key = (self.relevant(seat), wanted, count)
        if also or among is not None:
            return self._plan(*key, also, among)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[key] = self._plan(*key)
        return plan

    def known(self, seat: Seat) -> Flags:
        """Which rows are no secret to whoever sits there."""
        return self._open(list(self._ties(seat)))

    def local(self, seat: Seat) -> Rows:
        """The rows of squids on the seat's own site or network."""
        found = [rows for tie, rows in self._ties(seat) if tie in (Relation.LAN, Relation.SITE)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.intp)

    def nearest_rows(self, seat: Seat, rows: Rows, count: int) -> list[int]:
        """Those of the rows that are nearest to the seat, at most `count`, nearest first."""
        km = self._km(seat.place)[rows]
        order = np.argsort(km, kind="stable")[:count]
        return [int(row) for row in rows[order]]

    def allowed(self, seat: Seat, wanted: Wanted, also: Sequence[int] = ()) -> Flags:
        """Which rows the seat may be told of."""
        return self._allowed(list(self._ties(seat)), wanted, also)

    def relevant(self, seat: Seat) -> Seat:
        """Without what no squid shares: so that far fewer plans are needed than there are owners."""
        owner, codes = seat.owner, self._codes
        relevant = Owner(
            owner.asn if owner.asn in codes.asns else None,
            owner.organisation if owner.organisation in codes.organisations else None,
            owner.domain if owner.domain in codes.names else None,
            owner.region if owner.region in codes.regions else None,
            frozenset(owner.networks & codes.networks.keys()) if owner.networks else owner.networks,
        )
        return Seat(seat.place, relevant, seat.inside, seat.address)

    def _crowd(self, surge: Mapping[int, float]) -> None:
        """Work out the doors of crowded domains; within a domain, the fuller squids weigh less.

        A squid that has not been known for a window yet counts like the others of its domain. `surge` is the
        part that domains take of those who boot together.
        """
        columns, seeds = self._columns, self._codes.domain_seeds
        domain, takes = columns["domain"], columns["takes"].astype(np.float64)
        part = parts(domain, takes, columns["weight"] * (columns["known_long"] & serving(columns)))
        crowded = {*np.unique(domain[takes < 1]).tolist(), *surge}
        self._doors = {
            number: Door.of(seeds[number], min(float(part[number]), surge.get(number, 1.0)))
            for number in crowded
        }
        relative = np.where(columns["known_long"], takes, part[domain])
        self._columns = {**columns, "weight": columns["weight"] * relative}

    def _plan(
        self, seat: Seat, wanted: Wanted, count: int, also: Sequence[int] = (), among: Flags | None = None
    ) -> Plan:
        ties = list(self._ties(seat))
        effective = self._effective(seat, ties)
        allowed = self._allowed(ties, wanted, also)
        effective[~(allowed if among is None else allowed & among)] = np.inf
        groups: list[Rows] = []
        domains = self._columns["domain"]
        seen = set[int]()
        found = room = 0
        while found < count or (room < count and len(seen) < MOST_DOMAINS):
            group = self._next(effective)
            if group is None:
                return Plan(groups, None, self._columns, self._doors)
            groups.append(group)
            here = domains[group].tolist()
            seen |= set(here)
            found += len(here)
            room += sum(domain not in self._doors for domain in here) if self._doors else len(here)
        return Plan(groups, self._away(effective, seen), self._columns, self._doors)

    def _away(self, effective: Floats, seen: Set[int]) -> Rows | None:
        """The best squids of another failure domain if one alone was seen; rather of one that has room."""
        if len(seen - self._doors.keys()) > 1 or (len(seen) > 1 and not self._doors):
            return None
        domains = self._columns["domain"]
        for domain in seen:  # few, and far cheaper than to look for all of them at once
            effective[domains == domain] = np.inf
        if self._doors:
            roomy = effective.copy()
            roomy[np.isin(domains, list(self._doors))] = np.inf
            if (found := self._next(roomy)) is not None:
                return found
        return self._next(effective) if len(seen) == 1 else None

    def _next(self, effective: Floats) -> Rows | None:
        """Takes the nearest group out of `effective`."""
        if self.rank_by is RankBy.CLASSIC:
            return _next_one(effective, self._columns["seed"])
        return _next_group(effective)

    def _effective(self, seat: Seat, ties: Sequence[tuple[Relation, Rows]]) -> Floats:
        columns = self._columns
        km, own = self._km(seat.place), columns["own"]
        network_km = NETWORK_KM if self.rank_by is RankBy.DISTANCE else classic.NETWORK_KM
        known = columns["placed"] if seat.place else np.zeros(len(own), np.bool_)
        effective: Floats = km + own
        effective += np.float32(network_km[Relation.OTHER])
        for tie, rows in ties:
            distance = np.where(known[rows], km[rows], np.float32(ASSUMED_KM[tie]))
            effective[rows] = distance + own[rows] + np.float32(network_km[tie])
        if self._any_metered:
            pays = columns["metered"].copy()
            for tie, rows in ties:
                if tie is not Relation.ORGANISATION:
                    pays[rows] = False
            effective[pays] += np.float32(METERED_KM)
        return effective

    def _km(self, place: Place | None) -> Floats:
        """Great-circle distance by the chord, which is exact for near places in single precision too."""
        columns = self._columns
        unknown = np.float32(ASSUMED_KM[Relation.OTHER])
        if place is None:
            return np.full(len(self.listed), unknown, np.float32)
        x, y, z = (np.float32(value) for value in unit_vector(place))
        chord = (columns["x"] - x) ** 2
        chord += (columns["y"] - y) ** 2
        chord += (columns["z"] - z) ** 2
        np.sqrt(chord, out=chord)
        chord *= np.float32(0.5)
        np.minimum(chord, np.float32(1), out=chord)
        np.arcsin(chord, out=chord)
        chord *= np.float32(2 * EARTH_RADIUS_KM)
        return np.where(columns["placed"], chord, unknown)

    def _ties(self, seat: Seat) -> Iterator[tuple[Relation, Rows]]:
        """The rows that belong to the seat's requesters more closely, the closest last."""
        columns, codes, owner = self._columns, self._codes, seat.owner
        shared = sum(
            1 << codes.networks[name]
            for name in owner.networks
            if codes.networks.get(name, MOST_NETWORKS) < MOST_NETWORKS
        )
        if shared:
            yield Relation.NETWORK, np.flatnonzero((columns["networks"] & np.uint64(shared)) != 0)
        if region := codes.regions.get(owner.region):
            yield Relation.REGION, np.flatnonzero(columns["region"] == region)
        kin = [
            np.flatnonzero(columns[column] == code)
            for column, code in (
                ("asn", codes.asns.get(owner.asn)),
                ("organisation", codes.organisations.get(owner.organisation)),
                ("name", codes.names.get(owner.domain)),
            )
            if code
        ]
        for rows in kin:
            yield Relation.ORGANISATION, rows
        if seat.inside:
            reached = np.uint16(REACHED | PRIVATE_ONLY)
            yield Relation.LAN, np.flatnonzero((columns["flags"] & reached) == reached)
        site = codes.sites.get(seat.place.site) if seat.place else None
        if site:
            yield Relation.SITE, np.flatnonzero(columns["site"] == site)
        if seat.address:
            number = code(seat.address)
            yield (
                Relation.LAN,
                np.flatnonzero((columns["outside"] == number) | (columns["inside"] == number)),
            )

    def _open(self, ties: Sequence[tuple[Relation, Rows]]) -> Flags:
        flags = self._columns["flags"]
        opened: Flags = (flags & np.uint16(PRIVATE_ONLY | LOCAL)) == 0
        for tie, rows in ties:
            if tie is Relation.ORGANISATION:
                opened[rows] |= (flags[rows] & np.uint16(PRIVATE_ONLY)) == 0
            elif is_local(tie):
                opened[rows] = True
        return opened

    def _allowed(self, ties: Sequence[tuple[Relation, Rows]], wanted: Wanted, also: Sequence[int]) -> Flags:
        flags = self._columns["flags"]
        allowed: Flags = (flags & np.uint16(SERVES[wanted.service])) != 0
        allowed[list(also)] = True
        allowed &= (flags & np.uint16(sum(TYPES[kind] for kind in wanted.types))) != 0
        allowed &= self._open(ties)
        if wanted.ipv4:
            usable = (flags & np.uint16(IPV4)) != 0
            for tie, rows in ties:
                if is_local(tie):
                    usable[rows] |= (flags[rows] & np.uint16(INSIDE_IPV4)) != 0
            allowed &= usable
        return allowed


def _next_group(effective: Floats) -> Rows | None:
    """Takes the nearest group out of `effective`."""
    nearest = float(effective.min(initial=np.inf))
    if nearest == np.inf:
        return None
    rows = np.flatnonzero(effective <= group_end(nearest))
    effective[rows] = np.inf
    return rows


def _next_one(effective: Floats, seeds: npt.NDArray[np.uint64]) -> Rows | None:
    """The same for one squid; of several that cost the same, the one that every server takes first."""
    nearest = effective.min(initial=np.inf)
    if nearest == np.inf:
        return None
    rows = np.flatnonzero(effective == nearest)
    rows = rows[[seeds[rows].argmin()]]
    effective[rows] = np.inf
    return rows
