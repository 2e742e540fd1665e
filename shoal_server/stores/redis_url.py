"""How a store's URL becomes a Redis client: one server, sentinels, or a cluster.

- `redis://user:password@host:6379/0`, `rediss://…` with TLS, `unix:///path`
- `redis+sentinel://user:password@host:26379,host:26379/NAME/0` (also `rediss+sentinel`: TLS to the sentinels
  and to the master): the master NAME
- `redis+cluster://user:password@host:6379` (also `rediss+cluster`)

All take redis-py's options behind a `?`, such as `ssl_ca_certs=/etc/ssl/our-authority.pem`.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
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
            (redis.SSLConnection if _is_secure(parts) else redis.Connection)(**_asked_for(parts))
        elif parts.scheme.endswith("+cluster"):
            HostPort.parse(parts.netloc.rpartition("@")[2], 6379)
        else:
            pool = redis.ConnectionPool.from_url(url)
            pool.make_connection()  # opens nothing yet
            str(pool.connection_kwargs.get("host", "")).encode("idna")
    except (ValueError, TypeError) as error:  # TypeError: an option that there is not
        raise SettingsError([f"[store] url: {redacted(url)}: {error}"]) from None


def check_files(url: str) -> None:
    """Raises SettingsError if a certificate or key that a good URL names cannot be used."""
    parts = urlsplit(url)
    asked = _asked_for(parts) if _is_secure(parts) else {}
    files = [asked[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if asked.get(name)]
    context = ssl.create_default_context()
    try:
        for file in files:
            Path(file).open("rb").close()  # of what is missing OpenSSL does not tell the name
        if asked.get("ssl_ca_certs") or asked.get("ssl_ca_path"):
            context.load_verify_locations(asked.get("ssl_ca_certs"), asked.get("ssl_ca_path"))
        if own := asked.get("ssl_certfile"):  # without any password OpenSSL would ask for one on the terminal
            context.load_cert_chain(own, asked.get("ssl_keyfile"), asked.get("ssl_password", ""))
    except ssl.SSLError as error:
        raise SettingsError([f"[store] url: cannot use {', '.join(files)}: {error}"]) from None
    except OSError as error:
        named = error.filename or asked.get("ssl_ca_path")
        raise SettingsError([f"[store] url: cannot read {named}: {error.strerror}"]) from None


def connect(url: str, *, seconds: float = ANSWER_SECONDS, binary: bool = False) -> redis.Redis:
    """A client of the servers that `url` names; raises RedisClusterException when a cluster is away.

    A command may take `seconds`; answers are text, or bytes with `binary`.
    """
    options = _options(seconds, binary=binary)
    parts = urlsplit(url)
    if parts.scheme.endswith("+sentinel"):
        hosts, name, database = _sentinels(parts)
        places = [(place.host, place.port) for place in hosts]
        common = {**options, **_asked_for(parts), "ssl": _is_secure(parts)}
        sentinel: Any = Sentinel(places, sentinel_kwargs=common)  # type: ignore[no-untyped-call]
        master: redis.Redis = sentinel.master_for(name, db=database, **common, **_login(parts))
        return master
    if parts.scheme.endswith("+cluster"):
        cluster: Any = redis.RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
        return cluster  # type: ignore[no-any-return]  # it has the commands, and no common type with Redis
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 1), **options)


def _options(seconds: float, *, binary: bool) -> Mapping[str, Any]:
    return {
        "decode_responses": not binary,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
    }


def _is_secure(parts: SplitResult) -> bool:
    return parts.scheme.startswith("rediss")


def _asked_for(parts: SplitResult) -> Mapping[str, Any]:
    """The options behind the `?`, each of its type; those of its place are in the URL before it."""
    options = parse_url(f"redis://host/?{parts.query}")  # type: ignore[no-untyped-call]
    return {name: value for name, value in options.items() if name not in ("host", "port", "db")}


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
