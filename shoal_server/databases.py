"""GeoIP databases: City files for places, ASN, ISP and Domain files for whose network it is.

A file is mapped into memory and stays so until its object is gone: replace it by renaming.
"""

import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import maxminddb

from shoal_common.errors import SettingsError
from shoal_server import georecords
from shoal_server.squid import UNKNOWN_OWNER, Owner, Place

PLACES = "City"
KINDS = {"city": PLACES, "enterprise": PLACES, "asn": "ASN", "isp": "ISP", "domain": "Domain"}
"""What a type is recognised by, and which kind it is of: the first that is in it counts."""
SAMPLE = 10_000
"""So many of its records are looked at for one that says something before a database is refused."""
MOST_REMEMBERED = 65_536
ATTRIBUTIONS = {
    "geolite2": "This product includes GeoLite2 data created by MaxMind, available from https://www.maxmind.com",
    "dbip": "IP Geolocation by DB-IP, https://db-ip.com",
}
"""What has to be shown where answers are (GeoLite2's end user licence; DB-IP Lite: CC-BY 4.0)."""
_MARK = re.compile("|".join(ATTRIBUTIONS))

T = TypeVar("T")
_NOT_KNOWN_YET = object()


class Database(Generic[T]):
    """One file: `path`, `kind` as it calls itself, `built` (seconds since 1970)."""

    def __init__(self, path: Path, reader: maxminddb.Reader, read: Callable[[Any], T], nothing: T) -> None:
        metadata = reader.metadata()
        self.path = path
        self.kind = metadata.database_type
        self.built = metadata.build_epoch
        self.nodes = metadata.node_count
        self._reader = reader
        self._read = read
        self._nothing = nothing
        self._six = metadata.ip_version == 6
        self._narrow: dict[int, Any] = {}
        self._wide: dict[int, Any] = {}

    @property
    def attribution(self) -> str | None:
        """What its licence demands to be shown, as far as its type, else its file's name, tells whose it is.

        `(compat=GeoLite2-ASN)` in a type is the schema that it keeps to, and says nothing of its maker.
        """
        own = self.kind.partition("(")[0]
        names = (name.lower().replace("-", "") for name in (own, self.path.name))
        found = next(filter(None, map(_MARK.search, names)), None)
        return ATTRIBUTIONS[found[0]] if found else None

    def at(self, number: int, text: str) -> T:
        """What it says of an address, given as `prefixes.parsed` gives it.

        Answers are remembered by networks of the size that sites announce (/24, /48), and those of large
        networks by the size that providers have (/16, /32), a bounded number of each.
        """
        wide, narrow = (number >> 16, number >> 8) if number < 0 else (number >> 96, number >> 80)
        known = self._narrow.get(narrow, _NOT_KNOWN_YET)
        if known is _NOT_KNOWN_YET:
            known = self._wide.get(wide, _NOT_KNOWN_YET)
        if known is not _NOT_KNOWN_YET:
            value: T = known
            return value
        if number >= 0 and not self._six:
            return self._nothing
        try:
            record, length = self._reader.get_with_prefix_len(text)
        except (maxminddb.InvalidDatabaseError, ValueError):  # a file that is damaged in this place
            return self._nothing
        value = self._value(record)
        if length <= (16 if number < 0 else 32):
            _remember(self._wide, wide, value)
        elif length <= (24 if number < 0 else 48):
            _remember(self._narrow, narrow, value)
        return value

    def _value(self, record: object) -> T:
        try:
            return self._read(record) if isinstance(record, dict) else self._nothing
        except (TypeError, AttributeError, ValueError, KeyError):  # a record of another shape says nothing
            return self._nothing

    def check(self, judge: Callable[[Any], T]) -> None:
        """Raises SettingsError when no record says anything, or `judge` reads the first such otherwise."""
        try:
            sample = (record for _, record in islice(self._reader, SAMPLE))
            record = next((one for one in sample if self._value(one) != self._nothing), None)
            good = record is not None and judge(record) == self._value(record)
        except (maxminddb.InvalidDatabaseError, TypeError, AttributeError, ValueError, KeyError):
            good = False
        if not good:
            raise SettingsError([f"{self.path}: a {self.kind} of which no record can be used"])


def _remember(values: dict[int, Any], key: int, value: object) -> None:
    if len(values) >= MOST_REMEMBERED:
        values.clear()
    values[key] = value


class CityDatabase(Database[Place | None]):
    """Places, in MaxMind's schema or in the flat one."""

    def __init__(self, path: Path, reader: maxminddb.Reader) -> None:
        super().__init__(path, reader, georecords.place, None)
        self.check(georecords.geoip2_place)


class OwnerDatabase(Database[Owner]):
    """Whose network an address is in: autonomous system, provider, or domain, as far as the file says."""

    def __init__(self, path: Path, reader: maxminddb.Reader) -> None:
        super().__init__(path, reader, georecords.owner, UNKNOWN_OWNER)
        self.check(georecords.geoip2_owner)


AnyDatabase = CityDatabase | OwnerDatabase


def open_database(path: Path, wanted: str | None = None) -> AnyDatabase:
    """Raises SettingsError when the file is missing, broken, or of no kind of use, or not of the `wanted`."""
    try:
        reader = maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).replace(f" ({path})", "")
        raise SettingsError([f"{path}: {reason}"]) from None
    try:
        return _by_kind(path, reader, wanted)
    except SettingsError:
        reader.close()
        raise


def kind_of(database_type: str) -> str | None:
    """City, ASN, ISP or Domain; None for a type that is of no use here."""
    return next((kind for word, kind in KINDS.items() if word in database_type.lower()), None)


def _by_kind(path: Path, reader: maxminddb.Reader, wanted: str | None) -> AnyDatabase:
    called = reader.metadata().database_type
    kind = kind_of(called)
    if kind is None:
        needed = "a City, ASN, ISP or Domain database is needed"
        raise SettingsError([f"{path}: a database of type {called}; {needed}"])
    if wanted not in (None, kind):
        raise SettingsError(
            [f"{path}: it was a database of kind {wanted}, and is one of kind {kind} ({called})"]
        )
    return CityDatabase(path, reader) if kind == PLACES else OwnerDatabase(path, reader)


class Reopened:
    """Opens files that may be replaced. Each stays of the kind that it was of when it was first opened.

    Whoever puts an ASN database where the City database was has mistaken the name: with it all places
    would be gone.
    """

    def __init__(self) -> None:
        self._kinds: dict[Path, str | None] = {}

    def open(self, path: Path) -> AnyDatabase:
        """Raises SettingsError as `open_database` does."""
        base = open_database(path, self._kinds.get(path))
        self._kinds[path] = kind_of(base.kind)
        return base
