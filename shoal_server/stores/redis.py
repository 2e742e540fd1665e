"""The store that several servers share.

Keys, all with the hash tag `{shoal}` so that a Redis Cluster keeps them on one node:

- `{shoal}:beats`   hash, squid id -> JSON of what heartbeats say (written by intake alone)
- `{shoal}:seen`    sorted set, squid id -> when last heard (seconds since 1970)
- `{shoal}:checks`  hash, squid id -> JSON of its verification (written by verifiers alone)
- `{shoal}:reports` hash, server process -> JSON of its last report
- `{shoal}:drained` set of the ids that an operator is draining
- `{shoal}:uuid:HOUR` hash, agent uuid -> squid id, of those heard in that hour; kept for an hour more
- `{shoal}:left:UUID` agent uuid -> its own clock's time of its goodbye, for two minutes
- `{shoal}:events`  stream of at most about 100 000 events; see `history_redis`
- `{shoal}:version` counter of writes; `{shoal}:life` a random name of this data set, which ends when any of
  its parts (beats, seen, checks, drained) is lost: each holds an empty id for as long as it lives
- `{shoal}:changes` stream of at most about 10 000 entries, one a write: the ids that it touched
- `{shoal}:lock:NAME` locks
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import redis

from shoal_common.errors import Unavailable
from shoal_server.registry import FAREWELL_SECONDS, MAX_CHANGES, MAX_EVENTS, Changes, Event, Mark
from shoal_server.reports import Report
from shoal_server.squid import Squid, Verification
from shoal_server.stores.records import (
    Recalled,
    SquidRecord,
    beat_record,
    check_record,
    recalled,
    record_from,
)
from shoal_server.stores.redis_client import RedisUser, translated
from shoal_server.stores.redis_url import check, connect

PART = 1000
UUID_SECONDS = 3600
MOST_UUIDS = 300_000
"""Of one hour: three for each of as many squids as there may be. Whoever publishes under ever new ones costs
no more memory than that; that an agent has moved is not noticed for those that are forgotten then."""
REPORT_KEPT_SECONDS = 3600
COMPARE_SECONDS = 2.0

log = logging.getLogger(__name__)

# Removing and checking must be one step: another server may have heard the squid in between.
_EXPIRE = """
local gone = {}
for index = 5, #ARGV do
  local id = ARGV[index]
  local seen = redis.call('ZSCORE', KEYS[1], id)
  if seen and tonumber(seen) < tonumber(ARGV[1]) then
    local name = string.match(redis.call('HGET', KEYS[2], id) or '', '"hostname":"([^"]*)"')
    redis.call('ZREM', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*',
      'at', ARGV[2], 'kind', 'expired', 'id', id, 'detail', name or '')
    gone[#gone + 1] = id
  end
end
if #gone > 0 then
  redis.call('INCR', KEYS[5])
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[4], '*', 'ids', table.concat(gone, ' '))
end
return gone
"""
_PUT_VERIFICATION = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('INCR', KEYS[3])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*', 'ids', ARGV[1])
return 1
"""


