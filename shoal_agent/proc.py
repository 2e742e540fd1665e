"""What /proc tells an unprivileged user of the caches that run here."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shoal_agent.sockets import PROC, Listener, in_tables, listeners
from shoal_common.heartbeat import CacheType

_PROGRAMS = {b"squid\n": CacheType.SQUID, b"varnishd\n": CacheType.VARNISH}
_VARNISH_DEFAULT_PORT = 80


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a running cache; `inodes` are its sockets, None when we may not see them.

    `arguments` are those it was started with, `parent` is the process that started it, and `here` is whether
    it may be in this network namespace and not in that of a container: any user may read them.
    """

    pid: int
    type: CacheType
    uid: int
    inodes: frozenset[int] | None
    arguments: tuple[str, ...] = ()
    parent: int = 0
    here: bool = True

    def owns(self, listener: Listener) -> bool:
        """Whether it serves clients there.

        A Varnish says its ports in its arguments; else its open files tell, else its user (root has too
        much else).
        """
        if not self.here:
            return False
        if self.type is CacheType.VARNISH and listener.port not in self.served_ports:
            return False
        if self.inodes is not None:
            return listener.inode in self.inodes
        return self.type is CacheType.VARNISH or (self.uid != 0 and listener.uid == self.uid)

    @property
    def is_errand(self) -> bool:
        """Whether it was only started to tell something to a running squid, or to make its directories."""
        if self.type is not CacheType.SQUID:
            return False
        return any(argument == "-z" or argument.startswith("-k") for argument in self.arguments)

    @property
    def is_worker(self) -> bool:
        """Whether it is one of those of a squid that serve clients, and not its coordinator or a disker."""
        return any(re.fullmatch(r"squid-[0-9]+", kid) for kid in self._options("--kid"))

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


def processes(proc: Path = PROC) -> Iterator[Process]:
    """The caches that run on this VM; one that ends meanwhile is left out."""
    ours = frozenset(listener.inode for listener in listeners(proc))
    for entry in _entries(proc):
        with suppress(OSError, IndexError):
            kind = _PROGRAMS.get((entry / "comm").read_bytes())
            if kind is not None:
                user, parent = _effective_uid_and_parent(entry)
                sockets, arguments = _sockets(entry / "fd"), _arguments(entry)
                here = sockets is not None or _is_here(entry, ours)
                found = Process(int(entry.name), kind, user, sockets, arguments, parent, here)
                if not found.is_errand:
                    yield found


def _entries(proc: Path) -> list[Path]:
    try:
        return [entry for entry in proc.iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _is_here(entry: Path, ours: frozenset[int]) -> bool:
    """Whether a process whose sockets we may not see could own one of ours: it sees the same ones."""
    empty = True
    for theirs in in_tables(entry):
        if theirs.inode in ours:
            return True
        empty = False
    return empty


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


def _effective_uid_and_parent(entry: Path) -> tuple[int, int]:
    text = (entry / "status").read_text(encoding="utf-8", errors="replace")
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields.get("Uid", "").split()[1]), int(fields.get("PPid", "0"))


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
