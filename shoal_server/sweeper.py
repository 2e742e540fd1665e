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
    """`connected` tells whether heartbeats can reach the server at the moment."""

    def __init__(self, registry: Registry, connected: Callable[[], bool]) -> None:
        self._registry = registry
        self._connected = connected
        self._hearing = Hearing()

    def run(self, stop: threading.Event) -> None:
        """Sweep until told to stop."""
        while not stop.wait(SWEEP_SECONDS):
            self.sweep(time.time())

    def sweep(self, now: float) -> None:
        """Expire what is dead by now; while we are deaf, or the store is away, nothing expires."""
        before, self._hearing = self._hearing, self._hearing.after(self._connected(), now)
        if before.since is not None and self._hearing.since is None:
            log.warning("the intake link is down: no squid expires until it has been back for a while")
        if self._hearing.believes_silence(now, self._registry.rules.dead_after):
            try:
                self._registry.sweep(now)
            except Unavailable as error:
                log.info("sweep put off: %s", error)
