"""Where an address is and whose: the operator's table first, then the databases in their order.

The files may be replaced while the server runs. A new one that cannot be used is refused with the
reason, and the old one stays in use.
"""

import ipaddress
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shoal_common.errors import SettingsError
from shoal_server.databases import CityDatabase, OwnerDatabase, open_database
from shoal_server.locations import Address, LocationTable
from shoal_server.squid import Owner, Place

LOOK_SECONDS = 2.0

log = logging.getLogger(__name__)

Signature = tuple[int, int, int] | None


class Domains(Protocol):
    """Knows registered domains of addresses, of some of them and sometimes only later."""

    def of(self, address: str) -> str | None:
        """The domain if it is known by now. Never waits."""


@dataclass(frozen=True, slots=True)
class _Sources:
    """All files as read at one time."""

    table: LocationTable
    databases: tuple[CityDatabase | OwnerDatabase, ...]


class GeoIP:
    """The Locator of a running server. `generation` changes when the answers may have changed."""

    def __init__(self, table: Path | None, databases: Sequence[Path], domains: Domains | None = None) -> None:
        """Raises SettingsError with the mistakes of every file."""
        self._table = table
        self._databases = tuple(databases)
        self._domains = domains
        self._signatures = self._look()
        self._sources = self._read()
        self.generation = 0

    def locate(self, address: str) -> Place | None:
        """The place of an IPv4, IPv6 or mapped address; None when unknown."""
        sources, parsed = self._sources, _unmapped(address)
        if place := sources.table.locate(parsed):
            return place
        cities = (base for base in sources.databases if isinstance(base, CityDatabase))
        return next((place for base in cities if (place := base.locate(parsed))), None)

    def owner(self, address: str) -> Owner:
        """Whose network the address is in, as far as any source knows."""
        parsed = _unmapped(address)
        owner = Owner(domain=self._domains.of(str(parsed)) if self._domains else None)
        for base in self._sources.databases:
            if isinstance(base, OwnerDatabase):
                owner = owner.completed(base.owner(parsed))
        return owner

    def placed(self, address: str) -> bool:
        """Whether the operator's table holds the address."""
        return self._sources.table.locate(_unmapped(address)) is not None

    def run(self, stop: threading.Event) -> None:
        """Follow the files until told to stop."""
        while not stop.wait(LOOK_SECONDS):
            self.follow()

    def follow(self) -> None:
        """Read the files again if one was replaced; a mistake in any leaves all as they were."""
        signatures = self._look()
        if signatures == self._signatures:
            return
        self._signatures = signatures
        try:
            self._sources = self._read()
        except SettingsError as error:
            for mistake in error.mistakes:
                log.warning("%s; what was read before stays in use", mistake)
        else:
            self.generation += 1
            log.info("location table and databases were read again")

    def _read(self) -> _Sources:
        mistakes: list[str] = []
        databases: list[CityDatabase | OwnerDatabase] = []
        table = LocationTable({})
        for path in self._databases:
            try:
                databases.append(open_database(path))
            except SettingsError as error:
                mistakes.extend(error.mistakes)
        try:
            table = LocationTable.read(self._table) if self._table else table
        except SettingsError as error:
            mistakes.extend(error.mistakes)
        if mistakes:
            raise SettingsError(mistakes)
        return _Sources(table, tuple(databases))

    def _look(self) -> tuple[Signature, ...]:
        files = (self._table, *self._databases) if self._table else self._databases
        return tuple(_signature(path) for path in files)


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _unmapped(address: str) -> Address:
    parsed = ipaddress.ip_address(address)
    return getattr(parsed, "ipv4_mapped", None) or parsed
