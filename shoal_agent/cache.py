"""The cache beside us: what it is and where it listens, as far as /proc tells an unprivileged user."""

import ipaddress
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shoal_common.heartbeat import DEFAULT_PORT, CacheType, Upstream
from shoal_common.hosts import HostPort

PROC = Path("/proc")
_PROGRAMS = {"squid": CacheType.SQUID, "varnishd": CacheType.VARNISH}
_USUAL_PORTS = {CacheType.SQUID: (DEFAULT_PORT,), CacheType.VARNISH: (6081, 6082)}
_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Cache:
    """`place` is where this VM itself reaches it; `source` says how that is known."""

    place: HostPort
    type: CacheType
    upstream: Upstream
    source: str


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket, the user who made it, and its inode."""

    address: str
    port: int
    uid: int
    inode: int


@dataclass(frozen=True, slots=True)
class Process:
    """A running cache; `inodes` are its sockets, None when we may not see them."""

    pid: int
    type: CacheType
    uid: int
    inodes: frozenset[int] | None

    def owns(self, listener: Listener) -> bool:
        """Whether it listens there: surely by its open files, else by its user (root has too much else)."""
        if self.inodes is not None:
            return listener.inode in self.inodes
        return self.uid != 0 and listener.uid == self.uid


def find(port: int | None, kind: CacheType | None, upstream: Upstream, proc: Path = PROC) -> Cache:
    """The cache: at the configured `port` if there is one, else where one listens, else at 3128."""
    listening = listeners(proc)
    if port is not None:
        here = [each for each in listening if each.port == port]
        return Cache(_place(here, port), kind or CacheType.SQUID, upstream, "configured")
    wanted = [process for process in processes(proc) if kind in (None, process.type)]
    for process in sorted(wanted, key=lambda each: (each.type is not CacheType.SQUID, each.pid)):
        owned = [listener for listener in listening if process.owns(listener)]
        if owned:
            best = min(owned, key=lambda each: _rank(each, process.type))
            here = [each for each in owned if each.port == best.port]
            source = f"{process.type} listens there (process {process.pid})"
            return Cache(_place(here, best.port), process.type, upstream, source)
    default = kind or CacheType.SQUID
    usual = _USUAL_PORTS[default][0]
    return Cache(_place([], usual), default, upstream, "no cache is running; this is its usual port")


def is_listening(place: HostPort, proc: Path = PROC) -> bool:
    """Whether some socket of this VM listens at that port."""
    return any(listener.port == place.port for listener in listeners(proc))


def listeners(proc: Path = PROC) -> tuple[Listener, ...]:
    """All listening TCP sockets of this network namespace; empty where /proc does not tell."""
    return tuple(listener for name in ("tcp", "tcp6") for listener in _listeners(proc / "net" / name))


def _listeners(table: Path) -> Iterator[Listener]:
    """The kernel lists listening sockets first, so a busy squid's connections are not read."""
    with suppress(OSError), table.open(encoding="ascii") as lines:
        next(lines, None)
        for line in lines:
            fields = line.split()
            if len(fields) < 10 or fields[3] != _LISTEN:
                return
            address, _, port = fields[1].partition(":")
            yield Listener(_address(address), int(port, 16), int(fields[7]), int(fields[9]))


def _address(digits: str) -> str:
    """The kernel prints an address as 32-bit words, each a number of this machine."""
    words = (int(digits[start : start + 8], 16) for start in range(0, len(digits), 8))
    return str(ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words)))


def processes(proc: Path = PROC) -> Iterator[Process]:
    """The caches that run on this VM; one that ends meanwhile is left out."""
    for entry in proc.glob("[0-9]*"):
        with suppress(OSError, StopIteration):
            kind = _PROGRAMS.get((entry / "comm").read_text(encoding="utf-8", errors="replace").strip())
            if kind is not None:
                yield Process(int(entry.name), kind, _effective_uid(entry), _sockets(entry / "fd"))


def _effective_uid(entry: Path) -> int:
    lines = (entry / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    return int(next(line for line in lines if line.startswith("Uid:")).split()[2])


def _sockets(directory: Path) -> frozenset[int] | None:
    try:
        files = list(directory.iterdir())
    except OSError:
        return None
    names = []
    for file in files:
        # A busy cache closes one every moment.
        with suppress(OSError):
            names.append(str(file.readlink()))
    return frozenset(int(name[8:-1]) for name in names if name.startswith("socket:["))


def _rank(listener: Listener, kind: CacheType) -> tuple[bool, bool, int]:
    address = ipaddress.ip_address(listener.address)
    return address.is_loopback, listener.port not in _USUAL_PORTS[kind], listener.port


def _place(here: Sequence[Listener], port: int) -> HostPort:
    """Loopback if it listens there, as most do; otherwise the address that it is bound to."""
    bound = [ipaddress.ip_address(each.address) for each in here]
    if not bound or any(address.is_unspecified or str(address) == "127.0.0.1" for address in bound):
        return HostPort("127.0.0.1", port)
    return HostPort(str(bound[0]), port)
