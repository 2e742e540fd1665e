"""One test of the cache beside us: is it alive, and does it serve a real object of each of its services?"""

from collections.abc import Sequence
from dataclasses import dataclass

from shoal_agent.cache import Cache
from shoal_agent.counters import Access, ask, knock
from shoal_agent.health import Finding, blames_squid
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from shoal_common.probe import Target, Verdict, probe


@dataclass(frozen=True, slots=True)
class Objects:
    """What can be fetched through a cache to test it: any one of a service's objects proves it good."""

    cvmfs: tuple[Target, ...] = ()
    frontier: tuple[Target, ...] = ()

    def for_use(self, upstream: Upstream) -> list[tuple[Target, ...]]:
        """The objects of each service that a cache with this purpose has to serve."""
        services = ((Upstream.CVMFS, self.cvmfs), (Upstream.FRONTIER, self.frontier))
        return [targets for service, targets in services if targets and upstream.serves(service)]


def examine(cache: Cache, objects: Objects, timeout: float) -> Finding:
    """Test the cache; every question and every fetch has `timeout` seconds.

    First something that it answers by itself, so that a hung one is found out though no origin can be
    reached. Then the fetches; one that fails counts only if the object can be had without the cache.
    """
    access, why = alive(cache, timeout)
    if access is Access.DOWN:
        return Finding(False, why)
    reason = ""
    for targets in objects.for_use(cache.upstream):
        finding = _serves_one(cache.place, targets, timeout)
        if not finding.good:
            return finding
        reason = reason or finding.reason
    return Finding(True, reason or f"{cache.place} answers; nothing is configured to be fetched")


def alive(cache: Cache, timeout: float) -> tuple[Access, str]:
    """Whether the cache answers a request that needs no origin, be it with a refusal."""
    if cache.type is CacheType.VARNISH:
        return knock(cache.place, timeout)
    return ask(cache.manager, "counters", timeout)


def purpose(cache: Cache, objects: Objects, timeout: float) -> Upstream | None:
    """What a Varnish is for: the services of which it serves an object; None if it serves none now."""
    cvmfs = any(probe(cache.place, target, timeout=timeout).good for target in objects.cvmfs[:2])
    servlets = (Target.frontier(f"http://{cache.place}/atlr"), *objects.frontier[:2])
    frontier = any(probe(cache.place, target, timeout=timeout).good for target in servlets)
    if cvmfs and frontier:
        return Upstream.BOTH
    return Upstream.CVMFS if cvmfs else Upstream.FRONTIER if frontier else None


def _serves_one(place: HostPort, targets: Sequence[Target], timeout: float) -> Finding:
    blamed: Verdict | None = None
    for target in targets:
        verdict = probe(place, target, timeout=timeout)
        if verdict.good:
            return Finding(True, verdict.reason)
        if blamed is None and blames_squid(verdict, probe(None, target, timeout=timeout)):
            blamed = verdict
    if blamed is not None:
        return Finding(False, f"{place}: {blamed.reason}")
    return Finding(True, f"{place} answers; no origin can be reached, with or without the squid")
