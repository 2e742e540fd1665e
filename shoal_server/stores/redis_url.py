"""How a store's URL becomes a Redis client: one server, sentinels, or a cluster.

- `redis://user:password@host:6379/0`, `rediss://…` with TLS, `unix:///path`
- `redis+sentinel://user:password@host:26379,host:26379/NAME/0` (also `rediss+sentinel`): the master NAME
- `redis+cluster://user:password@host:6379` (also `rediss+cluster`)
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from shoal_common.errors import SettingsError
from shoal_common.hosts import HostPort, redacted

ANSWER_SECONDS = 2.0
"""How long a command may take: a Redis that hangs must not hold up heartbeats for longer."""


def check(url: str) -> None:
    """Raises SettingsError for a URL that names no Redis."""
    try:
        parts = urlsplit(url)
        if parts.scheme.endswith("+sentinel"):
            _sentinels(parts)
        elif parts.scheme.endswith("+cluster"):
            HostPort.parse(parts.netloc.rpartition("@")[2], 6379)
        else:
            pool = redis.ConnectionPool.from_url(url)
            pool.make_connection()  # opens nothing yet
            str(pool.connection_kwargs.get("host", "")).encode("idna")
    except (ValueError, TypeError) as error:  # TypeError: an option that there is not
        raise SettingsError([f"[store] url: {redacted(url)}: {error}"]) from None


def connect(url: str) -> redis.Redis:
    """A client of the servers that `url` names; raises redis.RedisError when a cluster is away."""
    parts = urlsplit(url)
    if parts.scheme.endswith("+sentinel"):
        hosts, name, database = _sentinels(parts)
        places = [(place.host, place.port) for place in hosts]
        secure = parts.scheme.startswith("rediss")
        sentinel: Any = Sentinel(places, sentinel_kwargs=_options(), **_options())  # type: ignore[no-untyped-call]
        master: redis.Redis = sentinel.master_for(name, db=database, ssl=secure, **_login(parts))
        return master
    if parts.scheme.endswith("+cluster"):
        cluster: Any = redis.RedisCluster.from_url(url.replace("+cluster", "", 1), **_options())
        return cluster  # type: ignore[no-any-return]  # it has the commands, and no common type with Redis
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 1), **_options())


def _options() -> Mapping[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": ANSWER_SECONDS,
    }


def _login(parts: SplitResult) -> Mapping[str, str]:
    login = {"username": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in login.items() if value}


def _sentinels(parts: SplitResult) -> tuple[list[HostPort], str, int]:
    """ValueError for a URL without sentinels or a master's name."""
    places = parts.netloc.rpartition("@")[2].split(",")
    name, _, database = parts.path.removeprefix("/").partition("/")
    if not name:
        raise ValueError("the master's name is missing: redis+sentinel://host:26379/NAME")
    return [HostPort.parse(place, 26379) for place in places], name, int(database or 0)
