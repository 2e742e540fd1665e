"""Reads a cache's own counters again and again, and makes rates of them."""

import logging
import time
from collections import deque
from dataclasses import replace

from shoal_agent.cache import Cache
from shoal_agent.counters import Access, Counters, Reading, read_squid, with_present_figures
from shoal_agent.varnish import read_varnish
from shoal_common.heartbeat import MAX_RATE, CacheType, Metrics

PRESENT_FIGURES_SECONDS = 60.0
"""Medians are of five minutes; there is no need to ask for them at each reading."""

log = logging.getLogger(__name__)


def read(cache: Cache, now: float, timeout: float) -> Reading:
    """The counters of `cache`, whatever it is."""
    if cache.type is CacheType.VARNISH:
        return read_varnish(cache, now, timeout)
    return read_squid(cache.manager, now, timeout)


def rates(before: Reading | None, after: Reading | None) -> Metrics:
    """What happened between two readings, per second. Pure.

    Sums that fell tell nothing of that: the cache was restarted, or one of the workers whose sums they are.
    """
    if before is None or after is None or before.counters is None or after.counters is None:
        return Metrics() if after is None else _present(after.counters)
    old, new = before.counters, after.counters
    seconds = after.at - before.at
    if seconds <= 0 or _fell(old, new):
        return _present(new)
    cpu = None if new.cpu_seconds is None else new.cpu_seconds - (old.cpu_seconds or 0)
    return replace(
        _present(new),
        requests_per_s=_per_second(new.requests - old.requests, seconds),
        hits_per_s=_per_second(new.hits - old.hits, seconds),
        errors_per_s=_per_second(new.errors - old.errors, seconds),
        client_kb_per_s=_per_second(new.kb_out - old.kb_out, seconds),
        cpu_share=None if cpu is None else _per_second(cpu, seconds),
    )


def _fell(old: Counters, new: Counters) -> bool:
    fell = new.requests < old.requests or new.kb_out < old.kb_out
    return fell or (new.cpu_seconds or 0) < (old.cpu_seconds or 0)


def _present(counters: Counters | None) -> Metrics:
    if counters is None:
        return Metrics()
    return Metrics(
        median_service_ms=_believable(counters.median_service_ms),
        fds_used=counters.fds_used,
        fds_max=counters.fds_max,
    )


def _per_second(amount: float, seconds: float) -> float | None:
    return _believable(round(max(0.0, amount) / seconds, 4))


def _believable(figure: float | None) -> float | None:
    """A server would refuse the whole heartbeat for one that is out of all bounds."""
    return figure if figure is not None and figure <= MAX_RATE else None


class Gauge:
    """Keeps the readings of the last interval: the latest two halves of it.

    To be used from one thread, but for `metrics`.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._cache: Cache | None = None
        self._readings: deque[Reading] = deque(maxlen=3)
        self._present_due = 0.0
        self._told: Access | None = None
        self.metrics = Metrics()

    def read(self, cache: Cache) -> Reading:
        """Read now; another cache than last time starts anew."""
        if self._cache is None or (cache.place, cache.type) != (self._cache.place, self._cache.type):
            self._present_due = 0.0
            self._readings.clear()
        self._cache = cache
        now = time.monotonic()
        reading = self._with_present(read(cache, now, self._timeout), cache, now)
        self._readings.append(reading)
        self.metrics = rates(self._readings[0] if len(self._readings) > 1 else None, reading)
        self._tell(cache, reading)
        return reading

    def _with_present(self, reading: Reading, cache: Cache, now: float) -> Reading:
        if cache.type is not CacheType.SQUID or reading.counters is None:
            return reading
        if now >= self._present_due:
            self._present_due = now + PRESENT_FIGURES_SECONDS
            return with_present_figures(reading, cache.manager, self._timeout)
        last = self._readings[-1].counters if self._readings else None
        if last is None:
            return reading
        known = replace(
            reading.counters,
            median_service_ms=last.median_service_ms,
            fds_used=last.fds_used,
            fds_max=last.fds_max,
        )
        return replace(reading, counters=known)

    def _tell(self, cache: Cache, reading: Reading) -> None:
        """One line when it begins or ceases to tell; that it is down is told by its state."""
        if reading.access in (self._told, Access.DOWN):
            return
        if reading.access is Access.DENIED:
            log.warning("the counters of %s are not to be had: %s", cache.place, reading.reason)
        elif self._told is Access.DENIED:
            log.info("the counters of %s are to be had again", cache.place)
        self._told = reading.access
