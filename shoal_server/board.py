"""All squids of one moment as arrays: the rules of `ranking.py` applied to all of them at once.

A `Ledger` keeps a row for each squid and changes one at a time; its `board` is an immutable picture.
From a board a `Plan` is made for each place that asks: the groups of squids for requesters there, nearest
first. A plan costs one pass over the arrays (microseconds for a thousand squids) and is remembered, so
what one requester costs does not grow with the number of squids.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.ranking import (
    ASSUMED_KM,
    EARTH_RADIUS_KM,
    METERED_KM,
    NETWORK_KM,
    Relation,
    failure_domain,
    group_end,
    is_local,
    objection,
    own_km,
    unit_vector,
    weight,
)
from shoal_server.rendezvous import Equals, seed
from shoal_server.squid import UNKNOWN_OWNER, Listed, Owner, Place, Reach, Squid

MOST_PLANS = 20_000
MOST_NETWORKS = 63
Rows = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

_ROW = np.dtype(
    [
        ("x", "f4"),
        ("y", "f4"),
        ("z", "f4"),
        ("placed", "?"),
        ("metered", "?"),
        ("own", "f4"),
        ("flags", "u2"),
        ("would", "u2"),
        ("weight", "f8"),
        ("seed", "u8"),
        ("networks", "u8"),
        *(
            (name, "i4")
            for name in ("domain", "site", "asn", "organisation", "name", "region", "outside", "inside")
        ),
    ]
)
_SERVES = {service: 1 << bit for bit, service in enumerate(Upstream)}
_TYPES = {kind: 8 << bit for bit, kind in enumerate(CacheType)}
_IPV4, _INSIDE_IPV4, _PRIVATE_ONLY, _LOCAL, _REACHED = 32, 64, 128, 256, 512


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


@dataclass(frozen=True, slots=True)
class _Group:
    """Squids that are as good as each other: where they begin in the plan, and the domains they are in."""

    start: int
    equals: Equals
    domains: frozenset[int]

    def order(self, spot: int, count: int) -> list[int]:
        """The first `count` by their place in the plan, best first."""
        start = self.start
        return [start + position for position in self.equals.order(spot, count)]


class Plan:
    """The squids for a seat, group by group, nearest first: `rows`, and the number of each one's group.

    If all of them are in one failure domain, the last group, `away`, are the best of another.
    """

    __slots__ = ("away", "domains", "groups", "numbers", "rows")

    def __init__(
        self, groups: Sequence[Rows], away: Rows | None, columns: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        parts = [*groups, away] if away is not None else groups
        rows = np.concatenate(parts) if parts else np.empty(0, np.intp)
        self.rows: list[int] = rows.tolist()
        self.numbers = [number for number, part in enumerate(parts) for _ in part]
        self.domains: list[int] = columns["domain"][rows].tolist()
        made, start = [], 0
        for part in parts:
            domains = frozenset(self.domains[start : start + len(part)])
            made.append(_Group(start, Equals(columns["seed"][part], columns["weight"][part]), domains))
            start += len(part)
        self.away = made.pop() if away is not None else None
        self.groups = tuple(made)

    def told(self, spot: int, count: int) -> list[int]:
        """The first `count` squids for the requesters of a spot, by their place in the plan.

        They span two failure domains where there are two: if all are in one, the last gives its place to the
        best squid of another, since a site may go down as a whole.
        """
        told: list[int] = []
        for group in self.groups:
            told += group.order(spot, count - len(told))
            if len(told) >= count:
                break
        if count >= 2 and len(told) == count and len({self.domains[place] for place in told}) == 1:
            elsewhere = self._elsewhere(spot, self.domains[told[0]])
            told[-1] = told[-1] if elsewhere is None else elsewhere
        return told

    def alike(self, other: "Plan") -> bool:
        """Whether both tell everybody the same places in the same order."""
        return (
            self.numbers == other.numbers
            and self.domains == other.domains
            and (self.away is None) == (other.away is None)
            and all(
                mine.equals == its.equals for mine, its in zip(self.all_groups, other.all_groups, strict=True)
            )
        )

    @property
    def all_groups(self) -> Sequence[_Group]:
        """With those away."""
        return (*self.groups, self.away) if self.away else self.groups

    def _elsewhere(self, spot: int, here: int) -> int | None:
        for group in self.groups:
            if group.domains != {here}:
                order = group.order(spot, group.equals.size)
                return next(place for place in order if self.domains[place] != here)
        return self.away.order(spot, 1)[0] if self.away else None


class Board:
    """The squids at one moment, `listed` row by row."""

    def __init__(
        self,
        listed: tuple[Listed, ...],
        table: npt.NDArray[Any],
        codes: "_Codes",
        draining: Mapping[str, int],
    ) -> None:
        self.listed = listed
        self._draining = draining
        self._columns = {name: np.ascontiguousarray(table[name]) for name in table.dtype.names or ()}
        self._codes = codes
        self._any_metered = bool(self._columns["metered"].any())
        self._plans: dict[tuple[Seat, Wanted, int], Plan] = {}

    @property
    def nobody_drains(self) -> bool:
        """Whether it makes no difference what a requester uses already."""
        return not self._draining

    @classmethod
    def of(cls, listed: Iterable[Listed], *, verify: bool) -> "Board":
        """The board of these squids."""
        ledger = Ledger(verify=verify)
        for one in listed:
            ledger.put(one)
        return ledger.board()

    def hosts(self, address: str) -> bool:
        """Whether a squid has this address."""
        return address in self._codes.addresses

    def draining(self, uses: Iterable[str], service: Upstream) -> list[int]:
        """The rows of draining squids that serve a requester who uses these endpoints."""
        if not self._draining:
            return []
        rows = {self._draining[endpoint] for endpoint in uses if endpoint in self._draining}
        return sorted(row for row in rows if self._columns["would"][row] & _SERVES[service])

    def plan(
        self, seat: Seat, wanted: Wanted, count: int, also: Sequence[int] = (), among: Flags | None = None
    ) -> Plan:
        """The plan for at least `count` squids, `among` some rows only.

        `also` are rows that may be told though they are draining.
        """
        key = (self._relevant(seat), wanted, count)
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

    def _relevant(self, seat: Seat) -> Seat:
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
        while sum(map(len, groups)) < count:
            group = _next_group(effective)
            if group is None:
                return Plan(groups, None, self._columns)
            groups.append(group)
            seen |= set(domains[group].tolist())
        away = None
        if len(seen) == 1:
            effective[domains == seen.pop()] = np.inf
            away = _next_group(effective)
        return Plan(groups, away, self._columns)

    def _effective(self, seat: Seat, ties: Sequence[tuple[Relation, Rows]]) -> Floats:
        columns = self._columns
        km, own = self._km(seat.place), columns["own"]
        known = columns["placed"] if seat.place else np.zeros(len(own), np.bool_)
        effective: Floats = km + own
        effective += np.float32(NETWORK_KM[Relation.OTHER])
        for tie, rows in ties:
            distance = np.where(known[rows], km[rows], np.float32(ASSUMED_KM[tie]))
            effective[rows] = distance + own[rows] + np.float32(NETWORK_KM[tie])
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
            reached = np.uint16(_REACHED | _PRIVATE_ONLY)
            yield Relation.LAN, np.flatnonzero((columns["flags"] & reached) == reached)
        site = codes.sites.get(seat.place.site) if seat.place else None
        if site:
            yield Relation.SITE, np.flatnonzero(columns["site"] == site)
        if seat.address and (code := codes.addresses.get(seat.address)):
            yield (
                Relation.LAN,
                np.flatnonzero((columns["outside"] == code) | (columns["inside"] == code)),
            )

    def _open(self, ties: Sequence[tuple[Relation, Rows]]) -> Flags:
        flags = self._columns["flags"]
        opened: Flags = (flags & np.uint16(_PRIVATE_ONLY | _LOCAL)) == 0
        for tie, rows in ties:
            if tie is Relation.ORGANISATION:
                opened[rows] |= (flags[rows] & np.uint16(_PRIVATE_ONLY)) == 0
            elif is_local(tie):
                opened[rows] = True
        return opened

    def _allowed(self, ties: Sequence[tuple[Relation, Rows]], wanted: Wanted, also: Sequence[int]) -> Flags:
        flags = self._columns["flags"]
        allowed: Flags = (flags & np.uint16(_SERVES[wanted.service])) != 0
        allowed[list(also)] = True
        allowed &= (flags & np.uint16(sum(_TYPES[kind] for kind in wanted.types))) != 0
        allowed &= self._open(ties)
        if wanted.ipv4:
            usable = (flags & np.uint16(_IPV4)) != 0
            for tie, rows in ties:
                if is_local(tie):
                    usable[rows] |= (flags[rows] & np.uint16(_INSIDE_IPV4)) != 0
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


class _Codes:
    """Small numbers for names, so that arrays can be compared; 0 stands for unknown."""

    def __init__(self) -> None:
        self.asns: dict[int | None, int] = {}
        self.organisations: dict[str | None, int] = {}
        self.names: dict[str | None, int] = {}
        self.sites: dict[str | None, int] = {}
        self.regions: dict[str | None, int] = {}
        self.networks: dict[str, int] = {}
        self.addresses: dict[str | None, int] = {}
        self.domains: dict[Hashable, int] = {}


def _bits(codes: dict[str, int], names: Iterable[str]) -> int:
    """A bit for each name; the 64th name and those after it are not told apart from none."""
    numbers = [codes.setdefault(name, len(codes)) for name in sorted(names)]
    return sum(1 << number for number in numbers if number < MOST_NETWORKS)


def _code(codes: dict[Any, int], value: Hashable) -> int:
    return codes.setdefault(value, len(codes) + 1) if value else 0


class Ledger:
    """The squids as rows that change one at a time. With `verify` off, checks count for nothing."""

    def __init__(self, *, verify: bool) -> None:
        self._verify = verify
        self._clear()

    def _clear(self) -> None:
        self._rows: dict[str, int] = {}
        self._listed: list[Listed] = []
        self._table = np.zeros(64, _ROW)
        self._codes = _Codes()
        self._draining: set[str] = set()
        self._gone = 0

    def put(self, listed: Listed) -> None:
        """A squid as it is now."""
        row = self._rows.get(listed.squid.id)
        if row is None:
            row = self._rows[listed.squid.id] = len(self._listed)
            self._listed.append(listed)
            if row == len(self._table):
                self._table = np.concatenate([self._table, np.zeros(row, _ROW)])
        self._listed[row] = listed
        self._table[row] = self._row(listed)
        (self._draining.add if listed.squid.draining else self._draining.discard)(listed.squid.id)

    def renew(self, listed: Listed) -> None:
        """A known squid whose load and times alone have changed: a fraction of `put`."""
        row = self._rows[listed.squid.id]
        self._listed[row] = listed
        self._table["own"][row] = own_km(listed, verify=self._verify)
        self._table["weight"][row] = weight(listed.squid)

    def remove(self, squid_id: str) -> None:
        """A squid that is gone; the last row takes its place."""
        row = self._rows.pop(squid_id, None)
        if row is None:
            return
        self._draining.discard(squid_id)
        last = self._listed.pop()
        if row < len(self._listed):
            self._listed[row] = last
            self._rows[last.squid.id] = row
            self._table[row] = self._table[len(self._listed)]
        self._gone += 1
        if self._gone > 1000 + len(self._listed):
            self._forget_names()

    def board(self) -> Board:
        """A picture of the present rows."""
        draining = {
            endpoint: self._rows[squid_id]
            for squid_id in self._draining
            for endpoint in self._listed[self._rows[squid_id]].squid.endpoints
        }
        return Board(tuple(self._listed), self._table[: len(self._listed)], self._codes, draining)

    def _forget_names(self) -> None:
        """Begin anew, without the names of squids that are long gone."""
        listed = self._listed
        self._clear()
        for one in listed:
            self.put(one)

    def _row(self, listed: Listed) -> tuple[Any, ...]:
        squid, place, owner, codes = listed.squid, listed.place, listed.owner, self._codes
        return (
            *(unit_vector(place) if place else (0.0, 0.0, 0.0)),
            place is not None,
            owner.metered,
            own_km(listed, verify=self._verify),
            self._flags(listed) | (0 if squid.draining else self._serves(squid)),
            self._serves(squid),
            weight(squid),
            seed(squid.id),
            _bits(codes.networks, owner.networks),
            _code(codes.domains, failure_domain(listed)),
            _code(codes.sites, place.site if place else None),
            _code(codes.asns, owner.asn),
            _code(codes.organisations, owner.organisation),
            _code(codes.names, owner.domain),
            _code(codes.regions, owner.region),
            _code(codes.addresses, squid.public_address),
            _code(codes.addresses, squid.beat.private_ip),
        )

    def _flags(self, listed: Listed) -> int:
        squid = listed.squid
        reach = squid.verification.reach
        flags = _TYPES[squid.beat.cache_type]
        flags |= _IPV4 if squid.public_address else 0
        flags |= _INSIDE_IPV4 if squid.beat.private_ip else 0
        flags |= _PRIVATE_ONLY if squid.private_only else 0
        flags |= _LOCAL if self._verify and reach is Reach.LOCAL else 0
        flags |= _REACHED if reach is Reach.GLOBAL else 0
        return flags

    def _serves(self, squid: Squid) -> int:
        return sum(
            _SERVES[service] for service in Upstream if objection(squid, service, verify=self._verify) is None
        )
