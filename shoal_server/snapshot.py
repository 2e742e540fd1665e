"""An immutable picture of all listed squids: what lookups and pages read, so that they never wait.

The keeper makes a new picture when the store has changed. When the store is away it keeps the last
one and says since when: old knowledge of squids is worth more to a worker than none. When the store
comes back without its contents, the picture is what they are restored from.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Protocol

from shoal_common.errors import Unavailable
from shoal_server.registry import Registry
from shoal_server.squid import UNKNOWN_OWNER, Owner, Place, Squid

REFRESH_SECONDS = 0.2

log = logging.getLogger(__name__)


class Locator(Protocol):
    """Knows where addresses are."""

    @property
    def generation(self) -> int:
        """A number that changes when the answers may have changed."""

    def locate(self, address: str) -> Place | None:
        """The place of an address, or None. Reads memory or a mapped file, never the network."""

    def owner(self, address: str) -> Owner:
        """Whose network the address is in, as far as that is known now."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A squid, where it is, and whose network it is in."""

    squid: Squid
    place: Place | None
    owner: Owner = UNKNOWN_OWNER


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All squids at the moment `made` (seconds since 1970)."""

    listed: tuple[Listed, ...]
    made: float


class SnapshotKeeper:
    """Holds the present snapshot; `run` keeps it fresh."""

    def __init__(self, registry: Registry, locator: Locator) -> None:
        self._registry = registry
        self._locator = locator
        self._version: tuple[str, int] | None = None
        self._generation = -1
        self.current = Snapshot((), 0.0)
        self.stale_since: float | None = None

    def now(self) -> float:
        """The time by the store's clock (seconds since 1970)."""
        return self._registry.store.now()

    def refresh(self, now: float) -> None:
        """Take a new picture if the store has changed; if the store is away, note since when."""
        try:
            self._follow(now)
        except Unavailable as error:
            if self.stale_since is None:
                log.warning("answering from the snapshot of %d squids: %s", len(self.current.listed), error)
                self.stale_since = now
        else:
            if self.stale_since is not None:
                log.warning("the store is back after %.0f s", now - self.stale_since)
            self.stale_since = None

    def _follow(self, now: float) -> None:
        version, generation = self._registry.store.version(), self._locator.generation
        if version == self._version and generation == self._generation:
            return
        if self._version and (version[0] != self._version[0] or version[1] < self._version[1]):
            self._registry.restore([listed.squid for listed in self.current.listed])
            version = self._registry.store.version()
        squids = self._registry.store.squids()
        self.current = Snapshot(tuple(self._listed(squid) for squid in squids), now)
        self._version, self._generation = version, generation

    def run(self, stop: threading.Event) -> None:
        """Refresh until told to stop."""
        while not stop.is_set():
            self.refresh(self.now())
            stop.wait(REFRESH_SECONDS)

    def _listed(self, squid: Squid) -> Listed:
        outside = squid.public_address or squid.beat.ipv6
        return Listed(squid, self._place(squid), self._locator.owner(outside) if outside else UNKNOWN_OWNER)

    def _place(self, squid: Squid) -> Place | None:
        """The operator may have placed either address; the public one is the better key to a database."""
        addresses = (squid.public_address, squid.beat.private_ip, squid.beat.ipv6)
        return next((place for a in addresses if a and (place := self._locator.locate(a))), None)
