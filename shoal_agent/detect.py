"""Finds the caches of this VM: which processes are one cache, and which of its ports is to be announced."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from shoal_agent.cache import LOOPBACK, Cache, Wanted, is_any, is_loopback
from shoal_agent.proc import Process, processes
from shoal_agent.sockets import PROC, Listener, listeners
from shoal_common.heartbeat import DEFAULT_PORT, CacheType, Upstream
from shoal_common.hosts import HostPort

UNKNOWN_PURPOSE = "not known yet"
# The ports of Varnish are those of the deployed set-ups: one instance a purpose.
_PURPOSES = {6081: Upstream.CVMFS, 6082: Upstream.FRONTIER}
_USUAL_PORTS = {CacheType.SQUID: (DEFAULT_PORT,), CacheType.VARNISH: tuple(_PURPOSES)}
_Family = Sequence[Process]
"""The processes of one cache: a squid and its workers, a Varnish and its child."""


def detect(wanted: Wanted, proc: Path = PROC) -> tuple[Cache, ...]:
    """Every cache that listens here and is meant, the likeliest one first.

    Those on loopback alone are left out beside one that others can reach.
    """
    listening, everything = listeners(proc), list(processes(proc))
    seen = running(wanted, listening, everything)
    found = [*seen, *_unseen(wanted, listening, everything, seen)]
    public = [cache for cache in found if not cache.loopback_only]
    chosen = sorted(public or found, key=_rank)
    return tuple(chosen[:1] if wanted.port is not None else chosen)


def awaited(wanted: Wanted) -> Cache:
    """Where a cache is expected while none is found."""
    kind = wanted.type or CacheType.SQUID
    port = wanted.port or _USUAL_PORTS[kind][0]
    source = "no cache is running; this is its usual port" if wanted.port is None else "configured"
    upstream, purpose = _upstream(wanted, kind, port)
    return Cache(HostPort(wanted.address or LOOPBACK, port), kind, upstream, source, purpose=purpose)


def left_out(chosen: Iterable[Cache], proc: Path = PROC) -> list[Cache]:
    """Every cache that can be seen here and is not among the chosen ones."""
    everything = running(Wanted(), listeners(proc), list(processes(proc)))
    places = {(cache.place.port, cache.bound) for cache in chosen}
    return [cache for cache in everything if (cache.place.port, cache.bound) not in places]


def hidden(proc: Path = PROC) -> list[Process]:
    """Caches that run here but do not show us where they listen."""
    everything = list(processes(proc))
    kinds = {cache.type for cache in running(Wanted(), listeners(proc), everything)}
    return [each for each in everything if each.type not in kinds]


def running(wanted: Wanted, listening: Sequence[Listener], everything: Sequence[Process]) -> list[Cache]:
    """The caches that can be seen, each at the likeliest of its ports that is meant.

    Whose open files we may not see is known by its user alone: of the ports of several squids of one user
    the likeliest are taken, as many as there are squids.
    """
    found: list[Cache] = []
    for clan in _clans(_families(everything)):
        places = [place for place in _places(wanted, clan, listening) if wanted.fits(place)]
        known = {(cache.type, cache.place.port, cache.bound) for cache in found}
        # The workers of a squid that was killed live on, and share its sockets.
        new = [place for place in places if (place.type, place.place.port, place.bound) not in known]
        found += sorted(new, key=_rank)[: len(clan)]
    return sorted(found, key=_rank)


def _families(everything: Sequence[Process]) -> list[_Family]:
    pids = {process.pid: process for process in everything}
    families: dict[int, list[Process]] = {}
    for process in sorted((each for each in everything if each.here), key=lambda each: each.pid):
        parent = pids.get(process.parent)
        head = parent.pid if parent and parent.type is process.type else process.pid
        families.setdefault(head, []).append(process)
    return [sorted(family, key=lambda each: each.pid != head) for head, family in families.items()]


def _clans(families: Iterable[_Family]) -> Iterator[list[_Family]]:
    """Families that cannot be told apart: squids of one user whose open files we may not see."""
    clans: dict[object, list[_Family]] = {}
    for family in families:
        blind = family[0].type is CacheType.SQUID and all(each.inodes is None for each in family)
        users = frozenset(each.uid for each in family if each.uid)
        clans.setdefault(users if blind and users else family[0].pid, []).append(family)
    yield from clans.values()


def _places(wanted: Wanted, clan: Sequence[_Family], listening: Sequence[Listener]) -> Iterator[Cache]:
    """One for each port at which a clan listens; for each address, if there are fewer ports than caches."""
    members = [process for family in clan for process in family]
    owned = [listener for listener in listening if any(member.owns(listener) for member in members)]
    owned.sort(key=lambda each: (each.port, each.address))
    by_port = [list(same) for _, same in groupby(owned, key=lambda each: each.port)]
    for same in by_port if len(by_port) >= len(clan) else [[each] for each in owned]:
        yield _place_of(wanted, clan, same[0].port, frozenset(each.address for each in same))


def _place_of(wanted: Wanted, clan: Sequence[_Family], port: int, bound: frozenset[str]) -> Cache:
    head, alone = clan[0][0], len(clan) == 1
    upstream, purpose = _upstream(wanted, head.type, port)
    whose = f"process {head.pid}" if alone else f"one of {len(clan)} of the same user"
    return Cache(
        _place(bound, port, wanted.address),
        head.type,
        upstream,
        f"{head.type} listens there ({whose})",
        bound,
        head.pid if alone else None,
        head.working_directory if head.type is CacheType.VARNISH else None,
        purpose,
        _cores(clan[0]) if alone else None,
    )


def _cores(family: _Family) -> int:
    """A worker of a squid has one thread for its clients; a Varnish has as many as it needs."""
    every = os.cpu_count() or 1
    if family[0].type is CacheType.VARNISH:
        return every
    return min(max(1, sum(process.is_worker for process in family)), every)


def _unseen(
    wanted: Wanted, listening: Sequence[Listener], everything: Sequence[Process], seen: Sequence[Cache]
) -> Iterator[Cache]:
    """What listens where a cache would, when its process cannot be seen: in another container perhaps."""
    taken = {cache.place.port for cache in seen}
    for kind, port in _expected(wanted, {process.type for process in everything}, seen):
        bound = frozenset(each.address for each in listening if each.port == port)
        if wanted.address:
            bound &= {wanted.address}
        if not bound or port in taken:
            continue
        upstream, purpose = _upstream(wanted, kind, port)
        told = "something listens at this usual port; its process cannot be seen"
        source = told if wanted.port is None else "configured"
        yield Cache(_place(bound, port, wanted.address), kind, upstream, source, bound, purpose=purpose)


def _expected(
    wanted: Wanted, processes_of: set[CacheType], seen: Sequence[Cache]
) -> Iterator[tuple[CacheType, int]]:
    if wanted.port is not None:
        if not seen:
            yield wanted.type or CacheType.SQUID, wanted.port
        return
    shown = {cache.type for cache in seen}
    for kind in [wanted.type] if wanted.type else list(CacheType):
        if kind not in shown and (not seen or kind in processes_of):
            yield from ((kind, port) for port in _USUAL_PORTS[kind])


def _upstream(wanted: Wanted, kind: CacheType, port: int) -> tuple[Upstream, str]:
    if wanted.upstream is not None:
        return wanted.upstream, "configured"
    if kind is CacheType.SQUID:
        return Upstream.BOTH, "a squid fetches what it is asked for"
    if port in _PURPOSES:
        return _PURPOSES[port], "the usual port of that purpose"
    return Upstream.BOTH, UNKNOWN_PURPOSE


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
    fixed = sorted((each for each in bound if not is_any(each)), key=lambda each: (":" in each, each))
    if not fixed or any(is_any(each) for each in bound):
        return HostPort(LOOPBACK, port)
    return HostPort(next((each for each in fixed if not is_loopback(each)), fixed[0]), port)
