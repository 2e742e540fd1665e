"""Fetches a GeoIP database on an operator's word, and says how old those are that there are.

A running server fetches nothing by itself: it follows the file that is replaced here.
"""

import gzip
import http.client
import re
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from shoal_common.errors import SettingsError, Unavailable
from shoal_common.version import VERSION
from shoal_server.databases import open_database
from shoal_server.geounpack import PIECE, unpacked

DBIP_CITY_LITE = "https://download.db-ip.com/free/dbip-city-lite-{year}-{month}.mmdb.gz"
"""Free of charge under CC-BY 4.0, new each month, with MaxMind's schema."""
STALL_SECONDS = 30.0
MOST_FETCHED = 1 << 29
MOST_UNPACKED = 1 << 31
DAY_SECONDS = 86_400

Progress = Callable[[int, int | None], None]
"""Told the bytes so far, and how many there will be, if that is known."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes over the network, bytes on disk, and seconds without a byte."""

    fetched: int = MOST_FETCHED
    unpacked: int = MOST_UNPACKED
    stall: float = STALL_SECONDS


@dataclass(frozen=True, slots=True)
class Status:
    """One database file.

    `kind` is what it calls itself, `built` when it was made (seconds since 1970), `nodes` the size of its
    search tree; all of them are None when it cannot be used, and `problem` says why.
    """

    path: Path
    kind: str | None = None
    built: int | None = None
    age_days: float | None = None
    size: int | None = None
    nodes: int | None = None
    attribution: str | None = None
    problem: str | None = None


def status(paths: Sequence[Path], now: float) -> list[Status]:
    """What there is to know of each file; `now` in seconds since 1970."""
    return [_status(path, now) for path in paths]


def _status(path: Path, now: float) -> Status:
    try:
        base = open_database(path)
        size = path.stat().st_size
    except SettingsError as error:
        return Status(path, problem=str(error).removeprefix(f"{path}: "))
    except OSError as error:
        return Status(path, problem=str(error.strerror))
    age = (now - base.built) / DAY_SECONDS
    return Status(path, base.kind, base.built, age, size, base.nodes, base.attribution)


def fetch(
    url: str, to: Path, progress: Progress, *, today: date, limits: Limits = Limits()
) -> tuple[Path, ...]:
    """Fetch the database or databases at `url` into the directory `to`, each in place of an older one.

    `url` leads to an `.mmdb` file, packed with gzip or not, or to a tar archive of such files, as npm's
    packages are; `{year}` and `{month}` in it stand for this month, or for the last one where there is
    nothing yet. The files get names without a date. Nothing is replaced before every new file has been
    opened and records of it were read. The environment's proxies are used. Raises Unavailable when it
    cannot be had, SettingsError when it is not what is needed or cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=to, prefix=".fetch-") as scratch:
            packed = Path(scratch) / "packed"
            found = _download_first(_candidates(url, today), packed, progress, limits)
            return tuple(path.replace(to / path.name) for path in _checked(found, packed, limits.unpacked))
    except OSError as error:
        raise SettingsError([f"{to}: {error.strerror or error}"]) from None


def _candidates(url: str, today: date) -> Sequence[str]:
    """The addresses to try in turn."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise SettingsError([f"{_shown(url)}: it takes a URL beginning http:// or https://, without a user"])
    days = (today, today.replace(day=1) - timedelta(days=1))
    return list(dict.fromkeys(url.replace("{year}", f"{d:%Y}").replace("{month}", f"{d:%m}") for d in days))


def _shown(url: str) -> str:
    """A URL without what may be secret in it."""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0])


def _download_first(urls: Sequence[str], to: Path, progress: Progress, limits: Limits) -> str:
    """Download from the first that there is; returns it."""
    for url in urls:
        response = _answer(url, limits.stall, may_lack=url != urls[-1])
        if response:
            with response:
                _download(response, url, to, progress, limits)
            return url
    raise AssertionError("the last one is there or raises")


def _answer(url: str, stall: float, *, may_lack: bool) -> http.client.HTTPResponse | None:
    """The beginning of the answer; None when there is nothing at the URL, if it may lack."""
    request = urllib.request.Request(url, headers={"User-Agent": f"shoal-server/{VERSION}"})  # noqa: S310 - checked
    try:
        answer: http.client.HTTPResponse = _opener().open(request, timeout=stall)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == HTTPStatus.NOT_FOUND and may_lack:
                return None
            raise Unavailable(f"{_shown(url)}: HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{_shown(url)}: {_reason(error)}") from None
    return answer


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS by the environment's proxies; a redirection leads to nothing else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "it does not answer in time"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _download(
    response: http.client.HTTPResponse, url: str, to: Path, progress: Progress, limits: Limits
) -> None:
    whole = response.length
    done = 0
    with to.open("wb") as file:
        for piece in _pieces(response, url):
            done += len(piece)
            if max(done, whole or 0) > limits.fetched:
                raise Unavailable(f"{_shown(url)}: more than {limits.fetched} bytes")
            file.write(piece)
            progress(done, whole)
    if whole is not None and done < whole:
        raise Unavailable(f"{_shown(url)}: it broke off after {done} of {whole} bytes")


def _pieces(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            piece = response.read1(PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{_shown(url)}: {_reason(error)}") from None
        if not piece:
            return
        yield piece


def _checked(url: str, packed: Path, most: int) -> Sequence[Path]:
    """The databases in what was fetched from `url`, each of which can be used."""
    try:
        files = list(unpacked(url, packed, most))
        for path in files:
            open_database(path)
            path.chmod(0o644)
    except SettingsError as error:
        mistakes = [text.removeprefix(f"{packed.parent}/") for text in error.mistakes]
        raise SettingsError([f"{_shown(url)}: {text}" for text in mistakes]) from None
    except (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
        raise SettingsError([f"{_shown(url)}: it is damaged: {error}"]) from None
    return files
