"""History that several servers share, in Redis beside the squids; the events are the store's own stream.

Keys, with the store's prefix:

- `{shoal}:history:fine:BUCKET`, `…:coarse:BUCKET` hash, place in the ring -> frame of one span
- `{shoal}:history:rolls` hash, time (whole milliseconds since 1970) -> roll of who was listed then
- `{shoal}:history:of:ID` sorted set of the stream ids of a squid's newest events; gone after 30 days
- `{shoal}:history:about` hash of how far all this has been written

Rings rather than streams hold the samples: a place is overwritten whatever the clocks did meanwhile,
so that what is kept is bounded by the number of places, and a span written twice is the same span.
"""

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Concatenate, ParamSpec, TypeVar

import redis

from shoal_common.errors import Unavailable
from shoal_server.frames import BUCKETS
from shoal_server.history import (
    KEPT_SECONDS,
    MOST_CHECKPOINTS,
    MOST_REPLAYED,
    Grain,
    LoggedEvent,
    Standing,
)
from shoal_server.registry import MAX_EVENTS, Event, EventKind
from shoal_server.roll import OVERLAP_SECONDS
from shoal_server.stores.redis_client import RedisUser, translated
from shoal_server.stores.redis_url import check, connect

ANSWER_SECONDS = 0.5
"""How long a command may take: a page's thread waits for it."""
AWAY_SECONDS = 2.0
"""For how long a Redis that failed is not asked again, lest pages pile up in front of one that hangs."""
MOST_OF_ONE = 200
"""So many of a squid's newest events are found by its id; the others by reading the whole log."""
BATCH = 1000
MOST_FILED = 20_000
"""At one time: the claim of who writes history must outlast it."""
CLOCKS_SECONDS = 60.0
"""How far an event's own time and its place in the stream may be apart."""

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Entry = tuple[bytes, Mapping[bytes, bytes]]


