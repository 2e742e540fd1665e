"""An immutable picture of all listed squids: what lookups and pages read, so that they never wait.

The keeper makes a new picture when the store has changed. When the store is away it keeps the last
one and says since when: old knowledge of squids is worth more to a worker than none. When the store
comes back without its contents, the picture is what they are restored from.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Protocol

from shoal_common.errors import Unavailable
from shoal_server.board import Board, Ledger
from shoal_server.registry import Changes, Mark, Registry
from shoal_server.squid import Listed, Owner, Place, Squid

REFRESH_SECONDS = 0.2
BOARD_SECONDS = 5.0

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

    `board` is the same for lookups: as new in who is there and who may be told, up to `BOARD_SECONDS` older
    in loads and times, so that what is worked out on it lasts.
    """

    listed: tuple[Listed, ...]
    made: float
    board: Board


class SnapshotKeeper:
    """Holds the present snapshot; `run` keeps it fresh. `verify`: squids are checked before they are told."""

    def __init__(self, registry: Registry, locator: Locator, *, verify: bool = True) -> None:
        self._registry = registry
        self._locator = locator
        self._mark: Mark | None = None
        self._generation = -1
        self._known: dict[str, Listed] = {}
        self._ledger = Ledger(verify=verify)
        self.current = Snapshot((), 0.0, self._ledger.board())
        self._board_due = 0.0
        self.stale_since: float | None = None
        self.followed = 0.0
        """When the picture was last held against the store (seconds since 1970)."""

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
        present = {squid.id for squid in changes.squids}
        gone = self._known.keys() - present if changes.whole else self._known.keys() & set(changes.gone)
        moved = anew or bool(gone)
        for squid_id in list(gone):
            del self._known[squid_id]
            self._ledger.remove(squid_id)
        squids = {squid.id: squid for squid in changes.squids}
        if anew:
            squids = {key: known.squid for key, known in self._known.items()} | squids
        for squid_id, squid in squids.items():
            before = self._known.get(squid_id)
            listed = self._listed(squid, None if anew else before)
            self._known[squid_id] = listed
            if before and not anew and _standing(before) == _standing(listed):
                self._ledger.renew(listed)
            else:
                self._ledger.put(listed)
                moved = True
        return moved

    def _publish(self, now: float, *, moved: bool) -> None:
        board = self.current.board
        if moved or not self.current.made <= now < self._board_due:
            board, self._board_due = self._ledger.board(), now + BOARD_SECONDS
        self.current = Snapshot(tuple(self._known.values()), now, board)

    def _listed(self, squid: Squid, before: Listed | None) -> Listed:
        if before and before.owner.domain and _goes_by(before.squid) == _goes_by(squid):
            return Listed(squid, before.place, before.owner)
        return Listed(squid, *self._find(squid))  # the owner's name may be found out later

    def _find(self, squid: Squid) -> tuple[Place | None, Owner]:
        """The operator may have placed either address; the outer one is the better key to a database."""
        addresses = (squid.public_address, squid.beat.ipv6, squid.beat.private_ip)
        found = [self._locator.find(address, squid.beat.hostname) for address in addresses if address]
        return next((place for place, _ in found if place), None), found[0][1]


def _lost(before: Mark, after: Mark) -> bool:
    """Whether the store has forgotten: restarted empty, or a replica that lagged behind took over."""
    return after.life != before.life or after.count < before.count


def _goes_by(squid: Squid) -> tuple[str | None, ...]:
    return squid.public_address, squid.beat.private_ip, squid.beat.ipv6, squid.beat.hostname


def _standing(listed: Listed) -> object:
    """All that decides who may be told of a squid; the rest are loads and times."""
    squid, beat = listed.squid, listed.squid.beat
    check = squid.verification
    return (
        listed.place,
        listed.owner,
        _goes_by(squid),
        (beat.port, beat.hostname, beat.cache_type, beat.upstream, beat.max_load, squid.draining),
        (check.reach, check.lacks, check.checked is None),
    )
