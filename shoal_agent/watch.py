"""Keeps an eye on the cache from a thread of its own, so that a slow origin never delays a heartbeat."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from shoal_agent.cache import Cache, is_listening
from shoal_agent.counters import Access, Reading
from shoal_agent.health import Finding, Health, HealthRules

LOOK_SECONDS = 5.0
"""How soon it is seen that the cache began or ceased to listen; that costs a glance at /proc."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """The cache as last found, and its state."""

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
        return min(LOOK_SECONDS, self.retry, self.read)


class Watch:
    """Tests the cache when that is due, and at once when its port opens or closes, or when it begins or
    ceases to answer him who reads its counters.
    """

    def __init__(
        self,
        find: Callable[[], Cache],
        examine: Callable[[Cache], Finding],
        rules: HealthRules,
        pace: Pace,
        read: Callable[[Cache], Reading] | None = None,
    ) -> None:
        self._find = find
        self._examine = examine
        self._rules = rules
        self._pace = pace
        self._read = read
        self._seen = Seen(find(), Health())
        self._test_due = 0.0
        self._read_due = 0.0
        self._listened = False
        self._mute = False

    @property
    def seen(self) -> Seen:
        """The latest state; may be read from any thread."""
        return self._seen

    def run(self, stop: threading.Event, pulse: Callable[[], None] = lambda: None) -> None:
        """Look and test until `stop` is set; `pulse` is called at each turn."""
        while not stop.is_set():
            pulse()
            self.look()
            stop.wait(self._pace.look)

    def look(self) -> None:
        """Do what is due now."""
        listens = is_listening(self._seen.cache.place)
        changed = listens is not self._listened
        self._listened = listens
        if changed or time.monotonic() >= self._test_due or self._was_contradicted():
            self.test()

    def test(self) -> Health:
        """Find the cache, test it once, and return its state; one found elsewhere starts anew."""
        before = self._seen
        cache = self._find()
        known = before.health if cache.place == before.cache.place else Health()
        health = known.after(self._examine(cache), self._rules)
        self._seen = Seen(cache, health)
        self._test_due = time.monotonic() + (self._pace.test if health.settled else self._pace.retry)
        if health.healthy is not known.healthy:
            _tell(cache, health)
        return health

    def _was_contradicted(self) -> bool:
        """Read the counters if that is due; true if the cache began or ceased to answer."""
        if self._read is None or time.monotonic() < self._read_due or not self._listened:
            return False
        self._read_due = time.monotonic() + self._pace.read
        mute = self._read(self._seen.cache).access is Access.DOWN
        changed, self._mute = mute is not self._mute, mute
        return changed


def _tell(cache: Cache, health: Health) -> None:
    name = f"{cache.type} at {cache.place} ({cache.source})"
    if health.healthy:
        log.info("%s is good: %s", name, health.reason)
    else:
        log.warning("%s is bad, nothing is published until it recovers: %s", name, health.reason)
