"""The store that several servers share.

Keys, all with the hash tag `{shoal}` so that a Redis Cluster keeps them on one node:

- `{shoal}:beats`   hash, squid id -> JSON of what heartbeats say (written by intake alone)
- `{shoal}:seen`    sorted set, squid id -> when last heard (seconds since 1970)
- `{shoal}:checks`  hash, squid id -> JSON of its verification (written by verifiers alone)
- `{shoal}:uuid:UUID` agent uuid -> squid id, for an hour after it was last heard
- `{shoal}:events`  stream of at most about 10 000 events
- `{shoal}:version` counter of writes; `{shoal}:life` a random name of this data set
- `{shoal}:lock:NAME` locks
"""

import functools
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shoal_common.errors import InvalidHeartbeat, Unavailable
from shoal_server.registry import Event, EventKind
from shoal_server.squid import Squid, Verification
from shoal_server.stores.records import beat_record, check_record, squid_from

MAX_EVENTS = 10_000
ANSWER_SECONDS = 2.0
UUID_SECONDS = 3600

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")

# Removing and checking must be one step: another server may have heard the squid in between.
_EXPIRE = """
local gone = {}
for index = 4, #ARGV do
  local id = ARGV[index]
  local seen = redis.call('ZSCORE', KEYS[1], id)
  if seen and tonumber(seen) < tonumber(ARGV[1]) then
    local name = string.match(redis.call('HGET', KEYS[2], id) or '', '"hostname": "([^"]*)"')
    redis.call('ZREM', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*',
      'at', ARGV[2], 'kind', 'expired', 'id', id, 'detail', name or '')
    gone[#gone + 1] = id
  end
end
if #gone > 0 then redis.call('INCR', KEYS[5]) end
return gone
"""
_PUT_VERIFICATION = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('INCR', KEYS[3])
return 1
"""


def _translated(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Redis's errors end here; above, there is Unavailable."""

    @functools.wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(*args, **kwargs)
        except redis.RedisError as error:
            raise Unavailable(f"Redis: {error}") from error

    return call


class RedisStore:
    """Keeps everything in Redis, under keys that begin with `prefix`."""

    def __init__(self, client: redis.Redis, prefix: str = "{shoal}") -> None:
        self._redis = client
        self._beats, self._seen, self._checks = f"{prefix}:beats", f"{prefix}:seen", f"{prefix}:checks"
        self._events, self._version, self._life = f"{prefix}:events", f"{prefix}:version", f"{prefix}:life"
        self._uuid, self._lock = f"{prefix}:uuid:", f"{prefix}:lock:"
        self._expire = client.register_script(_EXPIRE)
        self._put_verification = client.register_script(_PUT_VERIFICATION)

    @classmethod
    def from_url(cls, url: str) -> "RedisStore":
        """`redis://`, `rediss://` or `unix://`; no connection is made yet."""
        client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),
        )
        return cls(client)

    @_translated
    def version(self) -> tuple[str, int]:
        life, count = self._redis.mget([self._life, self._version])
        if life is None:
            self._redis.set(self._life, secrets.token_hex(8), nx=True)
            life = self._redis.get(self._life)
        return str(life), int(count or 0)

    @_translated
    def squids(self) -> list[Squid]:
        pipe = self._redis.pipeline(transaction=True)
        pipe.hgetall(self._beats)
        pipe.zrange(self._seen, 0, -1, withscores=True)
        pipe.hgetall(self._checks)
        beats, seen, checks = pipe.execute()
        found = (self._read(key, beats[key], at, checks.get(key)) for key, at in seen if key in beats)
        return [squid for squid in found if squid]

    @_translated
    def get(self, ids: Iterable[str]) -> Mapping[str, Squid]:
        keys = list(ids)
        if not keys:
            return {}
        pipe = self._redis.pipeline(transaction=True)
        pipe.hmget(self._beats, keys)
        pipe.zmscore(self._seen, keys)
        pipe.hmget(self._checks, keys)
        rows = zip(keys, *pipe.execute(), strict=True)
        heard = (row for row in rows if row[1] is not None and row[2] is not None)
        return {squid.id: squid for row in heard if (squid := self._read(*row))}

    @_translated
    def ids_of(self, uuids: Iterable[str]) -> Mapping[str, str]:
        names = list(uuids)
        found: Sequence[Any] = self._redis.mget([self._uuid + name for name in names]) if names else []
        return {uuid: key for uuid, key in zip(names, found, strict=True) if key}

    @_translated
    def put(self, squids: Sequence[Squid], gone: Sequence[str], events: Sequence[Event]) -> None:
        pipe = self._redis.pipeline(transaction=True)
        if gone:
            pipe.hdel(self._beats, *gone)
            pipe.hdel(self._checks, *gone)
            pipe.zrem(self._seen, *gone)
        if squids:
            pipe.hset(self._beats, mapping={squid.id: beat_record(squid) for squid in squids})
            pipe.zadd(self._seen, {squid.id: squid.seen for squid in squids})
        for squid in squids:
            pipe.set(self._uuid + squid.beat.uuid, squid.id, ex=UUID_SECONDS)
        for event in events:
            pipe.xadd(self._events, _fields(event), maxlen=MAX_EVENTS, approximate=True)
        pipe.incr(self._version)
        pipe.execute()

    @_translated
    def put_verification(self, squid_id: str, verification: Verification, events: Sequence[Event]) -> None:
        record = check_record(verification)
        keys = [self._beats, self._checks, self._version]
        if self._put_verification(keys=keys, args=[squid_id, record]):
            for event in events:
                self._redis.xadd(self._events, _fields(event), maxlen=MAX_EVENTS, approximate=True)

    @_translated
    def expire(self, ids: Sequence[str], silent_since: float, at: float) -> list[str]:
        keys = [self._seen, self._beats, self._checks, self._events, self._version]
        return list(self._expire(keys=keys, args=[repr(silent_since), repr(at), MAX_EVENTS, *ids]))

    @_translated
    def events(self, count: int) -> list[Event]:
        entries: Any = self._redis.xrevrange(self._events, count=count)
        return [Event(float(e["at"]), EventKind(e["kind"]), e["id"], e["detail"]) for _, e in entries]

    def _read(self, key: str, beat: str, seen: float, check: str | None) -> Squid | None:
        """A record that cannot be read costs its squid alone; the next heartbeat writes it anew."""
        try:
            return squid_from(beat, seen, check)
        except (ValueError, KeyError, TypeError, InvalidHeartbeat) as error:
            log.debug("%s: a record that cannot be read is left out: %r", key, error)
            return None

    @_translated
    def claim(self, name: str, seconds: float) -> bool:
        return bool(self._redis.set(self._lock + name, "1", nx=True, px=max(1, int(seconds * 1000))))


def _fields(event: Event) -> dict[Any, Any]:
    return {"at": repr(event.at), "kind": event.kind.value, "id": event.squid_id, "detail": event.detail}
