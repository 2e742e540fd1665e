"""What the client remembers between runs: the last good choice, one for each service.

It makes the present choice stick, and is what there is to test when no server answers. It is only ever a
hint: every squid in it is tested again before use, and without a directory to write to all else works.
"""

import fcntl
import json
import math
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shoal_client import files
from shoal_client.candidates import Candidate, Source
from shoal_client.choice import Groups, Preference
from shoal_common.errors import ShoalError, Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort, port_number

USUAL = Path("/var/lib/shoal")
MAX_BYTES = 64 * 1024


class Busy(ShoalError):  # noqa: N818
    """Another run holds the lock, since `seconds`."""

    def __init__(self, holder: str, since: float, seconds: float) -> None:
        began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since))
        super().__init__(f"another run of shoal-client ({holder}) is at work since {began}")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Remembered:
    """The choice of an earlier run, when that was (s since 1970), and what it would rather have chosen."""

    time: float
    groups: Groups
    preferred: Preference | None = None

    @property
    def members(self) -> tuple[Candidate, ...]:
        """All squids in it."""
        return tuple(member for group in self.groups for member in group)

    def without_lan(self) -> "Remembered | None":
        """Without what the LAN announced; None if that was all."""
        groups = (tuple(member for member in group if not member.heard) for group in self.groups)
        left = tuple(group for group in groups if group)
        return replace(self, groups=left) if left else None


def directory(wanted: Path, environ: Mapping[str, str], *, create: bool) -> Path:
    """Where this user's state belongs; with `create` it is there. One that is read-only can still be read.

    Whoever may not write to the usual place gets `$XDG_CACHE_HOME/shoal`, or else a directory of their own
    beside the temporary files. Raises Unavailable if it cannot be used, or is not safely ours.
    """
    if wanted == USUAL and os.geteuid() != 0 and not os.access(USUAL, os.W_OK | os.X_OK):
        cache = environ.get("XDG_CACHE_HOME", "")
        if not cache.startswith("/"):
            return _own_temporary(create=create)
        wanted = Path(cache, "shoal")
    if create:
        _make(wanted)
    return wanted


def _make(path: Path) -> None:
    """Everybody may read in it, whoever made it alone write, whatever umask cron or a service has."""
    usual = os.umask(0o022)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    finally:
        os.umask(usual)


def _own_temporary(*, create: bool) -> Path:
    """Everybody may write beside it, so it must be a real directory, ours, and closed to others."""
    try:
        path = Path(tempfile.gettempdir(), f"shoal-{os.geteuid()}")
    except FileNotFoundError:  # it tries by writing
        raise Unavailable("every directory for temporary files is full or write-protected") from None
    try:
        if create:
            path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except FileNotFoundError:
        return path
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Unavailable(f"{path} is not a directory of ours alone")
    return path


@contextmanager
def lock(where: Path, seconds: float) -> Iterator[None]:
    """Hold the lock that lets one run at a time write.

    Raises Busy if another run holds it for `seconds`, Unavailable if it cannot be taken at all. It ends
    with the process, however that ends.
    """
    path = where / "lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    try:
        _acquire(handle, time.monotonic() + seconds)
        _sign(handle)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(handle) from None
            time.sleep(0.05)
        except OSError as error:  # as on NFS without its lock daemon, or Lustre without -o flock
            raise Unavailable(f"its file system has none: {error.strerror}") from None
        else:
            return


def _sign(handle: int) -> None:
    """Say in the lock who holds it; its time of change says since when."""
    with suppress(OSError):  # held it is all the same, on a full disk too
        os.utime(handle)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}\n".encode("ascii"), 0)


def _busy(handle: int) -> Busy:
    signed = os.pread(handle, 100, 0).decode("ascii", "replace").strip()
    since = os.fstat(handle).st_mtime
    return Busy(signed if signed.isprintable() and signed else "unknown", since, time.time() - since)


def load(where: Path, service: Upstream) -> Remembered | None:
    """What was remembered for `service`. Raises Unavailable for a file that cannot be used."""
    path = _file(where, service)
    try:
        with path.open("rb") as file:
            body = file.read(MAX_BYTES)
        return _decode(json.loads(body))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Unavailable(f"{path} is damaged and not used: {error}") from None


def save(where: Path, service: Upstream, remembered: Remembered) -> None:
    """Remember it; raises Unavailable."""
    path = _file(where, service)
    try:
        files.replace(path, json.dumps(_encode(remembered), indent=1).encode())
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from None


def _file(where: Path, service: Upstream) -> Path:
    return where / f"{service.value}.json"


def _encode(remembered: Remembered) -> dict[str, object]:
    entry: dict[str, object] = {
        "time": remembered.time,
        "groups": [[_squid(member) for member in group] for group in remembered.groups],
    }
    if preferred := remembered.preferred:
        groups = [sorted(map(str, group)) for group in preferred.groups]
        entry["preferred"] = {"since": preferred.since, "groups": groups}
    return entry


def _squid(member: Candidate) -> dict[str, object]:
    return {
        "proxy": str(member.place),
        "squid": member.squid,
        "distance": member.distance,
        "local": member.local,
        "heard": member.heard,
        "announced": member.announced,
        "domain": member.domain,
        "unlisted": member.unlisted,
    }


def _decode(entry: Any) -> Remembered:
    groups = tuple(tuple(_member(squid) for squid in group) for group in entry["groups"])
    preferred = entry.get("preferred")
    return Remembered(_finite(entry["time"]), groups, None if preferred is None else _preference(preferred))


def _preference(entry: Any) -> Preference:
    groups = tuple(frozenset(_place(place) for place in group) for group in entry["groups"])
    return Preference(groups, _finite(entry["since"]))


def _member(entry: Any) -> Candidate:
    distance, unlisted = entry["distance"], entry.get("unlisted")
    return Candidate(
        place=_place(entry["proxy"]),
        source=Source.REMEMBERED,
        squid=str(entry["squid"]),
        distance=None if distance is None else _finite(distance),
        local=entry["local"] is True,
        heard=entry["heard"] is True,
        announced=float(entry.get("announced", 0.0)),
        domain=str(entry.get("domain", "")),
        unlisted=None if unlisted is None else float(unlisted),
    )


def _finite(number: Any) -> float:
    if not math.isfinite(found := float(number)):
        raise ValueError(f"{found} is no number to reckon with")
    return found


def _place(text: str) -> HostPort:
    place = HostPort.parse(text)
    port_number(place.port)
    return place