_BEGIN = """
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[2], '') == 1
    and redis.call('ZSCORE', KEYS[3], '') and redis.call('HEXISTS', KEYS[4], '') == 1
    and redis.call('SISMEMBER', KEYS[5], '') == 1 then return end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], '', '{}')
redis.call('ZADD', KEYS[3], 0, '')
redis.call('HSET', KEYS[4], '', '{}')
redis.call('SADD', KEYS[5], '')
"""
_NOBODY = ""
"""The id that each part of the data holds beside those of squids: a Redis that evicts keys loses one part and
keeps the others."""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class RedisStore(RedisUser):
    """Keeps everything in Redis, under keys that begin with `prefix`; answers of the client are text."""

    def __init__(self, connect: Callable[[], redis.Redis], prefix: str = "{shoal}") -> None:
        super().__init__(connect)
        self._beats, self._seen, self._checks = f"{prefix}:beats", f"{prefix}:seen", f"{prefix}:checks"
        self._events, self._version, self._life = f"{prefix}:events", f"{prefix}:version", f"{prefix}:life"
        self._uuid, self._lock, self._drained = f"{prefix}:uuid:", f"{prefix}:lock:", f"{prefix}:drained"
        self._reports, self._changes = f"{prefix}:reports", f"{prefix}:changes"
        self._left = f"{prefix}:left:"
        self._holder = secrets.token_hex(8)
        self._clock: Callable[[], float] = time.time
        self._compare_at = 0.0

    @classmethod
    def from_url(cls, url: str) -> "RedisStore":
        """For a URL as `redis_url` explains; raises SettingsError for one that names no Redis."""
        check(url)
        return cls(lambda: connect(url))

    def now(self) -> float:
        """The time by the clock of Redis, as last compared in `changes`; until then by our own."""
        return self._clock()

    @translated
    def changes(self, since: Mark | None) -> Changes:
        self._compare_clocks()
        if since:
            pipe = self._redis.pipeline(transaction=True)
            self._ask_mark(pipe)
            pipe.xrange(self._changes, f"({since.word}", "+")
            *told, entries = pipe.execute()
            life, count = _mark(told)
            whole = life != since.life or count - since.count != len(entries)
            if not whole and (changed := self._changed(since, entries)):
                return changed
        return self._everything()

    def _ask_mark(self, pipe: Any) -> None:
        """What `_mark` reads; two GETs, since redis-py lets no MGET into a cluster's pipeline."""
        pipe.get(self._life)
        pipe.get(self._version)
        pipe.hexists(self._beats, _NOBODY)
        pipe.zscore(self._seen, _NOBODY)
        pipe.hexists(self._checks, _NOBODY)
        pipe.sismember(self._drained, _NOBODY)

    def _begin_life(self) -> None:
        """Where this data set has no name, or has lost a part.

        A Redis that refuses writes for now (its replicas or its disk are away) can be read all the same.
        """
        pipe = self._redis.pipeline(transaction=True)
        self._ask_mark(pipe)
        if _mark(pipe.execute())[0] is None:
            keys = [self._life, self._beats, self._seen, self._checks, self._drained]
            self._redis.eval(_BEGIN, len(keys), *keys, secrets.token_hex(8))

    def _changed(self, since: Mark, entries: Sequence[Any]) -> Changes | None:
        """None if the store was emptied between the one reading and the other: then nobody has gone."""
        if not entries:
            return Changes(since, ())
        ids = list(dict.fromkeys(key for _, fields in entries for key in _touched(fields)))
        life, *rows = self._rows(ids)
        if life != since.life:
            return None
        known = {record.id: record for record in _records(ids, rows)}
        mark = Mark(since.life, since.count + len(entries), entries[-1][0])
        return Changes(mark, list(known.values()), [key for key in ids if key not in known])

    def _everything(self) -> Changes:
        """What is written meanwhile comes once more, by the feed."""
        self._begin_life()
        pipe = self._redis.pipeline(transaction=True)
        self._ask_mark(pipe)
        pipe.xrevrange(self._changes, count=1)
        pipe.zrange(self._seen, 0, -1)
        *told, newest, ids = pipe.execute()
        life, count = _mark(told)
        mark = Mark(str(life), count, newest[0][0] if newest else "0-0")
        return Changes(mark, self._in_parts([key for key in ids if key != _NOBODY], mark.life), whole=True)

    def _in_parts(self, ids: Any, life: str) -> Iterator[SquidRecord]:
        """A part at a time, so that other commands come between, and memory for all at once is not needed.

        Raises Unavailable if the store is not in this life any more: it was emptied meanwhile.
        """
        while ids:
            part = ids[-PART:]
            del ids[-PART:]
            present, *rows = self._rows(part)
            if present != life:
                raise Unavailable("the store was emptied while it was read")
            yield from _records(part, rows)

    def get(self, ids: Iterable[str]) -> Mapping[str, Squid]:
        keys = list(ids)
        if not keys:
            return {}
        _, *rows = self._rows(keys)
        return {record.id: record.squid for record in _records(keys, rows)}

    @translated
    def _rows(self, keys: list[str]) -> Any:
        """The life of the store, and what it holds of these squids, a list for each thing."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.get(self._life)
        pipe.hmget(self._beats, keys)
        pipe.zmscore(self._seen, keys)
        pipe.hmget(self._checks, keys)
        pipe.smismember(self._drained, keys)
        return pipe.execute()

    @translated
    def recall(self, ids: Iterable[str]) -> Mapping[str, Recalled]:
        keys = list(ids)
        if not keys:
            return {}
        found: Sequence[Any] = self._redis.hmget(self._beats, keys)
        pasts = zip(keys, map(_recall, keys, found), strict=True)
        return {key: past for key, past in pasts if past is not None}

    @translated
    def ids_of(self, uuids: Iterable[str]) -> Mapping[str, str]:
        names = list(uuids)
        if not names:
            return {}
        now = self.now()
        pipe = self._redis.pipeline(transaction=False)
        for hour in (now - UUID_SECONDS, now):
            pipe.hmget(self._agents(hour), names)
        found = [dict(zip(names, keys, strict=True)) for keys in pipe.execute()]
        return {name: key for name in names if (key := found[1][name] or found[0][name])}

    def _agents(self, at: float) -> str:
        """Where agents of that hour are noted; a key that is not written any more ends by itself."""
        return f"{self._uuid}{int(at // UUID_SECONDS)}"

    @translated
    def farewells(self, uuids: Iterable[str]) -> Mapping[str, float]:
        names = list(uuids)
        found: Sequence[Any] = self._redis.mget([self._left + name for name in names]) if names else []
        return {uuid: float(at) for uuid, at in zip(names, found, strict=True) if at}

    @translated
    def put_farewells(self, said: Mapping[str, float]) -> None:
        pipe = self._redis.pipeline(transaction=True)
        for uuid, at in said.items():
            pipe.set(self._left + uuid, repr(at), ex=FAREWELL_SECONDS)
        pipe.execute()

    @translated
    def put(self, squids: Sequence[Squid], gone: Sequence[str], events: Sequence[Event]) -> None:
        ids, agents = [squid.id for squid in squids], self._agents(self.now())
        pipe: Any = self._redis.pipeline(transaction=True)
        if gone:
            pipe.hdel(self._beats, *gone)
            pipe.hdel(self._checks, *gone)
            pipe.zrem(self._seen, *gone)
        if squids:
            pipe.hset(self._beats, items=_flat(ids, map(beat_record, squids)))
            pipe.execute_command("ZADD", self._seen, *_flat((squid.seen for squid in squids), ids))
            pipe.hset(agents, items=_flat((squid.beat.uuid for squid in squids), ids))
            pipe.expire(agents, 2 * UUID_SECONDS)
        for event in events:
            pipe.xadd(self._events, _fields(event), maxlen=MAX_EVENTS, approximate=True)
        self._count(pipe, [*gone, *ids])
        pipe.hlen(agents)
        if pipe.execute()[-1] > MOST_UUIDS:
            self._redis.delete(agents)

    @translated
    def put_verification(self, squid_id: str, verification: Verification, events: Sequence[Event]) -> None:
        keys = [self._beats, self._checks, self._version, self._changes]
        arguments = [squid_id, check_record(verification), str(MAX_CHANGES)]
        if self._redis.eval(_PUT_VERIFICATION, len(keys), *keys, *arguments):
            for event in events:
                self._redis.xadd(self._events, _fields(event), maxlen=MAX_EVENTS, approximate=True)

    @translated
    def put_drained(self, squid_id: str, drained: bool, events: Sequence[Event]) -> None:
        pipe = self._redis.pipeline(transaction=True)
        (pipe.sadd if drained else pipe.srem)(self._drained, squid_id)
        for event in events:
            pipe.xadd(self._events, _fields(event), maxlen=MAX_EVENTS, approximate=True)
        self._count(pipe, [squid_id])
        pipe.execute()

    def _count(self, pipe: Any, ids: Sequence[str]) -> None:
        """Note a write, and what it touched."""
        pipe.incr(self._version)
        pipe.xadd(self._changes, {"ids": " ".join(ids)}, maxlen=MAX_CHANGES, approximate=True)

    @translated
    def expire(self, ids: Sequence[str], silent_since: float, at: float) -> list[str]:
        keys = [self._seen, self._beats, self._checks, self._events, self._version, self._changes]
        arguments = [repr(silent_since), repr(at), str(MAX_EVENTS), str(MAX_CHANGES), *ids]
        gone: Any = self._redis.eval(_EXPIRE, len(keys), *keys, *arguments)
        return list(gone)

    @translated
    def put_report(self, report: Report) -> None:
        self._redis.hset(self._reports, report.server, json.dumps(asdict(report)))

    @translated
    def reports(self) -> list[Report]:
        found: Any = self._redis.hgetall(self._reports)
        reports = [Report.read(json.loads(text)) for text in found.values()]
        newest = max((report.at for report in reports), default=0.0)
        old = [report.server for report in reports if report.at < newest - REPORT_KEPT_SECONDS]
        if old:
            self._redis.hdel(self._reports, *old)
        return [report for report in reports if report.server not in old]

    @translated
    def claim(self, name: str, seconds: float) -> bool:
        milliseconds = max(1, int(seconds * 1000))
        return bool(self._redis.set(self._lock + name, self._holder, nx=True, px=milliseconds))

    @translated
    def release(self, name: str) -> None:
        self._redis.eval(_RELEASE, 1, self._lock + name, self._holder)

    def _compare_clocks(self) -> None:
        """Servers whose clocks differ must not expire each other's squids. Nodes of a cluster have no
        common clock; there the servers' own have to agree. Between comparisons the steady clock counts on:
        what is stored in the moment after ours was set must not be stamped by it.
        """
        client: Any = self._redis
        if time.monotonic() < self._compare_at or isinstance(client, redis.RedisCluster):
            return
        before = time.monotonic()
        answer = client.time()
        after = time.monotonic()
        ahead = answer[0] + answer[1] / 1e6 - (before + after) / 2
        self._clock = lambda: time.monotonic() + ahead
        self._compare_at = after + COMPARE_SECONDS


def _mark(told: Sequence[Any]) -> tuple[str | None, int]:
    """The life's name, None if there is none or a part of the data was lost; and the count of writes."""
    life, count, beats, seen, checks, drained = told
    whole = beats and seen is not None and checks and drained
    return (life if whole else None), int(count or 0)


