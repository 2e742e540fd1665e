"""Log lines about what others cause: so many a minute, and no more however many there are."""

import logging
import time

LINES_A_MINUTE = 10

log = logging.getLogger(__name__)


class Complaints:
    """Warns; what was left out for being too much is counted, and told with the first line after."""

    def __init__(self) -> None:
        self._minute = 0
        self._made = 0

    def make(self, message: str, *args: object) -> None:
        """Log a warning, if this minute's lines are not used up."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            if self._made > LINES_A_MINUTE:
                log.warning("%d more such problems were not logged", self._made - LINES_A_MINUTE)
            self._minute, self._made = minute, 0
        self._made += 1
        if self._made <= LINES_A_MINUTE:
            log.warning(message, *args)
