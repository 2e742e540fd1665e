"""What happens to the messages of every intake: decode, admit, register, count.

A bad message costs one log line and one counter, never its neighbours and never the consumer.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from shoal_common.errors import InvalidHeartbeat, Unavailable
from shoal_common.heartbeat import Heartbeat, decode
from shoal_server.registry import Registry
from shoal_server.squid import is_hosts_own

LOG_LINES_A_MINUTE = 20

log = logging.getLogger(__name__)


class Intake(Protocol):
    """A running way in."""

    def start(self) -> None:
        """Begin to take messages; Unavailable when that can never work."""

    def stop(self) -> None:
        """Stop taking messages; returns when none is in hand."""

    @property
    def connected(self) -> bool:
        """Whether heartbeats can reach us at the moment."""


class Reception:
    """Takes message bodies in batches; `storing` is whether the last one could be stored.

    `placed` tells whether the operator's location table holds an address: a loopback or link-local
    address would send every worker, and our own verifier, to a service of its own machine, so it is
    believed only where the operator has written it down (a test bed, a demonstration).
    """

    def __init__(self, registry: Registry, placed: Callable[[str], bool]) -> None:
        self._registry = registry
        self._placed = placed
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._log = _LineBudget(LOG_LINES_A_MINUTE)
        self.storing = True

    def take(self, bodies: Sequence[bytes]) -> None:
        """Register the valid messages of a batch, oldest first.

        Raises Unavailable when the store cannot take them: nothing was stored then, and nothing may
        be acknowledged.
        """
        beats: list[Heartbeat] = []
        refusals: list[InvalidHeartbeat] = []
        for body in bodies:
            try:
                beats.append(self._admitted(body))
            except InvalidHeartbeat as error:
                refusals.append(error)
        if beats:
            try:
                self._registry.hear(beats, time.time())
            except Unavailable:
                self.storing = False
                raise
            self.storing = True
        self._tally(len(beats), refusals)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many messages came to what: `accepted`, or the field for which they were refused."""
        with self._lock:
            return dict(self._counts)

    def _admitted(self, body: bytes) -> Heartbeat:
        beat = decode(body)
        for field in ("public_ip", "external_ip", "private_ip", "ipv6"):
            address: str | None = getattr(beat, field)
            if address and is_hosts_own(address) and not self._placed(address):
                problem = f"{address} means another machine to each reader; the location table may allow it"
                raise InvalidHeartbeat(field, problem)
        return beat

    def _tally(self, accepted: int, refusals: Sequence[InvalidHeartbeat]) -> None:
        with self._lock:
            self._counts.update(accepted=accepted)
            self._counts.update(refusal.field for refusal in refusals)
        for refusal in refusals:
            self._log.warning("heartbeat refused: %s", refusal)


class _LineBudget:
    """At most so many log lines a minute; what was left out is counted in the next one."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._minute = 0
        self._used = 0

    def warning(self, message: str, *args: object) -> None:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            if self._used > self._lines:
                log.warning("%d more heartbeats refused", self._used - self._lines)
            self._minute, self._used = minute, 0
        self._used += 1
        if self._used <= self._lines:
            log.warning(message, *args)
