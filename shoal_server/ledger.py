"""The squids as rows that change one at a time; a `Board` is a picture of them."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_common.heartbeat import Upstream
from shoal_server import classic
from shoal_server.addresses import Addresses, code
from shoal_server.board import Board
from shoal_server.classic import RankBy
from shoal_server.columns import (
    COLUMNS,
    INSIDE_IPV4,
    IPV4,
    LOCAL,
    PRIVATE_ONLY,
    REACHED,
    ROW,
    SERVES,
    TYPES,
    Codes,
    Columns,
    bits,
    number_of,
    serving,
)
from shoal_server.crowding import WINDOW
from shoal_server.packed import Packed, Roster
from shoal_server.ranking import failure_domain, objection, own_km, unit_vector, weight
from shoal_server.rendezvous import seed
from shoal_server.squid import Listed, Owner, Place, Reach, Squid
from shoal_server.surge import Surge

MOST_WHERES = 65_536
MOST_KINDS = 4096
MOST_NEW = 1024
_PASSING = ("load", "takes", "known_long", "weight")


def board_of(listed: Iterable[Listed], *, verify: bool, rank_by: RankBy = RankBy.DISTANCE) -> Board:
    """The board of these squids."""
    ledger = Ledger(verify=verify, rank_by=rank_by)
    for one in listed:
        ledger.put(one)
    return ledger.board()


def _load(squid: Squid) -> float:
    """What it sends (kB/s), or would if the scarcest of its resources were its interface."""
    return min(squid.utilisation, 10.0) * squid.max_load


class Ledger:
    """The squids as rows that change one at a time. With `verify` off, checks count for nothing.

    A board is lent the columns as they are; one that changes after that is copied first, so that what does
    not change is there once.
    """

    def __init__(self, *, verify: bool, rank_by: RankBy = RankBy.DISTANCE) -> None:
        self._verify = verify
        self._rank_by = rank_by
        self._own_km = own_km if rank_by is RankBy.DISTANCE else classic.own_km
        self._passing = _PASSING if rank_by is RankBy.DISTANCE else (*_PASSING, "own")
        self._clear()

    def _clear(self) -> None:
        self._rows: dict[str, int] = {}
        self._packed: list[Packed] = []
        self._new: list[tuple[Any, ...]] = []
        """The last rows, which are not in the columns yet: many are written at once, a column each."""
        self._columns = {name: np.zeros(64, ROW[name]) for name in COLUMNS}
        self._lent: set[str] = set()
        self._codes = Codes()
        self._wheres: dict[tuple[int, int], _Where] = {}
        self._kinds: dict[Hashable, tuple[int, int]] = {}
        self._draining: set[str] = set()
        self._addresses: Addresses | None = None
        self._gone = 0

    @property
    def roster(self) -> Roster:
        """The squids as they are now, in the order of the rows."""
        return Roster(tuple(self._packed))

    def __contains__(self, squid_id: str) -> bool:
        return squid_id in self._rows

    def get(self, squid_id: str) -> Packed | None:
        """A squid as it was put last."""
        row = self._rows.get(squid_id)
        return None if row is None else self._packed[row]

    def put(self, listed: Listed) -> None:
        """A squid as it is now."""
        self.take(listed.squid, Packed.of(listed.squid, listed.place, listed.owner))

    def take(self, squid: Squid, packed: Packed) -> bool:
        """A squid as it is now, as both; returns whether more than its load and times has changed."""
        squid_id, listed = squid.id, Listed(squid, packed.place, packed.owner)
        row = self._rows.get(squid_id)
        if row is not None and packed.stands_as(self._packed[row]):
            self._renew(row, listed, packed)
            return False
        self._put(squid_id, row, listed, packed)
        return True

    def remove(self, squid_id: str) -> None:
        """A squid that is gone; the last row takes its place."""
        row = self._rows.pop(squid_id, None)
        if row is None:
            return
        self._write_new()
        self._draining.discard(squid_id)
        last = self._packed.pop()
        if row < len(self._packed):
            self._packed[row] = last
            self._rows[last.squid.id] = row
            self._writable(COLUMNS)
            for column in self._columns.values():
                column[row] = column[len(self._packed)]
        self._addresses = None
        self._gone += 1
        if self._gone > 1000 + len(self._packed):
            self._forget_names()

    def board(self, surge: Surge | None = None, steady: float = 0.0) -> Board:
        """A picture of the present rows; `steady` is the steady clock that `surge` goes by."""
        self._write_new()
        self._lent.update(COLUMNS)
        columns = {name: column[: len(self._packed)] for name, column in self._columns.items()}
        if self._addresses is None:
            self._addresses = Addresses(columns["outside"], columns["inside"])
        draining = {
            endpoint: self._rows[squid_id]
            for squid_id in self._draining
            for endpoint in self._packed[self._rows[squid_id]].squid.endpoints
        }
        lately = self._surging(columns, surge, steady) if surge else None
        return Board(self.roster, columns, self._codes, draining, self._addresses, self._rank_by, lately)

    def _surging(self, columns: Columns, surge: Surge, steady: float) -> Mapping[int, float]:
        domain, serves = columns["domain"], serving(columns)
        load, capacity = (
            np.bincount(domain, columns[name] * serves).astype(np.float64) for name in ("load", "weight")
        )
        return surge.parts(self._codes.domain_seeds, load, capacity, steady)

    def _renew(self, row: int, listed: Listed, packed: Packed) -> None:
        """Loads and times alone: a fraction of `_put`."""
        self._write_new()
        self._packed[row] = packed
        self._writable(self._passing)
        self._columns["load"][row] = _load(listed.squid)
        self._columns["takes"][row] = listed.squid.takes
        self._columns["known_long"][row] = listed.squid.age > WINDOW
        self._columns["weight"][row] = weight(listed.squid)
        if self._rank_by is RankBy.CLASSIC:
            self._columns["own"][row] = self._own_km(listed, verify=self._verify)

    def _put(self, squid_id: str, row: int | None, listed: Listed, packed: Packed) -> None:
        values = self._row(squid_id, listed, packed)
        if row is None:
            self._rows[squid_id] = len(self._packed)
            self._packed.append(packed)
            self._new.append(values)
            if len(self._new) == MOST_NEW:
                self._write_new()
        else:
            self._write_new()
            self._writable(COLUMNS)
            self._packed[row] = packed
            for column, value in zip(self._columns.values(), values, strict=True):
                column[row] = value
        (self._draining.add if listed.squid.draining else self._draining.discard)(squid_id)
        self._addresses = None

    def _write_new(self) -> None:
        if not self._new:
            return
        self._writable(COLUMNS)
        end = len(self._packed)
        while end > len(self._columns["own"]):
            self._columns = {name: _longer(column) for name, column in self._columns.items()}
        for column, values in zip(self._columns.values(), zip(*self._new, strict=True), strict=True):
            column[end - len(values) : end] = np.array(values, column.dtype)
        self._new.clear()

    def _writable(self, names: Iterable[str]) -> None:
        if self._lent.isdisjoint(names):
            return
        for name in self._lent.intersection(names):
            self._columns[name] = self._columns[name].copy()
        self._lent.difference_update(names)

    def _forget_names(self) -> None:
        """Begin anew, without the names of squids that are long gone."""
        present = self._packed
        self._clear()
        for one in present:
            self.put(one.listed)

    def _row(self, squid_id: str, listed: Listed, packed: Packed) -> tuple[Any, ...]:
        """A value for each column."""
        squid, where = listed.squid, self._where(listed.place, listed.owner)
        flags, would = self._kind(squid, packed)
        return (
            *where.at,
            where.placed,
            where.metered,
            self._own_km(listed, verify=self._verify),
            _load(squid),
            squid.takes,
            squid.age > WINDOW,
            flags,
            would,
            weight(squid),
            seed(squid_id),
            where.networks,
            self._domain(failure_domain(listed)),
            *where.codes,
            code(squid.public_address),
            code(squid.beat.private_ip),
        )

    def _where(self, place: Place | None, owner: Owner) -> "_Where":
        """Worked out once for all squids there: their place and owner are mostly the same two objects."""
        key = id(place), id(owner)
        where = self._wheres.get(key)
        if where is None:
            if len(self._wheres) >= MOST_WHERES:
                self._wheres.clear()
            where = self._wheres[key] = _Where.of(place, owner, self._codes)
        return where

    def _domain(self, domain: Hashable) -> int:
        codes = self._codes
        number = number_of(codes.domains, domain)
        if number not in codes.domain_seeds:
            codes.domain_seeds[number] = seed(repr(domain))
        return number

    def _kind(self, squid: Squid, packed: Packed) -> tuple[int, int]:
        """The flags, and the services that it would be told for if it did not drain, worked out once for all
        squids that say the same of themselves.
        """
        key = packed.kind, squid.public_address is None, squid.beat.private_ip is None, squid.private_only
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            would = sum(
                SERVES[service]
                for service in Upstream
                if objection(squid, service, verify=self._verify) is None
            )
            kind = self._kinds[key] = self._flags(squid) | (0 if squid.draining else would), would
        return kind

    def _flags(self, squid: Squid) -> int:
        reach = squid.verification.reach
        flags = TYPES[squid.beat.cache_type]
        flags |= IPV4 if squid.public_address else 0
        flags |= INSIDE_IPV4 if squid.beat.private_ip else 0
        flags |= PRIVATE_ONLY if squid.private_only else 0
        flags |= LOCAL if self._verify and reach is Reach.LOCAL else 0
        flags |= REACHED if reach is Reach.GLOBAL else 0
        return flags


@dataclass(frozen=True, slots=True)
class _Where:
    """What the rows of all squids of one place and owner have in common; both are kept, so that their
    identities are not given to others.
    """

    place: Place | None
    owner: Owner
    at: tuple[float, float, float]
    placed: bool
    metered: bool
    networks: int
    codes: tuple[int, ...]

    @classmethod
    def of(cls, place: Place | None, owner: Owner, codes: Codes) -> "_Where":
        return cls(
            place,
            owner,
            unit_vector(place) if place else (0.0, 0.0, 0.0),
            place is not None,
            owner.metered,
            bits(codes.networks, owner.networks),
            (
                number_of(codes.sites, place.site if place else None),
                number_of(codes.asns, owner.asn),
                number_of(codes.organisations, owner.organisation),
                number_of(codes.names, owner.domain),
                number_of(codes.regions, owner.region),
            ),
        )


def _longer(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    longer = np.zeros(2 * len(column), column.dtype)  # what is not used yet takes no memory
    longer[: len(column)] = column
    return longer
