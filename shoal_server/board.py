"""All squids of one moment as arrays: the rules of `ranking.py` applied to all of them at once.

A `Ledger` keeps a row for each squid and changes one at a time; its board is an immutable picture.
From a board a `Plan` is made for each place that asks: the groups of squids for requesters there, nearest
first. A plan costs one pass over the bunches of squids that are alike, some ten microseconds for hundreds
of them, and is remembered, so what one requester costs does not grow with the number of squids.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cached_property

import numpy as np
import numpy.typing as npt

from shoal_common.heartbeat import Upstream
from shoal_server.addresses import Addresses
from shoal_server.balance import Peers
from shoal_server.bunches import Bunches
from shoal_server.classic import RankBy
from shoal_server.columns import SERVES, Codes, Columns, Flags, serving
from shoal_server.crowding import Door, parts, roomy
from shoal_server.packed import Roster, numbers
from shoal_server.plan import Part, Plan, Rows
from shoal_server.plans import Plans
from shoal_server.ranking import group_end, is_local
from shoal_server.seat import Seat, Wanted
from shoal_server.squid import Owner
from shoal_server.terms import Floats32

MOST_AT_ONCE = 4096
MOST_DOMAINS = 32
"""In so many failure domains squids are looked for that have room for everybody."""


class Board:
    """The squids at one moment, `listed` row by row.

    `bunches` are those of its rows; by the classic policy each row is one, for its load counts too. `before`
    are the plans of the board before.
    """

    def __init__(
        self,
        listed: Roster,
        columns: Columns,
        codes: Codes,
        draining: Mapping[str, int],
        addresses: Addresses,
        bunches: Bunches,
        surge: Mapping[int, float] | None = None,
        before: Plans | None = None,
    ) -> None:
        self.listed = listed
        self.rank_by = bunches.terms.rank_by
        self._draining = draining
        self._columns = columns
        self._doors: Mapping[int, Door] = {}
        self._codes = codes
        self._addresses = addresses
        self._bunches = bunches
        if self.rank_by is RankBy.DISTANCE and (surge or (columns["takes"] < 1).any()):
            self._crowd(surge or {})
        self.plans = Plans(bunches, self._columns, self._doors, before)

    @property
    def nobody_drains(self) -> bool:
        """Whether it makes no difference what a requester uses already."""
        return not self._draining

    def tells_like(self, before: "Board") -> bool:
        """Whether whoever asks is told the same rows in the same order, at the same distances, as before."""
        return self.plans.made is before.plans.made

    def hosts(self, address: str) -> bool:
        """Whether a squid has this address."""
        return address in self._addresses

    def bunch(self, row: int) -> int:
        """A number that rows have in common whose terms are the same, if their places and owners are."""
        return self._bunches.bunch(row)

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
        return self.plans.get(key) or self.plans.made.put(key, self._plan(*key))

    def known(self, seat: Seat) -> Flags:
        """Which rows are no secret to whoever sits there."""
        terms = self._each.terms
        return terms.open(list(terms.ties(seat)))

    def local(self, seat: Seat) -> Rows:
        """The rows of squids on the seat's own site or network."""
        found = [rows for tie, rows in self._each.terms.ties(seat) if is_local(tie)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.intp)

    def nearest_rows(self, seat: Seat, rows: Rows, count: int) -> list[int]:
        """Those of the rows that are nearest to the seat, at most `count`, nearest first."""
        km = self._each.terms.km(seat.place)[rows]
        order = np.argsort(km, kind="stable")[:count]
        return [int(row) for row in rows[order]]

    def allowed(self, seat: Seat, wanted: Wanted, also: Sequence[int] = ()) -> Flags:
        """Which rows the seat may be told of."""
        terms = self._each.terms
        return terms.allowed(list(terms.ties(seat)), wanted, also)

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

    def peers(self, row: int) -> Peers | None:
        """The squids of a row's failure domain that have been known for a window; None if there are none.

        None too for a squid that nobody is told of: that it is used little is no reason to give it more.
        """
        if not self._serving[row]:
            return None
        domain = int(self._columns["domain"][row])
        takes, used, room = (float(values[domain]) for values in self._domains)
        return Peers(takes, used) if room else None

    @cached_property
    def _serving(self) -> Flags:
        return serving(self._columns)

    @cached_property
    def _domains(self) -> Sequence[npt.NDArray[np.float64]]:
        """What the squids of each domain take and were used in the mean, and their room (kB/s)."""
        columns, packed = self._columns, self.listed.packed
        starts = range(0, len(packed), MOST_AT_ONCE)
        used = np.concatenate([numbers(packed[at : at + MOST_AT_ONCE])["used"] for at in starts])
        present = columns["load"] / np.maximum(columns["weight"], 1e-9)
        used = np.where(used > 0, used, present)  # servers of before did not measure
        domain, room = columns["domain"], self._room
        whole = np.bincount(domain, room).astype(np.float64)
        return parts(domain, columns["takes"], room), parts(domain, used, room), whole

    @property
    def _room(self) -> npt.NDArray[np.float64]:
        """What each squid can send (kB/s) that counts for its domain: it serves, and has for a window."""
        room: npt.NDArray[np.float64] = self._columns["weight"].astype(np.float64)
        room *= self._columns["known_long"] & self._serving
        return room

    def _crowd(self, surge: Mapping[int, float]) -> None:
        """Work out the doors of crowded domains.

        A squid that has not been known for a window yet does not count. `surge` is the part that domains
        take of those who boot together.
        """
        columns, seeds = self._columns, self._codes.domain_seeds
        domain, room = columns["domain"], self._room
        part = parts(domain, columns["takes"], room)
        outwards = np.where(roomy(domain, part, columns["load"], room), 1.0, part)
        crowded = {*np.flatnonzero(outwards < 1).tolist(), *surge}
        self._doors = {
            number: Door.of(seeds[number], float(outwards[number]), surge.get(number, 1.0))
            for number in crowded
        }

    @cached_property
    def _each(self) -> Bunches:
        """Every row by itself, for what makes a difference between squids of one bunch: few ask for it."""
        return Bunches.each(self._columns, self._codes, self.rank_by)

    def _plan(
        self, seat: Seat, wanted: Wanted, count: int, also: Sequence[int] = (), among: Flags | None = None
    ) -> Plan:
        bunches = self._each if also or among is not None or seat.address else self._bunches
        effective = bunches.terms.effective(seat, wanted, also)
        if among is not None:
            effective[~among] = np.inf
        columns, doors = bunches.terms.columns, self._doors
        nearest_km = _nearest_km(effective, columns)
        groups: list[Rows] = []
        seen = set[int]()
        found = room = 0
        while found < count or (room < count and len(seen) < MOST_DOMAINS):
            group = self._next(effective, columns)
            if group is None:
                return self._made(bunches, groups, nearest_km)
            groups.append(group)
            here, sizes = columns["domain"][group].tolist(), bunches.sizes[group].tolist()
            seen.update(here)
            found += sum(sizes)
            room += sum(size for domain, size in zip(here, sizes, strict=True) if domain not in doors)
        metered = bunches.terms.metered(seat)
        if metered is not None and groups and not metered[groups[0]].any():
            effective[metered] = np.inf  # a second failure domain is not worth money while free ones will do
        return self._made(bunches, groups, nearest_km, self._away(effective, columns, seen))

    def _made(
        self, bunches: Bunches, groups: Sequence[Rows], nearest_km: float, away: Rows | None = None
    ) -> Plan:
        parts = [self._part(bunches, group) for group in groups]
        elsewhere = None if away is None else self._part(bunches, away)
        return Plan(parts, elsewhere, self._doors, nearest_km)

    def _part(self, bunches: Bunches, group: Rows) -> Part:
        return self.plans.part(group) if bunches is self._bunches else Part(group, self._columns)

    def _away(self, effective: Floats32, columns: Columns, seen: Set[int]) -> Rows | None:
        """The best squids of another failure domain if one alone was seen; rather of one that has room."""
        if len(seen - self._doors.keys()) > 1 or (len(seen) > 1 and not self._doors):
            return None
        domains = columns["domain"]
        for domain in seen:  # few, and far cheaper than to look for all of them at once
            effective[domains == domain] = np.inf
        if self._doors:
            roomy = effective.copy()
            roomy[np.isin(domains, list(self._doors))] = np.inf
            if (found := self._next(roomy, columns)) is not None:
                return found
        return self._next(effective, columns) if len(seen) == 1 else None

    def _next(self, effective: Floats32, columns: Columns) -> Rows | None:
        """Takes the nearest group out of `effective`."""
        if self.rank_by is RankBy.CLASSIC:
            return _next_one(effective, columns["seed"])
        return _next_group(effective, columns["own"])


def _nearest_km(effective: Floats32, columns: Columns) -> float:
    """How far the nearest is, without what it costs for what it is itself."""
    if not effective.size:
        return math.inf
    nearest = effective.argmin()
    return float(effective[nearest] - columns["own"][nearest])


def _next_group(effective: Floats32, own: Floats32) -> Rows | None:
    """Takes the nearest group out of `effective`; `own` is what of that is for what the squids are."""
    first = effective.argmin() if effective.size else None
    if first is None or effective[first] == np.inf:
        return None
    rows: Rows = (effective <= group_end(float(effective[first]), float(own[first]))).nonzero()[0]
    effective[rows] = np.inf
    return rows


def _next_one(effective: Floats32, seeds: npt.NDArray[np.uint64]) -> Rows | None:
    """The same for one squid; of several that cost the same, the one that every server takes first."""
    nearest = effective.min(initial=np.inf)
    if nearest == np.inf:
        return None
    rows = np.flatnonzero(effective == nearest)
    rows = rows[[seeds[rows].argmin()]]
    effective[rows] = np.inf
    return rows
