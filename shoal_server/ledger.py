"""The squids as rows that change one at a time; a `Board` is a picture of them."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shoal_common.heartbeat import Upstream
from shoal_server import classic
from shoal_server.addresses import Addresses, code
from shoal_server.board import Board
from shoal_server.bunches import Bunches
from shoal_server.classic import RankBy
from shoal_server.columns import (
    COLUMNS,
    INSIDE_IPV4,
    IPV4,
    LASTING,
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
from shoal_server.packed import Kept, Packed, Roster
from shoal_server.passing import passing
from shoal_server.ranking import doubt_km, failure_domain, objection, tier_km, unit_vector
from shoal_server.rendezvous import seed
from shoal_server.squid import Listed, Owner, Place, Reach, Squid, public_address
from shoal_server.surge import Surge
from shoal_server.whereabouts import Whereabouts

if TYPE_CHECKING:
    from shoal_server.plans import Plans

MOST_WHERES = 65_536
MOST_KINDS = 4096
MOST_NEW = 1024


class Ledger:
    """The squids as rows that change one at a time. With `verify` off, checks count for nothing.

    A board is lent the columns as they are; one that changes after that is copied first, so that what does
    not change is there once. What passes is written when a board is made: few look at what every heartbeat
    changes.
    """

    def __init__(self, *, verify: bool, rank_by: RankBy = RankBy.DISTANCE) -> None:
        self._verify = verify
        self._rank_by = rank_by
        self._clear()

    def _clear(self) -> None:
        self._rows = Whereabouts()
        self._packed: list[Packed] = []
        self._new: list[tuple[Any, ...]] = []
        """The last rows, which are not in the columns yet: many are written at once, a column each."""
        self._due: set[int] = set()
        """The rows of which the columns do not have yet what passes."""
        self._columns = {name: np.zeros(64, ROW[name]) for name in COLUMNS}
        self._lent: set[str] = set()
        self._codes = Codes()
        self._wheres: dict[tuple[int, int], _Where] = {}
        self._kinds: dict[Hashable, _Kind] = {}
        self._draining: set[str] = set()
        self._plans: Plans | None = None
        self._addresses: Addresses | None = None
        self._bunches: Bunches | None = None
        self._gone = 0

    @property
    def roster(self) -> Roster:
        """The squids as they are now, in the order of the rows."""
        return Roster(tuple(self._packed))

    def __contains__(self, squid_id: str) -> bool:
        return self._rows.get(squid_id) is not None

    def row(self, squid_id: str) -> int | None:
        """Where a squid is until one is removed."""
        return self._rows.get(squid_id)

    def at(self, row: int) -> Packed:
        """The squid of a row as it was put last."""
        return self._packed[row]

    def put(self, listed: Listed) -> None:
        """A squid as it is now."""
        self.take(listed.squid, Packed.of(listed.squid, listed.place, listed.owner))

    def take(self, squid: Kept, packed: Packed) -> bool:
        """A squid as it is now, as both; returns whether more than its load and times has changed."""
        squid_id = squid.id
        row = self.row(squid_id)
        if row is not None and packed.stands_as(self._packed[row]):
            self.renew(row, packed)
            return False
        self._put(squid_id, row, squid, packed)
        return True

    def renew(self, row: int, packed: Packed) -> None:
        """Loads and times alone of the squid in a row have changed."""
        self._packed[row] = packed
        self._due.add(row)

    def remove(self, squid_id: str) -> None:
        """A squid that is gone; the last row takes its place."""
        row = self._rows.pop(squid_id)
        if row is None:
            return
        self._write_new()
        self._draining.discard(squid_id)
        last = self._packed.pop()
        self._due.discard(len(self._packed))
        if row < len(self._packed):
            self._due.add(row)
            self._packed[row] = last
            self._rows.put(last.squid.id, row)
            self._writable(COLUMNS)
            for column in self._columns.values():
                column[row] = column[len(self._packed)]
        self._addresses = self._bunches = None
        self._gone += 1
        if self._gone > 1000 + len(self._packed):
            self._forget_names()

    def board(self, surge: Surge | None = None, steady: float = 0.0) -> Board:
        """A picture of the present rows; `steady` is the steady clock that `surge` goes by."""
        self._write_new()
        self._write_passing()
        self._lent.update(COLUMNS)
        columns = {name: column[: len(self._packed)] for name, column in self._columns.items()}
        if self._addresses is None:
            self._addresses = Addresses(columns["outside"], columns["inside"])
        if self._bunches is None:
            bunched = Bunches.of if self._rank_by is RankBy.DISTANCE else Bunches.each
            self._bunches = bunched(columns, self._codes, self._rank_by)
        draining = {
            endpoint: row
            for row in map(self._rows.get, self._draining)
            if row is not None
            for endpoint in self._packed[row].squid.endpoints
        }
        lately = self._surging(columns, surge, steady) if surge else None
        board = Board(
            self.roster,
            columns,
            self._codes,
            draining,
            self._addresses,
            self._bunches,
            lately,
            self._plans,
        )
        self._plans = board.plans
        return board

    def _surging(self, columns: Columns, surge: Surge, steady: float) -> Mapping[int, float]:
        domain, serves = columns["domain"], serving(columns)
        load, capacity = (
            np.bincount(domain, columns[name] * serves).astype(np.float64) for name in ("load", "weight")
        )
        return surge.parts(self._codes.domain_seeds, load, capacity, steady)

    def _put(self, squid_id: str, row: int | None, squid: Kept, packed: Packed) -> None:
        kind = self._kind(squid, packed)
        values = self._row(squid_id, squid, packed, kind)
        if row is None:
            row = len(self._packed)
            self._rows.put(squid_id, row)
            self._packed.append(packed)
            self._new.append(values)
            if len(self._new) == MOST_NEW:
                self._write_new()
        else:
            self._write_new()
            self._writable(LASTING)
            self._packed[row] = packed
            for name, value in zip(LASTING, values, strict=True):
                self._columns[name][row] = value
        self._due.add(row)
        (self._draining.add if kind.draining else self._draining.discard)(squid_id)
        self._addresses = self._bunches = None

    def _write_new(self) -> None:
        if not self._new:
            return
        self._writable(COLUMNS)
        end = len(self._packed)
        while end > len(self._columns["own"]):
            self._columns = {name: _longer(column) for name, column in self._columns.items()}
        for name, values in zip(LASTING, zip(*self._new, strict=True), strict=True):
            column = self._columns[name]
            column[end - len(values) : end] = np.array(values, column.dtype)
        self._new.clear()

    def _write_passing(self) -> None:
        """A part at a time: arrays for all at once would stay with the process as free memory."""
        due = list(self._due)
        self._due.clear()
        for start in range(0, len(due), MOST_NEW):
            rows = due[start : start + MOST_NEW]
            changed = [self._packed[row] for row in rows]
            written = dict(passing(changed))
            if self._rank_by is RankBy.CLASSIC:
                self._bunches = None
                written["own"] = np.array(
                    [classic.own_km(one.listed, verify=self._verify) for one in changed]
                )
            self._writable(written)
            for name, values in written.items():
                self._columns[name][rows] = values

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

    def _row(self, squid_id: str, squid: Kept, packed: Packed, kind: "_Kind") -> tuple[Any, ...]:
        """A value for each column of LASTING."""
        place, owner = packed.place, packed.owner
        where = self._where(place, owner)
        return (
            *where.at,
            where.placed,
            where.metered,
            kind.doubt_km + where.tier_km,
            kind.flags,
            kind.would,
            seed(squid_id),
            where.networks,
            self._domain(failure_domain(place, owner, squid_id)),
            *where.codes,
            code(public_address(squid.beat)),
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

    def _kind(self, squid: Kept, packed: Packed) -> "_Kind":
        """Worked out once for all squids that say the same of themselves."""
        beat = squid.beat
        key = packed.kind, public_address(beat) is None, beat.private_ip is None, beat.ipv6 is None
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            kind = self._kinds[key] = _Kind.of(packed.squid, verify=self._verify)
        return kind


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the rows of all squids have in common that say the same of themselves; `would` are the services
    that they would be told for if they did not drain.
    """

    flags: int
    would: int
    doubt_km: float
    draining: bool

    @classmethod
    def of(cls, squid: Squid, *, verify: bool) -> "_Kind":
        would = sum(
            SERVES[service] for service in Upstream if objection(squid, service, verify=verify) is None
        )
        flags = _flags(squid, verify=verify) | (0 if squid.draining else would)
        return cls(flags, would, doubt_km(squid, verify=verify), squid.draining)


def _flags(squid: Squid, *, verify: bool) -> int:
    reach = squid.verification.reach
    flags = TYPES[squid.beat.cache_type]
    flags |= IPV4 if squid.public_address else 0
    flags |= INSIDE_IPV4 if squid.beat.private_ip else 0
    flags |= PRIVATE_ONLY if squid.private_only else 0
    flags |= LOCAL if verify and reach is Reach.LOCAL else 0
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
    tier_km: float
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
            tier_km(place),
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
