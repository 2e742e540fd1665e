"""A cache of this VM: what it is, where it listens, and where it is tested and asked."""

import ipaddress
from dataclasses import dataclass

from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Cache:
    """`place` is where this VM itself reaches it, and its port is the one to announce.

    `source` says how that is known. `bound` are the addresses at which it listens on that port (empty:
    nothing listens there). `purpose` says how `upstream` is known. `cores` is how many processor cores it
    can keep busy. `pid` and `cores` are None when its processes cannot be seen.
    """

    place: HostPort
    type: CacheType
    upstream: Upstream
    source: str
    bound: frozenset[str] = frozenset()
    pid: int | None = None
    working_directory: str | None = None
    purpose: str = "configured"
    cores: int | None = None

    @property
    def manager(self) -> HostPort:
        """Where it is asked for its counters: over loopback, which it lets in, if it listens there."""
        if any(is_loopback(address) or is_any(address) for address in self.bound):
            loopback = next((each for each in sorted(self.bound) if is_loopback(each)), LOOPBACK)
            return HostPort(loopback, self.place.port)
        return self.place

    def listens_at(self, address: str) -> bool:
        """Whether a connection to this address of the VM reaches it, as far as is known."""
        if not self.bound or address in self.bound or "::" in self.bound:
            return True
        return ":" not in address and "0.0.0.0" in self.bound  # noqa: S104 - compared, not bound

    @property
    def loopback_only(self) -> bool:
        """Whether no other machine can reach it by itself."""
        return bool(self.bound) and all(is_loopback(address) for address in self.bound)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator said of the caches; None: find out. A port means one cache alone."""

    port: int | None = None
    address: str | None = None
    type: CacheType | None = None
    upstream: Upstream | None = None

    def fits(self, cache: Cache) -> bool:
        """Whether `cache` can be one that is meant."""
        return (
            self.port in (None, cache.place.port)
            and self.type in (None, cache.type)
            and (self.address is None or self.address in cache.bound)
        )


def is_any(address: str) -> bool:
    """Whether who listens there listens at every address."""
    return ipaddress.ip_address(address).is_unspecified


def is_loopback(address: str) -> bool:
    """Whether only this VM itself reaches the address."""
    return ipaddress.ip_address(address).is_loopback
