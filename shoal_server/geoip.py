"""Where an address is and whose: the operator's table first, then the databases in their order.

Each of the files may be replaced while the server runs. A new one that cannot be used is refused with
the reason, and what was read before stays in use.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from shoal_common.errors import SettingsError
from shoal_server.databases import CityDatabase, OwnerDatabase, Reopened
from shoal_server.followed import Followed
from shoal_server.georecords import shared_owner
from shoal_server.locations import Location, LocationTable
from shoal_server.networks import Belonging, read_networks, together
from shoal_server.prefixes import Prefixes, parsed, relayed
from shoal_server.squid import UNKNOWN_OWNER, Owner, Place

LOOK_SECONDS = 2.0
_NO_NETWORKS: frozenset[str] = frozenset()

T = TypeVar("T")


class Domains(Protocol):
    """Knows names of addresses by reverse DNS, of some of them and sometimes only later. Never waits."""

    def of(self, address: str) -> str | None:
        """The registered domain if it is known by now."""

    def name(self, address: str) -> str | None:
        """The confirmed host name if it is known by now."""


@dataclass(frozen=True, slots=True)
class _Sources:
    """All files as read at one time."""

    table: LocationTable
    cities: tuple[CityDatabase, ...]
    owners: tuple[OwnerDatabase, ...]
    networks: Prefixes[Belonging]


_Spot = tuple[_Sources, Location | None, int, str]
"""An address by number and text, and what the table says of it."""


class GeoIP:
    """The Locator of a running server. `generation` changes when the answers may have changed."""

    def __init__(
        self,
        table: Path | None,
        databases: Sequence[Path],
        domains: Domains | None = None,
        networks: Sequence[Path] = (),
    ) -> None:
        """Raises SettingsError with the mistakes of every file."""
        self._domains = domains
        mistakes: list[str] = []
        self._databases = _followed(databases, Reopened().open, mistakes)
        self._tables = _followed([table] if table else [], LocationTable.read, mistakes)
        self._networks = _followed(networks, read_networks, mistakes)
        if mistakes:
            raise SettingsError(mistakes)
        self._sources = self._together()
        self.generation = 0

    def find(self, address: str, host: str | None = None) -> tuple[Place | None, Owner]:
        """Where an IPv4, IPv6 or mapped address is, and whose, as far as any source knows.

        `host` is the name that the machine goes by, for the table's lines of names; without one, or where
        it says nothing, the name by reverse DNS counts. Reads memory and mapped files alone; equal answers
        are one object. What is no address is nowhere.
        """
        spot = self._spot(address, host)
        return (_place(spot), self._owner(spot)) if spot else (None, UNKNOWN_OWNER)

    def locate(self, address: str, host: str | None = None) -> Place | None:
        """The place of an address; None when unknown. See `find`."""
        spot = self._spot(address, host)
        return _place(spot) if spot else None

    def placed(self, address: str) -> bool:
        """Whether the operator's table holds the address."""
        try:
            return self._sources.table.at(parsed(address)[0]) is not None
        except ValueError:
            return False

    @property
    def attributions(self) -> tuple[str, ...]:
        """What the licences of the databases in use demand to be shown where answers are."""
        texts = (file.value.attribution for file in self._databases)
        return tuple(dict.fromkeys(text for text in texts if text))

    @property
    def built(self) -> float | None:
        """When the oldest of the databases was made (seconds since 1970)."""
        return min((float(file.value.built) for file in self._databases), default=None)

    def run(self, stop: threading.Event) -> None:
        """Follow the files until told to stop."""
        while not stop.wait(LOOK_SECONDS):
            self.follow()

    def follow(self) -> None:
        """Read each file again that was replaced; one that cannot be used leaves what it said before."""
        fresh = [file.follow() for file in self._databases]
        fresh += [file.follow() for file in self._tables]
        fresh += [file.follow() for file in self._networks]
        if any(fresh):
            self._sources = self._together()
            self.generation += 1

    def _together(self) -> _Sources:
        databases = [file.value for file in self._databases]
        return _Sources(
            self._tables[0].value if self._tables else LocationTable(),
            tuple(base for base in databases if isinstance(base, CityDatabase)),
            tuple(base for base in databases if isinstance(base, OwnerDatabase)),
            together(file.value for file in self._networks),
        )

    def _spot(self, address: str, host: str | None) -> _Spot | None:
        try:
            number, text = parsed(address)
        except ValueError:
            return None
        sources = self._sources
        location = sources.table.at(number)
        if location is None and sources.table.knows_names:
            location = self._named(sources.table, text, host)
        return sources, location, number, text

    def _named(self, table: LocationTable, text: str, host: str | None) -> Location | None:
        location = table.named(host) if host else None
        if location is None and self._domains and (name := self._domains.name(text)):
            location = table.named(name)
        return location

    def _owner(self, spot: _Spot) -> Owner:
        sources, location, number, text = spot
        domain = self._domains.of(text) if self._domains else None
        owner = _known_owner(sources.owners, number, text)
        belonging = sources.networks.at(number)
        if location is None and belonging is None and domain is None:
            return owner
        region, networks, metered = None, _NO_NETWORKS, False
        if belonging:
            region, networks, metered = belonging.region, belonging.networks, belonging.metered
        if location:
            region, networks = location.region or region, location.networks | networks
        return shared_owner(owner.asn, owner.organisation, domain or owner.domain, region, networks, metered)


def _place(spot: _Spot) -> Place | None:
    sources, location, number, text = spot
    if location:
        return location.place
    if number > 0:
        number, text = relayed(number) or (number, text)
    for base in sources.cities:
        if place := base.at(number, text):
            return place
    return None


def _known_owner(bases: Sequence[OwnerDatabase], number: int, text: str) -> Owner:
    if number > 0:
        number, text = relayed(number) or (number, text)
    owner = UNKNOWN_OWNER
    for base in bases:
        known = base.at(number, text)
        owner = known if owner is UNKNOWN_OWNER else owner.completed(known)
    return owner


def _followed(paths: Iterable[Path], read: Callable[[Path], T], mistakes: list[str]) -> list[Followed[T]]:
    """Those that can be used; the mistakes of the others."""
    files = []
    for path in paths:
        try:
            files.append(Followed(path, read))
        except SettingsError as error:
            mistakes.extend(error.mistakes)
    return files
