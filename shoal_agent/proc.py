"""What /proc tells an unprivileged user of listening sockets and of the caches that run here."""

import ipaddress
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shoal_common.heartbeat import CacheType

PROC = Path("/proc")
_PROGRAMS = {"squid": CacheType.SQUID, "varnishd": CacheType.VARNISH}
_LISTEN = "0A"
_VARNISH_DEFAULT_PORT = 80


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket, the user who made it, and its inode."""

    address: str
    port: int
    uid: int
    inode: int


@dataclass(frozen=True, slots=True)
class Process:
    """A running cache; `inodes` are its sockets, None when we may not see them.

    `arguments` are those it was started with: any user may read them.
    """

    pid: int
    type: CacheType
    uid: int
    inodes: frozenset[int] | None
    arguments: tuple[str, ...] = ()

    def owns(self, listener: Listener) -> bool:
        """Whether it serves clients there.

        A Varnish says its ports in its arguments; else its open files tell, else its user (root has too
        much else).
        """
        if self.type is CacheType.VARNISH and listener.port not in self.served_ports:
            return False
        if self.inodes is not None:
            return listener.inode in self.inodes
        return self.type is CacheType.VARNISH or (self.uid != 0 and listener.uid == self.uid)

    @property
    def served_ports(self) -> frozenset[int]:
        """The ports of a Varnish: `-a [name=][address][:port][,protocol]` (varnishd(1)), 80 by default."""
        places = [place.rpartition("=")[2].partition(",")[0] for place in self._options("-a")]
        found = [re.fullmatch(r"(?:.*:)?([0-9]{1,5})", place) for place in places]
        ports = frozenset(int(match[1]) for match in found if match)
        return ports or frozenset([_VARNISH_DEFAULT_PORT])

    @property
    def working_directory(self) -> str | None:
        """What a Varnish was told by `-n`."""
        return next(iter(self._options("-n")), None)

    def _options(self, flag: str) -> Iterator[str]:
        for number, argument in enumerate(self.arguments):
            if argument == flag and number + 1 < len(self.arguments):
                yield self.arguments[number + 1]
            elif argument.startswith(flag) and len(argument) > len(flag):
                yield argument.removeprefix(flag)


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
    address = ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def processes(proc: Path = PROC) -> Iterator[Process]:
    """The caches that run on this VM; one that ends meanwhile is left out."""
    for entry in proc.glob("[0-9]*"):
        with suppress(OSError, StopIteration):
            kind = _PROGRAMS.get((entry / "comm").read_text(encoding="utf-8", errors="replace").strip())
            if kind is not None:
                user, inodes = _effective_uid(entry), _sockets(entry / "fd")
                yield Process(int(entry.name), kind, user, inodes, _arguments(entry))


def cpu_seconds(pid: int, proc: Path = PROC) -> float | None:
    """Processor time of a process and its children, living and ended, in seconds; None when it is gone.

    A tick is 1/100 s on every architecture that Linux has (USER_HZ, proc(5)).
    """
    own = _ticks(proc / str(pid))
    if own is None:
        return None
    try:
        children = (proc / str(pid) / "task" / str(pid) / "children").read_text(encoding="ascii").split()
    except OSError:
        children = []
    return (own + sum(_ticks(proc / child) or 0 for child in children)) / 100


def _ticks(entry: Path) -> int | None:
    try:
        fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15])
    except (OSError, ValueError):
        return None


def _arguments(entry: Path) -> tuple[str, ...]:
    raw = (entry / "cmdline").read_bytes() if (entry / "cmdline").exists() else b""
    return tuple(raw.decode("utf-8", errors="replace").split("\0")[1:-1])


def _effective_uid(entry: Path) -> int:
    lines = (entry / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    return int(next(line for line in lines if line.startswith("Uid:")).split()[2])


def _sockets(directory: Path) -> frozenset[int] | None:
    try:
        files: Sequence[Path] = list(directory.iterdir())
    except OSError:
        return None
    names = []
    for file in files:
        # A busy cache closes one every moment.
        with suppress(OSError):
            names.append(str(file.readlink()))
    return frozenset(int(name[8:-1]) for name in names if name.startswith("socket:["))