def _spared(
    method: Callable[Concatenate["RedisHistory", _P], _R],
) -> Callable[Concatenate["RedisHistory", _P], _R]:
    """A Redis that failed a moment ago is unavailable without being asked."""
    asked = translated(method)

    @functools.wraps(method)
    def call(self: "RedisHistory", /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if time.monotonic() < self.away_until:
            raise Unavailable("Redis did not answer a moment ago")
        try:
            return asked(self, *args, **kwargs)
        except Unavailable:
            self.away_until = time.monotonic() + AWAY_SECONDS
            raise

    return call


class RedisHistory(RedisUser):
    """Keeps history in Redis, under keys that begin with `prefix`; answers of the client are bytes."""

    def __init__(
        self, connect: Callable[[], redis.Redis], prefix: str = "{shoal}", *, most_events: int = MAX_EVENTS
    ) -> None:
        super().__init__(connect)
        self._events = f"{prefix}:events"
        self._prefix = f"{prefix}:history:"
        self._about, self._rolls = self._prefix + "about", self._prefix + "rolls"
        self._most_events = most_events
        self.away_until = 0.0

    @classmethod
    def from_url(cls, url: str) -> "RedisHistory":
        """For a URL as `redis_url` explains; raises SettingsError for one that names no Redis."""
        check(url)
        return cls(lambda: connect(url, seconds=ANSWER_SECONDS, binary=True))

    @_spared
    def standing(self) -> Standing:
        about = self._redis.hgetall(self._about)
        fine, coarse, at, fresh = (about.get(name) for name in (b"fine", b"coarse", b"checkpoint", b"fresh"))
        return Standing(
            fine=int(fine) if fine else None,
            coarse=int(coarse) if coarse else None,
            checkpoint=float(at) if at else None,
            fresh=int(fresh or 0),
        )

    @_spared
    def put_frames(self, grain: Grain, slot: int, frames: Mapping[int, bytes]) -> None:
        pipe = self._redis.pipeline(transaction=True)
        for bucket in range(BUCKETS):
            if bucket in frames:
                pipe.hset(self._ring(grain, bucket), str(slot % grain.ring), frames[bucket])
            else:
                pipe.hdel(self._ring(grain, bucket), str(slot % grain.ring))
        pipe.hset(self._about, grain.value, slot)
        pipe.execute()

    @_spared
    def frames(self, grain: Grain, bucket: int) -> list[bytes]:
        return list(self._redis.hvals(self._ring(grain, bucket)))

    @_spared
    def put_checkpoint(self, at: float, body: bytes) -> None:
        known = sorted(map(int, self._redis.hkeys(self._rolls)))
        present = [one for one in known if (at - KEPT_SECONDS) * 1000 <= one < at * 1000]
        old = set(known) - set(present[-(MOST_CHECKPOINTS - 1) :])
        pipe = self._redis.pipeline(transaction=True)
        if old:
            pipe.hdel(self._rolls, *old)
        pipe.hset(self._rolls, str(int(at * 1000)), body)
        pipe.hset(self._about, mapping={"checkpoint": repr(at), "fresh": 0})
        pipe.execute()

    @_spared
    def checkpoint(self, at: float) -> bytes | None:
        times = [int(one) for one in self._redis.hkeys(self._rolls) if int(one) <= at * 1000]
        if not times or max(times) / 1000 - OVERLAP_SECONDS <= self._dropped_at():
            return None
        body: bytes | None = self._redis.hget(self._rolls, str(max(times)))
        return body

    @_spared
    def events(
        self, squid_id: str | None, *, before: str | None, after: str | None, limit: int
    ) -> list[LoggedEvent]:
        if squid_id is not None:
            return self._events_of(squid_id, before=before, after=after, limit=limit)
        entries = self._forward(after, limit) if after else self._backward(before, limit)
        return list(islice(_logged(entries), limit))

    @_spared
    def events_between(self, begin: float, end: float) -> list[Event]:
        first = max(0, int((begin - CLOCKS_SECONDS) * 1000))
        last = max(0, int((end + CLOCKS_SECONDS) * 1000))
        found = _logged(self._forward(f"{first}-0", BATCH, str(last)))
        return [one.event for one in found if begin <= one.event.at <= end]

    @_spared
    def tend(self, now: float) -> None:
        oldest = now - KEPT_SECONDS
        indexed = (self._redis.hget(self._about, "indexed") or b"0-0").decode()
        new = islice(self._forward(indexed, BATCH), MOST_FILED)
        while batch := list(islice(new, BATCH)):
            self._file(batch)
        pipe = self._redis.pipeline(transaction=True)
        pipe.xtrim(self._events, minid=max(0, int(oldest * 1000)), approximate=True)
        pipe.hset(self._about, "oldest", repr(oldest))
        pipe.execute()

    def _file(self, batch: Sequence[_Entry]) -> None:
        """File events under their squids; what was filed before by another server stays as it is."""
        by_squid: dict[bytes, dict[bytes, int]] = {}
        for cursor, fields in batch:
            by_squid.setdefault(fields[b"id"], {})[cursor] = _order(cursor)[0]
        pipe = self._redis.pipeline(transaction=True)
        for squid_id, cursors in by_squid.items():
            key = self._of(squid_id.decode())
            pipe.zadd(key, cursors)
            pipe.zremrangebyrank(key, 0, -1 - MOST_OF_ONE)
            pipe.expire(key, int(KEPT_SECONDS))
        pipe.hset(self._about, "indexed", batch[-1][0])
        pipe.hincrby(self._about, "fresh", len(batch))
        pipe.execute()

    def _events_of(
        self, squid_id: str, *, before: str | None, after: str | None, limit: int
    ) -> list[LoggedEvent]:
        """Those that are filed under the squid, and those that came after the last filing."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.zrange(self._of(squid_id), 0, -1)
        pipe.hget(self._about, "indexed")
        filed, indexed = pipe.execute()
        tail = islice(self._forward((indexed or b"0-0").decode(), BATCH), MOST_REPLAYED)
        recent = {cursor: fields for cursor, fields in tail if fields[b"id"].decode() == squid_id}
        known = sorted({*filed, *recent}, key=_order, reverse=not after)
        wanted = [cursor for cursor in known if _within(cursor, before, after)][:limit]
        pipe = self._redis.pipeline(transaction=False)
        for cursor in wanted:
            pipe.xrange(self._events, cursor, cursor)
        return list(_logged(entry for found in pipe.execute() for entry in found))

    def _forward(self, after: str, count: int, last: str = "+") -> Iterable[_Entry]:
        """Entries after a cursor, oldest first, to the last there is."""
        cursor = after.encode()
        while batch := self._redis.xrange(self._events, _beyond(cursor), last, count=count):
            yield from batch
            cursor = batch[-1][0]
            if len(batch) < count:
                return

    def _backward(self, before: str | None, count: int) -> Iterable[_Entry]:
        """Entries before a cursor, newest first, to the first there is."""
        top = f"({before}" if before else "+"
        while batch := self._redis.xrevrange(self._events, top, "-", count=count):
            yield from batch
            top = "(" + batch[-1][0].decode()
            if len(batch) < count:
                return

    def _dropped_at(self) -> float:
        """When the last event happened that may have been dropped, for its age or for their number."""
        pipe = self._redis.pipeline(
            transaction=False
        )  # a cluster's transactions tell entries in another form
        pipe.hget(self._about, "oldest")
        pipe.xlen(self._events)
        pipe.xrange(self._events, "-", "+", count=1)
        oldest, number, first = pipe.execute()
        by_age = float(oldest or 0.0)
        return max(by_age, float(first[0][1][b"at"])) if number >= self._most_events else by_age

    def _ring(self, grain: Grain, bucket: int) -> str:
        return f"{self._prefix}{grain.value}:{bucket:02d}"

    def _of(self, squid_id: str) -> str:
        return f"{self._prefix}of:{squid_id}"


def _logged(entries: Iterable[_Entry]) -> Iterable[LoggedEvent]:
    """The events of entries; those of a kind that a newer server writes are left out."""
    known = set(EventKind)
    for cursor, fields in entries:
        kind = fields[b"kind"].decode()
        if kind in known:
            at, squid_id, detail = float(fields[b"at"]), fields[b"id"].decode(), fields[b"detail"].decode()
            yield LoggedEvent(cursor.decode(), Event(at, EventKind(kind), squid_id, detail))


def _beyond(cursor: bytes) -> bytes:
    return b"(" + cursor


def _order(cursor: bytes | str) -> tuple[int, int]:
    """What cursors are ordered by; their text is not."""
    text = cursor.decode() if isinstance(cursor, bytes) else cursor
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number)


def _within(cursor: bytes, before: str | None, after: str | None) -> bool:
    if after:
        return _order(cursor) > _order(after)
    return before is None or _order(cursor) < _order(before)
