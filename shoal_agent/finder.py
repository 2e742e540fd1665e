"""Finds the cache again and again, and remembers what one look alone does not tell."""

from collections.abc import Callable
from dataclasses import replace

from shoal_agent.cache import Cache, Wanted, find
from shoal_common.heartbeat import CacheType, Upstream

Ask = Callable[[Cache], Upstream | None]


class Finder:
    """Calling it finds the cache now.

    While none runs, the place where one was is the place where it is awaited. What a Varnish at an
    unusual port is for is asked of itself by `ask`, until it answers.
    """

    def __init__(
        self, wanted: Wanted, ask: Ask | None = None, look: Callable[[Wanted], Cache] = find
    ) -> None:
        self._wanted = wanted
        self._ask = ask
        self._look = look
        self._last: Cache | None = None
        self._purposes: dict[tuple[str, int | None], Upstream] = {}

    def __call__(self) -> Cache:
        """Where the cache is."""
        cache = self._look(self._wanted)
        if cache.bound:
            self._last = cache = self._with_purpose(cache)
        elif self._last is not None:
            return replace(
                self._last, bound=frozenset(), pid=None, source="where it was; no cache is running now"
            )
        return cache

    def _with_purpose(self, cache: Cache) -> Cache:
        if self._ask is None or cache.type is not CacheType.VARNISH or cache.purpose != "not known yet":
            return cache
        key = (str(cache.place), cache.pid)
        known = self._purposes.get(key) or self._ask(cache)
        if known is None:
            return cache
        self._purposes = {key: known}
        return replace(cache, upstream=known, purpose="what it serves")
