"""Which caches there are now, and which of them are those that were there before."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from shoal_agent.cache import Cache
from shoal_agent.instance import Instance
from shoal_agent.sockets import listeners

SEARCH_SECONDS = 60.0
"""A search reads the list of processes. It is made when sockets began or ceased to listen, and this often."""
FORGET_SECONDS = 3600.0
"""So long a cache that was stopped is awaited while others run; the last one is awaited for ever."""

log = logging.getLogger(__name__)


def match(known: Sequence[Cache], found: Sequence[Cache]) -> tuple[list[Cache | None], list[Cache]]:
    """Which of the found caches each known one is (None: it does not run), and those that are new. Pure.

    It is the same at the same place; else in the same process, which was configured anew; else one that
    runs no longer has returned as the only sort of cache that is new.
    """
    now: list[Cache | None] = [None] * len(known)
    new = list(found)
    for same in (_same_place, _same_process, _same_type):
        for number, cache in enumerate(known):
            candidate = next((each for each in new if same(cache, each)), None)
            if now[number] is None and candidate is not None:
                now[number] = candidate
                new.remove(candidate)
    return now, new


def _same_place(known: Cache, found: Cache) -> bool:
    same = known.type is found.type and known.place.port == found.place.port
    return same and (known.place == found.place or bool(known.bound & found.bound))


def _same_process(known: Cache, found: Cache) -> bool:
    return known.pid is not None and (known.type, known.pid) == (found.type, found.pid)


def _same_type(known: Cache, found: Cache) -> bool:
    return known.type is found.type


@dataclass(slots=True)
class _Entry:
    """A cache as it was last found, and since when it is not."""

    instance: Instance
    cache: Cache
    gone_since: float | None

    def follow(self, found: Cache | None, now: float) -> None:
        if found is not None:
            self.cache, self.gone_since = found, None
            self.instance.watch.follow(found)
        elif self.gone_since is None:
            self.gone_since = now
            gone = replace(self.cache, bound=frozenset(), pid=None)
            self.instance.watch.follow(replace(gone, source="where it was; no cache is running now"))


class Roster:
    """The caches of this VM, each an `Instance` made by `make`; at least one, which may be one awaited.

    To be used from one thread, but for `instances`.
    """

    def __init__(
        self,
        search: Callable[[], Sequence[Cache]],
        awaited: Cache,
        make: Callable[[Cache], Instance],
        glance: Callable[[], object] = listeners,
    ) -> None:
        self._search = search
        self._make = make
        self._glance = glance
        self._sockets = glance()
        self._due = time.monotonic() + SEARCH_SECONDS
        self._entries = [_Entry(make(cache), cache, None) for cache in search()]
        if not self._entries:
            self._entries = [_Entry(make(awaited), awaited, time.monotonic())]
        self.instances = tuple(entry.instance for entry in self._entries)

    def run(
        self,
        stop: threading.Event,
        start: Callable[[Instance], object],
        every: float,
        pulse: Callable[[], None] = lambda: None,
    ) -> None:
        """Look every so many seconds until `stop` is set; `start` is called once with each instance."""
        started: tuple[Instance, ...] = ()
        while not stop.is_set():
            pulse()
            self.turn()
            for instance in self.instances:
                if instance not in started:
                    start(instance)
            started = self.instances
            stop.wait(every)

    def turn(self) -> None:
        """Search if a socket began or ceased to listen, or if it is time to."""
        sockets = self._glance()
        if sockets != self._sockets or time.monotonic() >= self._due:
            self._sockets = sockets
            self.search()

    def search(self) -> None:
        """Find out which caches run now."""
        now = time.monotonic()
        self._due = now + SEARCH_SECONDS
        matched, new = match([entry.cache for entry in self._entries], self._search())
        for entry, found in zip(self._entries, matched, strict=True):
            never_found = found is None and not entry.cache.bound
            entry.follow(new.pop(0) if new and never_found else found, now)
        self._entries += [_Entry(self._make(cache), cache, None) for cache in new]
        self._forget(now)
        self.instances = tuple(entry.instance for entry in self._entries)

    def _forget(self, now: float) -> None:
        if all(entry.gone_since is not None for entry in self._entries):
            return
        for entry in list(self._entries):
            if entry.gone_since is not None and now - entry.gone_since >= FORGET_SECONDS:
                log.info("the %s that was at %s is awaited no longer", entry.cache.type, entry.cache.place)
                entry.instance.watch.end()
                self._entries.remove(entry)
