"""Takes dead squids off the list, unless it is we who do not hear."""

import logging
import threading
import time
from collections.abc import Callable

from shoal_common.errors import Unavailable
from shoal_server.hold import Hearing
from shoal_server.registry import Registry

SWEEP_SECONDS = 1.0

log = logging.getLogger(__name__)


class Sweeper:
    """`hears` tells whether a heartbeat would now be noted: intake link and store both up."""

    def __init__(self, registry: Registry, hears: Callable[[], bool]) -> None:
        self._registry = registry
        self._hears = hears
        self._hearing = Hearing()

    def run(self, stop: threading.Event) -> None:
        """Sweep until told to stop."""
        while not stop.wait(SWEEP_SECONDS):
            self.sweep(time.time())

    def sweep(self, now: float) -> None:
        """Expire what is dead by now; while we are deaf, or the store is away, nothing expires."""
        before, self._hearing = self._hearing, self._hearing.after(self._hears(), now)
        if before.since is not None and self._hearing.since is None:
            log.warning("heartbeats cannot be noted: no squid expires until they could be again for a while")
        if self._hearing.believes_silence(now, self._registry.rules.dead_after):
            try:
                self._registry.sweep(now)
            except Unavailable as error:
                log.info("sweep put off: %s", error)
