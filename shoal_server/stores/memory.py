"""The store of a single server: plain dictionaries under a lock."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from shoal_server.registry import FAREWELL_SECONDS, MAX_CHANGES, MAX_EVENTS, Changes, Event, EventKind, Mark
from shoal_server.reports import Report
from shoal_server.squid import Squid, Verification
from shoal_server.stores.history_memory import EventLog

LIFE = "memory"


class MemoryStore:
    """Keeps everything in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0
        self._squids: dict[str, Squid] = {}
        self._ids: dict[str, str] = {}
        self._events = self.log = EventLog(MAX_EVENTS)
        self._drained: set[str] = set()
        self._claims: dict[str, float] = {}
        self._farewells: dict[str, tuple[float, float]] = {}
        self._report: Report | None = None
        self._changes: deque[Sequence[str]] = deque(maxlen=MAX_CHANGES)

    def now(self) -> float:
        return time.time()

    def version(self) -> tuple[str, int]:
        return LIFE, self._version

    def changes(self, since: Mark | None) -> Changes:
        with self._lock:
            mark = Mark(LIFE, self._version)
            writes = self._version - since.count if since else -1
            if not 0 <= writes <= len(self._changes):
                return Changes(mark, list(self._squids.values()), whole=True)
            latest = [self._changes[-index] for index in range(writes, 0, -1)]
            ids = dict.fromkeys(key for keys in latest for key in keys)
            known = [self._squids[key] for key in ids if key in self._squids]
            return Changes(mark, known, [key for key in ids if key not in self._squids])

    def squids(self) -> list[Squid]:
        with self._lock:
            return list(self._squids.values())

    def get(self, ids: Iterable[str]) -> Mapping[str, Squid]:
        with self._lock:
            return {key: self._squids[key] for key in ids if key in self._squids}

    def recall(self, ids: Iterable[str]) -> Mapping[str, Squid]:
        return self.get(ids)

    def ids_of(self, uuids: Iterable[str]) -> Mapping[str, str]:
        with self._lock:
            return {uuid: self._ids[uuid] for uuid in uuids if uuid in self._ids}

    def farewells(self, uuids: Iterable[str]) -> Mapping[str, float]:
        with self._lock:
            return {uuid: self._farewells[uuid][0] for uuid in uuids if uuid in self._farewells}

    def put_farewells(self, said: Mapping[str, float]) -> None:
        now = time.monotonic()
        with self._lock:
            kept = {uuid: one for uuid, one in self._farewells.items() if one[1] > now}
            self._farewells = kept | {uuid: (at, now + FAREWELL_SECONDS) for uuid, at in said.items()}

    def put(self, squids: Sequence[Squid], gone: Sequence[str], events: Sequence[Event]) -> None:
        with self._lock:
            for key in gone:
                self._forget(key)
            for squid in squids:
                known = self._squids.get(squid.id)
                check = known.verification if known else Verification()
                self._squids[squid.id] = replace(squid, verification=check, drained=squid.id in self._drained)
                if known and known.beat.uuid != squid.beat.uuid:
                    self._ids.pop(known.beat.uuid, None)
                self._ids[squid.beat.uuid] = squid.id
            self._events.extend(events)
            self._written([*gone, *(squid.id for squid in squids)])

    def put_verification(self, squid_id: str, verification: Verification, events: Sequence[Event]) -> None:
        with self._lock:
            if known := self._squids.get(squid_id):
                self._squids[squid_id] = known.with_verification(verification)
                self._events.extend(events)
                self._written([squid_id])

    def put_drained(self, squid_id: str, drained: bool, events: Sequence[Event]) -> None:
        with self._lock:
            (self._drained.add if drained else self._drained.discard)(squid_id)
            if known := self._squids.get(squid_id):
                self._squids[squid_id] = replace(known, drained=drained)
            self._events.extend(events)
            self._written([squid_id])

    def expire(self, ids: Sequence[str], silent_since: float, at: float) -> list[str]:
        with self._lock:
            gone = [key for key in ids if key in self._squids and self._squids[key].seen < silent_since]
            for key in gone:
                self._events.append(Event(at, EventKind.EXPIRED, key, self._squids[key].beat.hostname))
                self._forget(key)
            if gone:
                self._written(gone)
            return gone

    def claim(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        with self._lock:
            if self._claims.get(name, 0.0) > now:
                return False
            self._claims = {key: until for key, until in self._claims.items() if until > now}
            self._claims[name] = now + seconds
            return True

    def release(self, name: str) -> None:
        with self._lock:
            self._claims.pop(name, None)

    def put_report(self, report: Report) -> None:
        self._report = report

    def reports(self) -> list[Report]:
        return [self._report] if self._report else []

    def _written(self, ids: Sequence[str]) -> None:
        self._version += 1
        self._changes.append(ids)

    def _forget(self, key: str) -> None:
        if squid := self._squids.pop(key, None):
            self._ids.pop(squid.beat.uuid, None)
