"""`locate` and `geoip`: where addresses are and whose, by the operator's own files; no server is needed."""

import argparse
import ipaddress
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shoal_common.errors import SettingsError
from shoal_server.commands.command import Answer, BadUsage, Call, Command
from shoal_server.commands.plain import Cell, facts, safe, table
from shoal_server.geofetch import DBIP_CITY_LITE, Progress, Status, fetch, status
from shoal_server.geoip import GeoIP
from shoal_server.settings import ServerSettings
from shoal_server.squid import Owner, Place

DIRECTORY = Path("/var/lib/GeoIP")
BAR = 30
STALE_DAYS = 60


def _locate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="an IPv4 or IPv6 address")


def _locate(call: Call) -> Answer:
    try:
        address = str(ipaddress.ip_address(call.args.address))
    except ValueError:
        raise BadUsage(f"{safe(call.args.address)!r} is no IPv4 or IPv6 address") from None
    settings = call.settings()
    geoip = GeoIP(settings.locations, settings.geoip, networks=settings.networks)
    place, owner = geoip.find(address)
    source = None if place is None else "location table" if geoip.placed(address) else "GeoIP database"
    data: dict[str, Any] = {"address": address, "source": source}
    data |= {"place": asdict(place) if place else None, "owner": _whose(owner)}
    lines: list[tuple[str, Cell]] = [("address", address), ("known from", source)]
    lines += [*_where(place), *_whose(owner).items()]
    return Answer(data, facts(lines))


def _where(place: Place | None) -> list[tuple[str, Cell]]:
    if place is None:
        return [("place", "nobody knows")]
    return [
        ("site", place.site),
        ("city", place.city),
        ("country", place.country_name or place.country_code),
        ("latitude", place.latitude),
        ("longitude", place.longitude),
    ]


def _whose(owner: Owner) -> dict[str, Any]:
    """What is known of the owner, in words and numbers alone."""
    known = {name: sorted(v) if isinstance(v, frozenset) else v for name, v in asdict(owner).items()}
    return {name: ", ".join(v) if isinstance(v, list) else v for name, v in known.items()}


def _geoip_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=["fetch", "status"],
        help="fetch: get a database, in place of the older one; status: what each database is, and how old",
    )
    parser.add_argument(
        "--url",
        default=DBIP_CITY_LITE,
        help="where it is: .mmdb, .mmdb.gz or a tar archive (default: DB-IP's City Lite of this month)",
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="DIRECTORY",
        help=f"where to put it (default: beside the first of [geo] databases, else {DIRECTORY})",
    )


def _geoip(call: Call) -> Answer:
    settings = call.settings()
    return _fetch(call, settings) if call.args.action == "fetch" else _ages(settings, call.now)


def _fetch(call: Call, settings: ServerSettings) -> Answer:
    to = call.args.to or (settings.geoip[0].parent if settings.geoip else DIRECTORY)
    try:
        to.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError([f"{to}: {error.strerror}"]) from None
    with _Bar() as bar:
        today = datetime.fromtimestamp(call.now, UTC).date()
        paths = fetch(call.args.url, to, bar.progress, today=today)
    found = status(paths, call.now)
    text = "".join(f"fetched {safe(each.path)} ({safe(each.kind)})\n" for each in found)
    notes = [f"{each.attribution}" for each in found if each.attribution]
    unused = [path for path in paths if path not in settings.geoip]
    notes += [f"{path} is not among [geo] databases: the server does not use it" for path in unused]
    return Answer([_fields(each) for each in found], text, notes=notes)


def _ages(settings: ServerSettings, now: float) -> Answer:
    found = status(settings.geoip, now)
    if not found:
        return Answer([], "[geo] databases names none; `shoal-server geoip fetch` gets a free one.\n")
    rows: list[list[Cell]] = [
        [
            str(each.path),
            each.kind,
            None if each.built is None else f"{datetime.fromtimestamp(each.built, UTC):%Y-%m-%d}",
            None if each.age_days is None else f"{each.age_days:.0f} d",
            each.problem or ("old: fetch it anew" if (each.age_days or 0) > STALE_DAYS else "ok"),
        ]
        for each in found
    ]
    code = int(any(each.problem for each in found))
    return Answer([_fields(each) for each in found], table(["file", "kind", "made", "age", ""], rows), code)


def _fields(each: Status) -> dict[str, Any]:
    return {**asdict(each), "path": str(each.path)}


class _Bar:
    """How far a download is, on stderr if that is a terminal; its line is gone afterwards."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._write("\r\x1b[K")

    @property
    def progress(self) -> Progress:
        return self._tell

    def _tell(self, got: int, whole: int | None) -> None:
        share = min(1.0, got / whole) if whole else 0.0
        of = f" of {whole / 1e6:.1f} MB, {share:4.0%}" if whole else " MB"
        self._write(f"\r[{'#' * round(BAR * share):{BAR}}] {got / 1e6:.1f}{of}\x1b[K")

    def _write(self, text: str) -> None:
        if self._shows:
            sys.stderr.write(text)
            sys.stderr.flush()


COMMANDS = {
    "locate": Command(_locate, _locate_arguments, takes_settings=True),
    "geoip": Command(_geoip, _geoip_arguments, takes_settings=True),
}
