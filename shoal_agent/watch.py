"""Keeps an eye on the cache from a thread of its own, so that a slow origin never delays a heartbeat."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from shoal_agent.cache import Cache, is_listening
from shoal_agent.health import Finding, Health, HealthRules
from shoal_common.hosts import HostPort

LOOK_SECONDS = 5.0
"""How soon it is seen that the cache began or ceased to listen; that costs a glance at /proc."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """The cache as last found, and its state."""

    cache: Cache
    health: Health


class Watch:
    """Tests the cache `every` so many seconds, `retry` seconds after a finding that contradicts its state,
    and at once when its port opens or closes.
    """

    def __init__(
        self,
        find: Callable[[], Cache],
        examine: Callable[[HostPort], Finding],
        rules: HealthRules,
        *,
        every: float,
        retry: float,
    ) -> None:
        self._find = find
        self._examine = examine
        self._rules = rules
        self._every = every
        self._retry = retry
        self._seen = Seen(find(), Health())
        self._due = 0.0
        self._listened = False

    @property
    def seen(self) -> Seen:
        """The latest state; may be read from any thread."""
        return self._seen

    def run(self, stop: threading.Event) -> None:
        """Look and test until `stop` is set."""
        while not stop.is_set():
            self.look()
            stop.wait(min(LOOK_SECONDS, self._retry))

    def look(self) -> None:
        """Test the cache if it is time to, or if its port has opened or closed."""
        listens = is_listening(self._seen.cache.place)
        if time.monotonic() >= self._due or listens is not self._listened:
            self._listened = listens
            self.test()
            self._due = time.monotonic() + (self._every if self._seen.health.settled else self._retry)

    def test(self) -> Health:
        """Find the cache, test it once, and return its state; one found elsewhere starts anew."""
        before = self._seen
        cache = self._find()
        known = before.health if cache.place == before.cache.place else Health()
        health = known.after(self._examine(cache.place), self._rules)
        self._seen = Seen(cache, health)
        if health.healthy is not known.healthy:
            _tell(cache, health)
        return health


def _tell(cache: Cache, health: Health) -> None:
    name = f"{cache.type} at {cache.place} ({cache.source})"
    if health.healthy:
        log.info("%s is good: %s", name, health.reason)
    else:
        log.warning("%s is bad, nothing is published until it recovers: %s", name, health.reason)
