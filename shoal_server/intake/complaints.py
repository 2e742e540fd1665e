"""Log lines about what others cause: so many a minute, and no more however many there are."""

import logging
import threading
import time

WINDOW_SECONDS = 60.0

log = logging.getLogger(__name__)


class Complaints:
    """Warns, from any thread; what was too much is counted, and told with the first line after."""

    def __init__(self, lines_a_minute: int = 10) -> None:
        self._most = lines_a_minute
        self._lock = threading.Lock()
        self._until = 0.0
        self._made = 0

    def make(self, message: str, *args: object) -> None:
        """Log a warning, unless the minute that began with the first one has had its share."""
        allowed, left_out = self._count(time.monotonic())
        if left_out > 0:
            log.warning("%d more such problems were not logged", left_out)
        if allowed:
            log.warning(message, *args)

    def _count(self, now: float) -> tuple[bool, int]:
        """Whether one more line is allowed, and how many were left out of the minute that has ended."""
        with self._lock:
            left_out = 0
            if now >= self._until:
                left_out = self._made - self._most
                self._until, self._made = now + WINDOW_SECONDS, 0
            self._made += 1
            return self._made <= self._most, left_out
