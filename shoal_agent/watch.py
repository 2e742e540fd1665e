"""Keeps an eye on one cache from a thread of its own, so that a slow origin never delays a heartbeat."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from shoal_agent.cache import Cache
from shoal_agent.counters import Access, Reading
from shoal_agent.health import Finding, Health, HealthRules

LOOK_SECONDS = 5.0
"""How soon it is seen that a cache began or ceased to listen; that costs a glance at /proc."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A cache as last found and tested, and its state."""

    cache: Cache
    health: Health


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two tests, until the next one after a finding that contradicts the state, and
    between two readings of the counters.
    """

    test: float
    retry: float
    read: float

    @property
    def look(self) -> float:
        """Seconds between two looks at what is due."""
        return min(LOOK_SECONDS, self.retry, self.read)


class Watch:
    """Tests the cache when that is due, and at once when something about it changed (its port opened or
    closed, it was restarted, it is another one), or when it begins or ceases to answer him who reads its
    counters.

    `follow` and `end` may be called, and `seen` be read, from any thread.
    """

    def __init__(
        self,
        cache: Cache,
        examine: Callable[[Cache], Finding],
        rules: HealthRules,
        pace: Pace,
        read: Callable[[Cache], Reading] | None = None,
        complete: Callable[[Cache], Cache] = lambda cache: cache,
    ) -> None:
        self._examine = examine
        self._rules = rules
        self._pace = pace
        self._read = read
        self._complete = complete
        self._cache = cache
        self._tested: Cache | None = None
        self._wake = threading.Event()
        self._ended = False
        self._test_due = 0.0
        self._read_due = 0.0
        self._mute = False
        self.seen = Seen(cache, Health())

    def follow(self, cache: Cache) -> None:
        """From now on the cache is this one; whatever is new about it is a reason to test it at once."""
        if cache != self._cache:
            self._cache = cache
            self._wake.set()

    def end(self) -> None:
        """Watch no longer."""
        self._ended = True
        self._wake.set()

    def run(self, stop: threading.Event, pulse: Callable[[], None] = lambda: None) -> None:
        """Look and test until `stop` is set or it is ended; `pulse` is called at each turn."""
        while not (stop.is_set() or self._ended):
            pulse()
            self.look()
            self._wake.wait(self._pace.look)
            self._wake.clear()

    def look(self) -> None:
        """Do what is due now."""
        changed = self._cache is not self._tested
        if changed or time.monotonic() >= self._test_due or self._was_contradicted():
            self.test()

    def test(self) -> Health:
        """Test the cache once, and return its state; one at another place starts anew."""
        before, found = self.seen, self._cache
        cache = self._complete(found)
        known = before.health if cache.place == before.cache.place else Health()
        health = known.after(self._examine(cache), self._rules)
        self.seen, self._tested = Seen(cache, health), found
        self._test_due = time.monotonic() + (self._pace.test if health.settled else self._pace.retry)
        if health.healthy is not known.healthy:
            _tell(cache, health)
        return health

    def _was_contradicted(self) -> bool:
        """Read the counters if that is due; true if the cache began or ceased to answer."""
        if self._read is None or time.monotonic() < self._read_due or not self.seen.cache.bound:
            return False
        self._read_due = time.monotonic() + self._pace.read
        mute = self._read(self.seen.cache).access is Access.DOWN
        changed, self._mute = mute is not self._mute, mute
        return changed


def _tell(cache: Cache, health: Health) -> None:
    name = f"{cache.type} at {cache.place} ({cache.source})"
    if health.healthy:
        log.info("%s is good: %s", name, health.reason)
    else:
        log.warning("%s is bad, nothing is published until it recovers: %s", name, health.reason)
