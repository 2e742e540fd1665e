"""The terms of `ranking.py`, and who may be told of what, for many squids at once: a number for each row."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from shoal_server import classic
from shoal_server.addresses import code
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
)
from shoal_server.plan import Rows
from shoal_server.ranking import (
    ASSUMED_KM,
    EARTH_RADIUS_KM,
    METERED_KM,
    NETWORK_KM,
    Relation,
    is_local,
    unit_vector,
)
from shoal_server.seat import Seat, Wanted
from shoal_server.squid import Place

MOST_WANTED = 32
_UNKNOWN_KM = np.float32(ASSUMED_KM[Relation.OTHER])
Floats32 = npt.NDArray[np.float32]
Ties = Sequence[tuple[Relation, Rows]]
"""The rows that belong to a seat's requesters more closely, the closest last."""


class Terms:
    """What the rows of some columns cost. What is the same for all seats is worked out once."""

    def __init__(self, columns: Columns, codes: Codes, rank_by: RankBy) -> None:
        self.columns = columns
        self._codes = codes
        self.rank_by = rank_by
        self._network_km = NETWORK_KM if rank_by is RankBy.DISTANCE else classic.NETWORK_KM
        self._vectors: Floats32 = np.stack([columns[axis] for axis in "xyz"])
        self._unplaced = np.flatnonzero(~columns["placed"])
        self._any_metered = bool(columns["metered"].any())
        self._barriers: dict[Wanted, Floats32] = {}

    def effective(self, seat: Seat, wanted: Wanted, also: Sequence[int] = ()) -> Floats32:
        """The effective distance from a seat (km), infinite where it may not be told.

        `also` are rows that may be told though they are draining.
        """
        ties = list(self.ties(seat))
        km = self._effective(seat, ties)
        if ties or also:
            km[~self.allowed(ties, wanted, also)] = np.inf
        else:
            km += self._barrier(wanted)
        return km

    def km(self, place: Place | None) -> Floats32:
        """Great-circle distance by the chord, which is exact for near places in single precision too."""
        if place is None:
            return np.full(self._vectors.shape[1], _UNKNOWN_KM)
        apart = self._vectors - np.array(unit_vector(place), np.float32)[:, np.newaxis]
        apart *= apart
        chord: Floats32 = apart[0]
        chord += apart[1]
        chord += apart[2]
        np.sqrt(chord, out=chord)
        chord *= np.float32(0.5)
        np.minimum(chord, np.float32(1), out=chord)
        np.arcsin(chord, out=chord)
        chord *= np.float32(2 * EARTH_RADIUS_KM)
        chord[self._unplaced] = _UNKNOWN_KM
        return chord

    def ties(self, seat: Seat) -> Iterator[tuple[Relation, Rows]]:
        """See `Ties`."""
        columns, codes, owner = self.columns, self._codes, seat.owner
        shared = sum(
            1 << codes.networks[name]
            for name in owner.networks
            if codes.networks.get(name, MOST_NETWORKS) < MOST_NETWORKS
        )
        if shared:
            yield Relation.NETWORK, np.flatnonzero((columns["networks"] & np.uint64(shared)) != 0)
        if region := codes.regions.get(owner.region):
            yield Relation.REGION, np.flatnonzero(columns["region"] == region)
        for column, number in (
            ("asn", codes.asns.get(owner.asn)),
            ("organisation", codes.organisations.get(owner.organisation)),
            ("name", codes.names.get(owner.domain)),
        ):
            if number:
                yield Relation.ORGANISATION, np.flatnonzero(columns[column] == number)
        if seat.inside:
            reached = np.uint16(REACHED | PRIVATE_ONLY)
            yield Relation.LAN, np.flatnonzero((columns["flags"] & reached) == reached)
        site = codes.sites.get(seat.place.site) if seat.place else None
        if site:
            yield Relation.SITE, np.flatnonzero(columns["site"] == site)
        if seat.address:
            own = code(seat.address)
            yield Relation.LAN, np.flatnonzero(columns["outside"] == own)
            if not seat.place:
                yield Relation.LAN, np.flatnonzero((columns["inside"] == own) & ~columns["placed"])

    def metered(self, seat: Seat) -> Flags | None:
        """Which rows it costs money to use from a seat; None where there can be none."""
        return self._metered(list(self.ties(seat))) if self._any_metered else None

    def open(self, ties: Ties) -> Flags:
        """Which rows are no secret."""
        flags = self.columns["flags"]
        opened: Flags = (flags & np.uint16(PRIVATE_ONLY | LOCAL)) == 0
        for tie, rows in ties:
            if tie is Relation.ORGANISATION:
                opened[rows] |= (flags[rows] & np.uint16(PRIVATE_ONLY)) == 0
            elif is_local(tie):
                opened[rows] = True
        return opened

    def allowed(self, ties: Ties, wanted: Wanted, also: Sequence[int] = ()) -> Flags:
        """Which rows may be told."""
        flags = self.columns["flags"]
        allowed: Flags = (flags & np.uint16(SERVES[wanted.service])) != 0
        if also:
            allowed[list(also)] = True
        allowed &= (flags & np.uint16(sum(TYPES[kind] for kind in wanted.types))) != 0
        allowed &= self.open(ties)
        if wanted.ipv4:
            usable = (flags & np.uint16(IPV4)) != 0
            for tie, rows in ties:
                if is_local(tie):
                    usable[rows] |= (flags[rows] & np.uint16(INSIDE_IPV4)) != 0
            allowed &= usable
        return allowed

    def _barrier(self, wanted: Wanted) -> Floats32:
        """Nothing for what everybody may be told of, else an infinite distance."""
        barrier = self._barriers.get(wanted)
        if barrier is None:
            if len(self._barriers) >= MOST_WANTED:
                self._barriers.clear()
            barrier = self._barriers[wanted] = np.where(self.allowed((), wanted), 0, np.inf).astype(
                np.float32
            )
        return barrier

    def _effective(self, seat: Seat, ties: Ties) -> Floats32:
        columns, network_km = self.columns, self._network_km
        km, own = self.km(seat.place), columns["own"]
        effective: Floats32 = km + own
        effective += np.float32(network_km[Relation.OTHER])
        for tie, rows in ties:
            known = columns["placed"][rows] & (seat.place is not None)
            distance = np.where(known, km[rows], np.float32(ASSUMED_KM[tie]))
            effective[rows] = distance + own[rows] + np.float32(network_km[tie])
        if self._any_metered:
            effective[self._metered(ties)] += np.float32(METERED_KM)
        return effective

    def _metered(self, ties: Ties) -> Flags:
        metered: Flags = self.columns["metered"].copy()
        for tie, rows in ties:
            if tie is not Relation.ORGANISATION:
                metered[rows] = False
        return metered
