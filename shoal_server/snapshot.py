"""An immutable picture of all listed squids: what lookups and pages read, so that they never wait.

The keeper makes a new picture when the store has changed. When the store is away it keeps the last
one and says since when: old knowledge of squids is worth more to a worker than none. When the store
comes back without its contents, the picture is what they are restored from.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shoal_common.errors import Unavailable
from shoal_server.absent import Absent
from shoal_server.balance import Peers
from shoal_server.board import Board
from shoal_server.classic import RankBy
from shoal_server.georecords import shared_owner
from shoal_server.ledger import Ledger
from shoal_server.packed import Kept, Packed, Roster
from shoal_server.ranking import great_circle_km
from shoal_server.registry import Changes, Mark, Registry
from shoal_server.squid import Owner, Place, public_address
from shoal_server.surge import Surge

REFRESH_SECONDS = 0.2
BOARD_SECONDS = 5.0
NAME_SECONDS = 60.0
MEANWHILE_SECONDS = 10.0
"""What was heard so shortly before our last look at the store may have been stored after it."""
FAR_KM = 500.0
"""Databases place most addresses nearer than that to where they are."""

log = logging.getLogger(__name__)


class Locator(Protocol):
    """Knows where addresses are."""

    @property
    def generation(self) -> int:
        """A number that changes when the answers may have changed."""

    def find(self, address: str, host: str | None = None) -> tuple[Place | None, Owner]:
        """The place of an address (or host name), if known, and whose network it is in, as far as known now.

        Reads memory or a mapped file, never the network.
        """


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All squids at the moment `made` (seconds since 1970).

    `board` is the same for lookups, row by row: as new in who is there and who may be told, up to
    `BOARD_SECONDS` older in loads and times, so that what is worked out on it lasts.
    """

    listed: Roster
    made: float
    board: Board


