"""Writes history: looks at the snapshot every few seconds, and once a span writes what it saw.

Every server looks, one writes: whoever finds the claim free and the span unwritten. The others have
seen the same, so when one dies the next look of another writes in its place, and nothing is missing. A
store that is away costs the spans that end meanwhile, nothing else.
"""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from shoal_common.errors import Unavailable
from shoal_server.frames import BUCKETS, Tally, joined, pack, slot_of
from shoal_server.history import (
    CHECKPOINT_SECONDS,
    MOST_REPLAYED,
    Grain,
    History,
    HistoryStore,
    Standing,
)
from shoal_server.registry import Store
from shoal_server.roll import Roll
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import Squid

LOOK_SECONDS = 10.0
"""Shorter than any agent's interval, so that each heartbeat is seen."""
CLAIM_SECONDS = 30.0
PATIENCE_SECONDS = 45.0
"""How long one that saw only a part of a span leaves it to others to write it."""
CLAIM = "historian"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Span:
    """What was seen in one fine span; `whole` unless the process began to look in the middle of it."""

    slot: int
    whole: bool
    tallies: dict[str, Tally] = field(default_factory=dict)

    def look(self, squids: Iterable[Squid]) -> None:
        """Note all squids of a snapshot."""
        for squid in squids:
            self.tallies.setdefault(squid.id, Tally()).look(squid)

    def following(self, slot: int) -> "Span":
        """A new span that does not count again the heartbeats of this one."""
        present = {squid_id: one for squid_id, one in self.tallies.items() if one.last}
        return Span(slot, True, {squid_id: Tally(seen=one.seen) for squid_id, one in present.items()})

    def frames(self) -> dict[int, bytes]:
        """What is kept of it."""
        rows = {squid_id: row for squid_id, tally in self.tallies.items() if (row := tally.row())}
        return pack(self.slot, rows)


class Historian:
    """`verify`: whether workers are told only of squids that were checked."""

    def __init__(
        self, keeper: SnapshotKeeper, store: Store, history: HistoryStore, *, verify: bool = True
    ) -> None:
        self._keeper = keeper
        self._store = store
        self._history = history
        self._reader = History(history, verify=verify)
        self._verify = verify
        self._span: Span | None = None
        self._ended: Span | None = None

    def run(self, stop: threading.Event) -> None:
        """Look and write until told to stop."""
        while not stop.is_set():
            self.look(self._keeper.now())
            stop.wait(LOOK_SECONDS)

    def look(self, now: float) -> None:
        """Note what the snapshot shows, and write what has ended if no other server does."""
        slot = Grain.FINE.slot(now)
        span = self._span
        if span is None or span.slot != slot:
            if span and span.slot < slot:  # otherwise the clock was set back
                self._ended = span
            begun_in_time = now - slot * Grain.FINE.seconds < LOOK_SECONDS
            span = self._span = span.following(slot) if span else Span(slot, whole=begun_in_time)
        if self._keeper.stale_since is not None:
            return
        span.look(listed.squid for listed in self._keeper.current.listed)
        try:
            if self._store.claim(CLAIM, CLAIM_SECONDS):
                try:
                    self._write(now)
                finally:
                    self._store.release(CLAIM)
        except Unavailable as error:
            log.info("history is not written: %s", error)

    def _write(self, now: float) -> None:
        self._history.tend(now)
        standing = self._history.standing()
        if self._ended and self._write_fine(self._ended, standing, now):
            self._ended = None
        if _is_due(Grain.COARSE, Grain.COARSE.slot(now - PATIENCE_SECONDS) - 1, standing, now):
            self._write_coarse(Grain.COARSE.slot(now - PATIENCE_SECONDS) - 1)
        if self._checkpoint_is_due(standing, now):
            self._write_checkpoint()

    def _write_fine(self, span: Span, standing: Standing, now: float) -> bool:
        """Write a span that has ended; False if that is to be tried again."""
        if not _is_due(Grain.FINE, span.slot, standing, now):
            return True
        if not span.whole and now < (span.slot + 1) * Grain.FINE.seconds + PATIENCE_SECONDS:
            return False
        self._history.put_frames(Grain.FINE, span.slot, span.frames())
        return True

    def _write_coarse(self, slot: int) -> None:
        """Make a coarse span from the fine ones in it, whoever wrote them."""
        parts = Grain.COARSE.seconds // Grain.FINE.seconds
        wanted = range(slot * parts, (slot + 1) * parts)
        frames: dict[int, bytes] = {}
        for bucket in range(BUCKETS):
            fine = {slot_of(one): one for one in self._history.frames(Grain.FINE, bucket)}
            if whole := joined(slot, [fine[part] for part in wanted if part in fine]):
                frames[bucket] = whole
        self._history.put_frames(Grain.COARSE, slot, frames)

    def _checkpoint_is_due(self, standing: Standing, now: float) -> bool:
        """Also when the last one lies in the future: the clock was set back since."""
        if standing.checkpoint is None or standing.fresh >= MOST_REPLAYED:
            return True
        return not 0 <= now - standing.checkpoint < CHECKPOINT_SECONDS

    def _write_checkpoint(self) -> None:
        """The snapshot does not show which squids that are away are being drained; the roll before does."""
        at = self._keeper.followed  # before the picture is taken: what it shows beyond, events will say again
        before = self._reader.roll_at(at)
        drained = before.drained if before else frozenset()
        squids = [listed.squid for listed in self._keeper.current.listed]
        roll = Roll.of(at, squids, drained, verify=self._verify)
        self._history.put_checkpoint(roll.at, roll.pack())


def _is_due(grain: Grain, slot: int, standing: Standing, now: float) -> bool:
    """Whether a span is still to be written; one said to be written in the future was by a wrong clock."""
    newest = standing.newest(grain)
    return newest is None or newest < slot or newest > grain.slot(now)
