"""An immutable picture of all listed squids: what lookups and pages read, so that they never wait.

The keeper makes a new picture when the store has changed. When the store is away it keeps the last
one and says since when: old knowledge of squids is worth more to a worker than none. When the store
comes back without its contents, the picture is what they are restored from.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from shoal_common.errors import Unavailable
from shoal_server.board import Board
from shoal_server.classic import RankBy
from shoal_server.ledger import Ledger
from shoal_server.packed import Packed, Roster
from shoal_server.registry import Changes, Mark, Registry
from shoal_server.squid import Owner, Place, Squid
from shoal_server.surge import Surge

REFRESH_SECONDS = 0.2
BOARD_SECONDS = 5.0
NAME_SECONDS = 60.0

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
        self.stale_since: float | None = None
        self.followed = 0.0
        """When the picture was last held against the store (seconds since 1970)."""

    def note(self, address: str, nearest: int, told: int) -> None:
        """Somebody asks: the failure domain nearest to him, and the one that he is told first, by their seeds
        (`Board.domain_seed`)."""
        self._surge.note(address, nearest, told, self._steady())

    def lists(self, squid_id: str) -> bool:
        """Whether there is a squid of this id."""
        return squid_id in self._ledger

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

    def run(self, stop: threading.Event) -> None:
        """Refresh until told to stop."""
        while not stop.is_set():
            self.refresh(self.now())
            stop.wait(REFRESH_SECONDS)

    def _follow(self, now: float) -> None:
        changes = self._registry.store.changes(self._mark)
        if self._mark and _lost(self._mark, changes.mark):
            self._registry.restore([listed.squid for listed in self.current.listed])
            changes = self._registry.store.changes(None)
        generation = self._locator.generation
        changed = changes.whole or changes.squids or changes.gone or generation != self._generation
        if changed:
            moved = self._take(changes, anew=generation != self._generation)
            self._publish(now, moved=moved)
        self._mark, self._generation = changes.mark, generation

    def _take(self, changes: Changes, *, anew: bool) -> bool:
        """Note the changes; returns whether more than loads and times changed.

        `anew`: places and owners may be others than before.
        """
        if changes.whole:
            self._take_all(changes.squids, anew=anew)
            return True
        moved = anew
        for squid_id in changes.gone:
            moved = moved or squid_id in self._ledger
            self._ledger.remove(squid_id)
        for squid in changes.squids:
            packed = self._packed(squid, self._ledger.get(squid.id))
            moved = self._ledger.take(squid, packed) or moved
        for known in self._ledger.roster if anew else ():
            self._ledger.take(known.squid, self._packed(known.squid, None))
        return moved

    def _take_all(self, squids: Iterable[Squid], *, anew: bool) -> None:
        """Begin a new ledger; until it is whole, and if the store fails on the way, the old one counts."""
        ledger, before = Ledger(verify=self._verify, rank_by=self._rank_by), self._ledger
        for squid in squids:
            ledger.take(squid, self._packed(squid, None if anew else before.get(squid.id)))
        self._ledger = ledger

    def _publish(self, now: float, *, moved: bool) -> None:
        board = self.current.board
        if moved or not self.current.made <= now < self._board_due:
            board, self._board_due = self._ledger.board(self._surge, self._steady()), now + BOARD_SECONDS
            self.current = Snapshot(board.listed, now, board)
        else:
            self.current = Snapshot(self._ledger.roster, now, board)

    def _packed(self, squid: Squid, before: Packed | None) -> Packed:
        """A squid, located if need be: not while its addresses and names are the same as before."""
        if before is None:
            return Packed.of(squid, *self._find(squid))
        packed = Packed.of(squid, before.place, before.owner)
        still = packed.lasts(before) and not _name_is_due(squid, before)
        return packed if still else packed.at(*self._find(squid))

    def _find(self, squid: Squid) -> tuple[Place | None, Owner]:
        """The operator may have placed either address; the outer one is the better key to a database."""
        addresses = (squid.public_address, squid.beat.ipv6, squid.beat.private_ip)
        found = [self._locator.find(address, squid.beat.hostname) for address in addresses if address]
        return next((place for place, _ in found if place), None), found[0][1]


def _lost(before: Mark, after: Mark) -> bool:
    """Whether the store has forgotten: restarted empty, or a replica that lagged behind took over."""
    return after.life != before.life or after.count < before.count


def _name_is_due(squid: Squid, before: Packed) -> bool:
    """The name of an owner may be found out later: where there is none, it is asked for now and then."""
    return before.owner.domain is None and before.times.seen // NAME_SECONDS != squid.seen // NAME_SECONDS
