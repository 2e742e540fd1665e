"""History of a single server: rings in this process, gone when it ends."""

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice

from shoal_server.history import KEPT_SECONDS, MOST_CHECKPOINTS, Grain, LoggedEvent, Standing
from shoal_server.registry import Event
from shoal_server.roll import OVERLAP_SECONDS


class EventLog:
    """The newest events, each with its number; `dropped_at` is when the last one happened that is no longer
    kept (seconds since 1970).
    """

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._entries: deque[tuple[int, Event]] = deque(maxlen=most)
        self.logged = 0
        self.dropped_at = 0.0

    def append(self, event: Event) -> None:
        """Log one event."""
        self.extend([event])

    def extend(self, events: Iterable[Event]) -> None:
        """Log events, oldest first."""
        with self._lock:
            for event in events:
                if len(self._entries) == self._entries.maxlen:
                    self.dropped_at = self._entries[0][1].at
                self.logged += 1
                self._entries.append((self.logged, event))

    def entries(self) -> list[tuple[int, Event]]:
        """All that are kept, with their numbers, oldest first."""
        with self._lock:
            return list(self._entries)

    def drop_before(self, at: float) -> None:
        """Forget events older than `at` (seconds since 1970)."""
        with self._lock:
            while self._entries and self._entries[0][1].at < at:
                self.dropped_at = self._entries.popleft()[1].at


class MemoryHistory:
    """Keeps history in this process; `log` is where the store writes its events."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._rings: dict[tuple[Grain, int], dict[int, bytes]] = {}
        self._checkpoints: list[tuple[float, bytes]] = []
        self._logged = 0
        self._standing = Standing()

    def standing(self) -> Standing:
        return replace(self._standing, fresh=self._log.logged - self._logged)

    def put_frames(self, grain: Grain, slot: int, frames: Mapping[int, bytes]) -> None:
        place = slot % grain.ring
        with self._lock:
            for bucket in {key for of, key in self._rings if of is grain} | set(frames):
                ring = self._rings.setdefault((grain, bucket), {})
                ring.pop(place, None)
                if bucket in frames:
                    ring[place] = frames[bucket]
            self._standing = self._standing.written(grain, slot)

    def frames(self, grain: Grain, bucket: int) -> list[bytes]:
        with self._lock:
            return list(self._rings.get((grain, bucket), {}).values())

    def put_checkpoint(self, at: float, body: bytes) -> None:
        with self._lock:
            kept = [one for one in self._checkpoints if at - KEPT_SECONDS <= one[0] < at]
            self._checkpoints = [*kept, (at, body)][-MOST_CHECKPOINTS:]
            self._logged = self._log.logged
            self._standing = replace(self._standing, checkpoint=at)

    def checkpoint(self, at: float) -> bytes | None:
        with self._lock:
            number = bisect_right(self._checkpoints, at, key=lambda one: one[0])
            found = self._checkpoints[number - 1] if number else None
        whole = found is not None and found[0] - OVERLAP_SECONDS > self._log.dropped_at
        return found[1] if found and whole else None

    def events(
        self, squid_id: str | None, *, before: str | None, after: str | None, limit: int
    ) -> list[LoggedEvent]:
        entries = self._log.entries()
        if squid_id is not None:
            entries = [entry for entry in entries if entry[1].squid_id == squid_id]
        first = bisect_right(entries, _number(after), key=lambda one: one[0]) if after else 0
        found: Iterable[tuple[int, Event]] = entries[first:]
        if not after:
            found = (one for one in reversed(entries) if before is None or one[0] < _number(before))
        return [LoggedEvent(f"{number}-0", event) for number, event in islice(found, limit)]

    def events_between(self, begin: float, end: float) -> list[Event]:
        return [event for _, event in self._log.entries() if begin <= event.at <= end]

    def tend(self, now: float) -> None:
        self._log.drop_before(now - KEPT_SECONDS)


def _number(cursor: str) -> int:
    return int(cursor.partition("-")[0])