def _recall(key: str, beat: str | None) -> Recalled | None:
    """A record that cannot be read costs its squid its past alone."""
    try:
        return None if beat is None else recalled(beat)
    except ValueError as error:
        log.debug("%s: a record that cannot be read is left out: %r", key, error)
        return None


def _records(keys: Iterable[str], rows: Sequence[Any]) -> Iterator[SquidRecord]:
    for row in zip(keys, *rows, strict=True):
        if row[1] is not None and row[2] is not None and (record := _read(*row)):
            yield record


def _read(key: str, beat: str, seen: float | str, check: str | None, drained: bool) -> SquidRecord | None:
    """A record that cannot be read costs its squid alone; the next heartbeat writes it anew.

    A cluster's pipeline tells numbers as text, unless the protocol has a form for them (RESP3).
    """
    try:
        return record_from(beat, float(seen), check, drained=bool(drained))
    except ValueError as error:
        log.debug("%s: a record that cannot be read is left out: %r", key, error)
        return None


def _touched(fields: Any) -> Sequence[str]:
    """The ids that one write touched; a cluster's pipeline tells fields as they come: a name, its value."""
    ids: str = fields["ids"] if isinstance(fields, dict) else fields[1]
    return ids.split(" ")


def _flat(names: Iterable[Any], values: Iterable[Any]) -> list[Any]:
    """Pairs one behind the other, as Redis takes them."""
    return [part for pair in zip(names, values, strict=True) for part in pair]


def _fields(event: Event) -> dict[Any, Any]:
    return {"at": repr(event.at), "kind": event.kind.value, "id": event.squid_id, "detail": event.detail}
