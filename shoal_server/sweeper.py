"""Takes dead squids off the list, unless it is we who do not hear."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from shoal_common.errors import Unavailable
from shoal_server.hold import Hearing, HoldRules, Silence, improbable, listen
from shoal_server.registry import Registry
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import Squid

SWEEP_SECONDS = 1.0
CLOCK_STEP_SECONDS = 10.0
CLAIM = "held"

log = logging.getLogger(__name__)


class Sweeper:
    """`hears` tells whether a heartbeat would now be noted: intake link and store both up."""

    def __init__(
        self, registry: Registry, keeper: SnapshotKeeper, rules: HoldRules, hears: Callable[[], bool]
    ) -> None:
        self._registry = registry
        self._keeper = keeper
        self._rules = rules
        self._hears = hears
        self._hearing = Hearing()
        self._offset: float | None = None
        self._lingers_until = 0.0
        self._noted: frozenset[str] | None = None
        self.silence = Silence(0, 0, held=False, gone=())

    def run(self, stop: threading.Event) -> None:
        """Sweep until told to stop."""
        while not stop.wait(SWEEP_SECONDS):
            self.sweep(self._registry.store.now(), time.monotonic())

    def sweep(self, now: float, steady: float) -> None:
        """Expire who is gone by now; while we are deaf nobody is.

        `steady` is a clock that nobody sets (seconds from any point). When `now` has moved otherwise
        than it, our clock was set, and what silence means has to be learned anew.
        """
        self._notice_clock(now, steady)
        before, self._hearing = self._hearing, self._hearing.after(self._hears(), now)
        if before.since is not None and self._hearing.since is None:
            log.warning("heartbeats cannot be noted: no squid expires until they could be again for a while")
        if not self._hearing.believes_silence(now, self._registry.rules.dead_after):
            return
        rules, listed = self._registry.rules, self._keeper.current.listed
        odd = list(
            listed.where(lambda heard: not -CLOCK_STEP_SECONDS < now - heard.seen <= rules.suspect_after)
        )
        self._correct_times([squid for squid in odd if squid.seen > now], now)
        quiet = [squid for squid in odd if squid.seen <= now]
        silence = listen(
            quiet, now, rules, self._rules, lingers=steady < self._lingers_until, total=len(listed)
        )
        if improbable(silence.overdue, silence.total, self._rules):
            self._lingers_until = steady + rules.suspect_after
        if silence.held is not self.silence.held:
            log.warning("%s: %d of %d squids are silent", _HOLD[silence.held], silence.overdue, silence.total)
        self.silence = silence
        if silence.gone:
            self._expire(silence.gone, now)
        if silence.kept or self._noted is not None:
            self._note_held(silence, now)

    def _notice_clock(self, now: float, steady: float) -> None:
        before, self._offset = self._offset, now - steady
        if before is None or abs(self._offset - before) < CLOCK_STEP_SECONDS:
            return
        log.warning("the clock was set by %+.0f s: no squid expires for a while", self._offset - before)
        self._hearing = Hearing()
        self._correct_times(list(self._keeper.current.listed.where(lambda heard: heard.seen > now)), now)

    def _correct_times(self, ahead: Sequence[Squid], now: float) -> None:
        """Who was heard in the future, by a clock that has been set right since, would never be silent."""
        if not ahead:
            return
        try:
            self._registry.correct_clock(ahead, now)
        except Unavailable as error:
            log.info("times of the squids not corrected: %s", error)

    def _expire(self, gone: tuple[str, ...], now: float) -> None:
        try:
            self._registry.expire(gone, now)
        except Unavailable as error:
            log.info("sweep put off: %s", error)

    def _note_held(self, silence: Silence, now: float) -> None:
        """Log each squid that is kept, once; of several servers the first to find any does so to the end."""
        store = self._registry.store
        try:
            if self._noted is None and store.claim(CLAIM, 2 * self._rules.cap):
                self._noted = frozenset()
            if self._noted is None:
                return
            if fresh := sorted(frozenset(silence.kept) - self._noted):
                self._registry.note_held(fresh, now)
            self._noted = frozenset(silence.kept)
            if not silence.held:
                self._noted = None
                store.release(CLAIM)
        except Unavailable as error:
            log.info("held squids are not noted: %s", error)


_HOLD = {True: "expiry is held, squids are tried directly", False: "expiry is no longer held"}
