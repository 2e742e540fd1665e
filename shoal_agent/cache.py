"""The cache beside us: which one it is, where it listens, and where it can be tested."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shoal_agent.proc import PROC, Listener, Process, listeners, processes
from shoal_common.heartbeat import DEFAULT_PORT, CacheType, Upstream
from shoal_common.hosts import HostPort

# The ports of Varnish are those of the deployed set-ups: one instance a purpose.
_PURPOSES = {6081: Upstream.CVMFS, 6082: Upstream.FRONTIER}
_USUAL_PORTS = {CacheType.SQUID: (DEFAULT_PORT,), CacheType.VARNISH: tuple(_PURPOSES)}
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Cache:
    """`place` is where this VM itself reaches it, and its port is the one to announce.

    `source` says how that is known. `bound` are the addresses at which it listens on that port (empty:
    nothing listens there). `purpose` says how `upstream` is known. `pid` is None when its process cannot
    be seen.
    """

    place: HostPort
    type: CacheType
    upstream: Upstream
    source: str
    bound: frozenset[str] = frozenset()
    pid: int | None = None
    working_directory: str | None = None
    purpose: str = "configured"

    @property
    def manager(self) -> HostPort:
        """Where it is asked for its counters: over loopback, which it lets in, if it listens there."""
        if any(_is_loopback(address) or _is_any(address) for address in self.bound):
            loopback = next((each for each in sorted(self.bound) if _is_loopback(each)), _LOOPBACK)
            return HostPort(loopback, self.place.port)
        return self.place

    def listens_at(self, address: str) -> bool:
        """Whether a connection to this address of the VM reaches it, as far as is known."""
        if not self.bound or address in self.bound or "::" in self.bound:
            return True
        return ":" not in address and "0.0.0.0" in self.bound  # noqa: S104 - compared, not bound

    @property
    def loopback_only(self) -> bool:
        """Whether no other machine can reach it by itself."""
        return bool(self.bound) and all(_is_loopback(address) for address in self.bound)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator said of the cache; None: find out."""

    port: int | None = None
    address: str | None = None
    type: CacheType | None = None
    upstream: Upstream | None = None

    def fits(self, cache: Cache) -> bool:
        """Whether `cache` can be the one that is meant."""
        return (
            self.port in (None, cache.place.port)
            and self.type in (None, cache.type)
            and (self.address is None or self.address in cache.bound)
        )


def find(wanted: Wanted, proc: Path = PROC) -> Cache:
    """The cache that is meant, else what listens at the configured or usual port, else nothing there yet."""
    listening = listeners(proc)
    fitting = [cache for cache in _running(wanted, listening, proc) if wanted.fits(cache)]
    return min(fitting, key=_rank) if fitting else _unseen(wanted, listening)


def running(proc: Path = PROC) -> list[Cache]:
    """Every cache that runs here and can be seen, the likeliest one first."""
    return sorted(_running(Wanted(), listeners(proc), proc), key=_rank)


def hidden(proc: Path = PROC) -> list[Process]:
    """Caches that run here but do not show us where they listen."""
    listening = listeners(proc)
    kinds = {cache.type for cache in _running(Wanted(), listening, proc)}
    return [each for each in processes(proc) if each.type not in kinds]


def is_listening(place: HostPort, proc: Path = PROC) -> bool:
    """Whether some socket of this VM listens there."""
    return any(
        each.port == place.port and (each.address == place.host or _is_any(each.address))
        for each in listeners(proc)
    )


def _running(wanted: Wanted, listening: Sequence[Listener], proc: Path) -> Iterator[Cache]:
    """One for each port of each cache; the workers of one squid share their sockets."""
    seen: set[tuple[int, frozenset[str]]] = set()
    for process in sorted(processes(proc), key=lambda each: each.pid):
        owned = [listener for listener in listening if process.owns(listener)]
        for port in sorted({listener.port for listener in owned}):
            bound = frozenset(listener.address for listener in owned if listener.port == port)
            if (port, bound) not in seen:
                seen.add((port, bound))
                yield _running_one(wanted, process, port, bound)


def _running_one(wanted: Wanted, process: Process, port: int, bound: frozenset[str]) -> Cache:
    upstream, purpose = _upstream(wanted, process.type, port)
    return Cache(
        _place(bound, port, wanted.address),
        process.type,
        upstream,
        f"{process.type} listens there (process {process.pid})",
        bound,
        process.pid,
        process.working_directory if process.type is CacheType.VARNISH else None,
        purpose,
    )


def _unseen(wanted: Wanted, listening: Sequence[Listener]) -> Cache:
    """No process to be seen: in another container perhaps, or not running yet."""
    kind, port = _assumed(wanted, {listener.port for listener in listening})
    bound = frozenset(each.address for each in listening if each.port == port)
    if wanted.address:
        bound &= {wanted.address}
    upstream, purpose = _upstream(wanted, kind, port)
    if wanted.port is not None:
        source = "configured"
    elif bound:
        source = "something listens at this usual port; its process cannot be seen"
    else:
        source = "no cache is running; this is its usual port"
    return Cache(_place(bound, port, wanted.address), kind, upstream, source, bound, purpose=purpose)


def _assumed(wanted: Wanted, open_ports: set[int]) -> tuple[CacheType, int]:
    kinds = [wanted.type] if wanted.type else list(_USUAL_PORTS)
    if wanted.port is not None:
        return wanted.type or CacheType.SQUID, wanted.port
    usual = [(kind, port) for kind in kinds for port in _USUAL_PORTS[kind]]
    return next(((kind, port) for kind, port in usual if port in open_ports), usual[0])


def _upstream(wanted: Wanted, kind: CacheType, port: int) -> tuple[Upstream, str]:
    if wanted.upstream is not None:
        return wanted.upstream, "configured"
    if kind is CacheType.SQUID:
        return Upstream.BOTH, "a squid fetches what it is asked for"
    if port in _PURPOSES:
        return _PURPOSES[port], "the usual port of that purpose"
    return Upstream.BOTH, "not known yet"


def _rank(cache: Cache) -> tuple[bool, bool, bool, int, int]:
    usual = cache.place.port in _USUAL_PORTS[cache.type]
    return (
        cache.type is not CacheType.SQUID,
        cache.loopback_only,
        not usual,
        cache.place.port,
        cache.pid or 0,
    )


def _place(bound: Iterable[str], port: int, address: str | None) -> HostPort:
    """Where it is tested: as its clients reach it, over loopback if it listens everywhere."""
    if address:
        return HostPort(address, port)
    fixed = sorted((each for each in bound if not _is_any(each)), key=lambda each: (":" in each, each))
    if not fixed or any(_is_any(each) for each in bound):
        return HostPort(_LOOPBACK, port)
    return HostPort(next((each for each in fixed if not _is_loopback(each)), fixed[0]), port)


def _is_any(address: str) -> bool:
    return ipaddress.ip_address(address).is_unspecified


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
