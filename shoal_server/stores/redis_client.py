"""What all who use Redis have in common: when a client is made and let go, and how errors are told."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import redis
from redis.exceptions import RedisClusterException

from shoal_common.errors import Unavailable

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound="RedisUser")


class RedisUser:
    """Has a client, which `connect` makes when it is first needed, and again until it succeeds: that of a
    cluster cannot be made while the cluster is away.
    """

    def __init__(self, connect: Callable[[], redis.Redis]) -> None:
        self._connect = connect

    @functools.cached_property
    def _redis(self) -> Any:
        return self._connect()

    def let_go(self) -> None:
        """Forget the client; the next command makes a new one, on new connections."""
        self.__dict__.pop("_redis", None)


def translated(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
    """Redis's errors end here; above, there is Unavailable.

    A Redis that has become a replica keeps its connections. Where a name or an address now leads to another,
    they would go on to it for as long as it lives: they are let go.
    """

    @functools.wraps(method)
    def call(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, *args, **kwargs)
        except (redis.RedisError, RedisClusterException) as error:  # a cluster's is no RedisError
            if isinstance(error, redis.ReadOnlyError):
                self.let_go()
            raise Unavailable(f"Redis: {error}") from error

    return call
