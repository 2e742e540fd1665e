"""Who asks, as far as it matters to what he is told, and for what."""

from dataclasses import dataclass

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.squid import UNKNOWN_OWNER, Owner, Place


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for; `ipv4`: only squids that a reader without IPv6 can use."""

    service: Upstream = Upstream.BOTH
    types: frozenset[CacheType] = frozenset(CacheType)
    ipv4: bool = False


@dataclass(frozen=True, slots=True)
class Seat:
    """Where requesters sit who are all answered alike but for their own order of equals.

    `address` is given if it may be a squid's own; `inside`: it means something on our own site alone.
    """

    place: Place | None
    owner: Owner = UNKNOWN_OWNER
    inside: bool = False
    address: str | None = None
