"""What a Varnish at an unusual port is for: it is asked itself, until it answers."""

from collections.abc import Callable
from dataclasses import replace

from shoal_agent.cache import Cache
from shoal_agent.detect import UNKNOWN_PURPOSE
from shoal_common.heartbeat import Upstream


class Purpose:
    """Completes what was found of one cache; asks by `ask`, which returns None while there is no answer.

    Another process at the same place may have another purpose, and is asked anew.
    """

    def __init__(self, ask: Callable[[Cache], Upstream | None]) -> None:
        self._ask = ask
        self._of: tuple[str, int | None] | None = None
        self._known: Upstream | None = None

    def __call__(self, cache: Cache) -> Cache:
        """The cache with its purpose, as far as it is known."""
        if cache.purpose != UNKNOWN_PURPOSE or not cache.bound:
            return cache
        of = str(cache.place), cache.pid
        if of != self._of or self._known is None:
            self._of, self._known = of, self._ask(cache)
        return replace(cache, upstream=self._known, purpose="what it serves") if self._known else cache