class SnapshotKeeper:
    """Holds the present snapshot; `run` keeps it fresh. `verify`: squids are checked before they are told.

    `steady` is a clock that nobody sets (s), by which newcomers among those who ask are counted (`surge`).
    """

    def __init__(
        self,
        registry: Registry,
        locator: Locator,
        *,
        verify: bool = True,
        rank_by: RankBy = RankBy.DISTANCE,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._steady = steady
        self._surge = Surge(steady())
        self._locator = locator
        self._mark: Mark | None = None
        self._generation = -1
        self._verify = verify
        self._rank_by = rank_by
        self._ledger = Ledger(verify=verify, rank_by=rank_by)
        self.current = Snapshot(Roster(), 0.0, self._ledger.board())
        self._board_due = 0.0
        self.absent = Absent()
        self.stale_since: float | None = None
        self.followed = 0.0
        """When the picture was last held against the store (seconds since 1970)."""
        self._first_listed: float | None = None
        self._complete = False

    def note(self, address: str, nearest: int, told: int) -> None:
        """Somebody asks: the failure domain nearest to him, and the one that he is told first, by their seeds
        (`Board.domain_seed`)."""
        self._surge.note(address, nearest, told, self._steady())

    @property
    def fills(self) -> bool:
        """Whether the list began so lately that squids which are there may not have announced themselves yet:
        after a start without anything that was known before."""
        return bool(self.current.listed) and not self._complete

    def lists(self, squid_id: str) -> bool:
        """Whether there is a squid of this id."""
        return squid_id in self._ledger

    def peers(self, squid_id: str) -> Peers | None:
        """The squids of a squid's failure domain, as the present board has them."""
        board, row = self.current.board, self._ledger.row(squid_id)
        if row is None or row >= len(board.listed) or board.listed[row].squid.id != squid_id:
            return None  # it is on no board yet, or has just changed its row
        return board.peers(row)

    def now(self) -> float:
        """The time by the store's clock (seconds since 1970)."""
        return self._registry.store.now()

    def refresh(self, now: float) -> None:
        """Take a new picture if the store has changed; if the store is away, note since when."""
        try:
            self._follow(now)
        except Unavailable as error:
            if self.stale_since is None:
                log.warning("answering from the snapshot of %d squids: %s", len(self.current.listed), error)
                self.stale_since = now
        else:
            if self.stale_since is not None:
                log.warning("the store is back after %.0f s", now - self.stale_since)
            self.stale_since = None
            self.followed = now
            if not self._complete and self.current.listed:
                self._complete = self._has_lasted(now)

    def run(self, stop: threading.Event) -> None:
        """Refresh until told to stop."""
        while not stop.is_set():
            self.refresh(self.now())
            stop.wait(REFRESH_SECONDS)

    def _follow(self, now: float) -> None:
        changes = self._registry.store.changes(self._mark)
        if self._mark and _lost(self._mark, changes.mark):
            old = self._gone_since(changes)
            self._registry.restore([listed.squid for listed in self.current.listed])
            if old:
                self._registry.drop(old, self.followed - MEANWHILE_SECONDS, now)
            life, changes = changes.mark.life, self._registry.store.changes(None)
            if changes.mark.life != life:
                raise Unavailable("the store was emptied again while it was filled")
        generation = self._locator.generation
        changed = changes.whole or changes.squids or changes.gone or generation != self._generation
        if changed:
            moved = self._take(changes, anew=generation != self._generation)
            self._publish(now, moved=moved)
        self._mark, self._generation = changes.mark, generation

    def _gone_since(self, changes: Changes) -> Sequence[str]:
        """Of what a store says that went back to an earlier state: who had gone by our last look."""
        if not self._mark or changes.mark.life != self._mark.life:
            return ()
        since = self.followed - MEANWHILE_SECONDS
        return [one.id for one in changes.squids if one.seen < since and one.id not in self._ledger]

    def _has_lasted(self, now: float) -> bool:
        """Whether any squid has been known, or this list been there, for as long as all take to be heard."""
        lasting, steady = self._registry.rules.suspect_after, self._steady()
        if self._first_listed is None:
            self._first_listed = steady
        known = any(now - one.created > lasting for one in self.current.listed.packed)
        return known or steady - self._first_listed > lasting

    def _take(self, changes: Changes, *, anew: bool) -> bool:
        """Note the changes; returns whether more than loads and times changed.

        `anew`: places and owners may be others than before.
        """
        if changes.whole:
            self._take_all(changes.squids, anew=anew)
            return True
        moved = anew
        for squid_id in changes.gone:
            if (row := self._ledger.row(squid_id)) is not None:
                moved = True
                self.absent.add(self._ledger.at(row).squid, self._steady())
            self._ledger.remove(squid_id)
        for squid in changes.squids:
            moved = self._note(squid) or moved
        self.absent.forget(self.lists, self._steady())
        for known in self._ledger.roster if anew else ():
            self._ledger.take(known.squid, self._located(known.squid))
        return moved

    def _note(self, squid: Kept) -> bool:
        """Returns whether more than its loads and times changed."""
        row = self._ledger.row(squid.id)
        if row is not None and (packed := _still(squid, self._ledger.at(row))):
            self._ledger.renew(row, packed)
            return False
        return self._ledger.take(squid, self._located(squid))

    def _take_all(self, squids: Iterable[Kept], *, anew: bool) -> None:
        """Begin a new ledger; until it is whole, and if the store fails on the way, the old one counts."""
        ledger = Ledger(verify=self._verify, rank_by=self._rank_by)
        for squid in squids:
            row = None if anew else self._ledger.row(squid.id)
            packed = None if row is None else _still(squid, self._ledger.at(row))
            ledger.take(squid, packed or self._located(squid))
        self._ledger = ledger

    def _publish(self, now: float, *, moved: bool) -> None:
        board = self.current.board
        if moved or not self.current.made <= now < self._board_due:
            board, self._board_due = self._ledger.board(self._surge, self._steady()), now + BOARD_SECONDS
            self.current = Snapshot(board.listed, now, board)
        else:
            self.current = Snapshot(self._ledger.roster, now, board)

    def _located(self, squid: Kept) -> Packed:
        """The operator may have placed any of its addresses, and his word counts; of what databases say, that
        of the outer address. A private address means something on many sites: it counts where the outer one
        is not known to be far from there.
        """
        beat = squid.beat
        outer = [self._find(squid, address) for address in (public_address(beat), beat.ipv6) if address]
        inner = [self._find(squid, beat.private_ip)] if beat.private_ip else []
        known = [(place, owner) for place, owner in outer if place]
        known += [(place, owner) for place, owner in inner if place and not _is_far(place, known)]
        whose = (outer or inner)[0][1]
        if not known:
            return Packed.of(squid, None, whose)
        place, owner = next((one for one in known if one[0].site), known[0])
        return Packed.of(squid, place, _joined(whose, owner))

    def _find(self, squid: Kept, address: str) -> tuple[Place | None, Owner]:
        return self._locator.find(address, squid.beat.hostname)


def _lost(before: Mark, after: Mark) -> bool:
    """Whether the store has forgotten: restarted empty, or a replica that lagged behind took over."""
    return after.life != before.life or after.count < before.count


def _is_far(place: Place, known: Sequence[tuple[Place, Owner]]) -> bool:
    """Whether the first of what is known of the outer addresses is another part of the world."""
    return bool(known) and great_circle_km(known[0][0], place) > FAR_KM


def _joined(outer: Owner, placed: Owner) -> Owner:
    """The owner of the outer address, in the region and networks of the one by which a squid was placed."""
    if placed is outer or not (placed.region or placed.networks - outer.networks):
        return outer
    both = outer.completed(placed)
    return shared_owner(
        both.asn, both.organisation, both.domain, placed.region or both.region, both.networks, both.metered
    )


def _still(squid: Kept, before: Packed) -> Packed | None:
    """The squid where it was: not to be located again while its addresses and names are the same."""
    packed = Packed.of(squid, before.place, before.owner)
    return packed if packed.lasts(before) and not _name_is_due(squid, before) else None


def _name_is_due(squid: Kept, before: Packed) -> bool:
    """The name of an owner may be found out later: where there is none, it is asked for now and then."""
    return before.owner.domain is None and before.seen // NAME_SECONDS != squid.seen // NAME_SECONDS
