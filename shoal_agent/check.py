"""What `shoal-agent --check` shows: every finding, and how it is known."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from shoal_agent import cache as caches
from shoal_agent.announce import announcement, places
from shoal_agent.beat import reach
from shoal_agent.cache import Cache
from shoal_agent.counters import Access, Counters, Reading, with_present_figures
from shoal_agent.gauge import read
from shoal_agent.health import Health
from shoal_agent.host import Host, interfaces
from shoal_agent.parts import Parts, identity
from shoal_agent.publisher import Publisher
from shoal_common.amqp import Broker
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import CacheType
from shoal_common.hosts import HostPort


@dataclass(frozen=True, slots=True)
class Line:
    """One finding; `good` is False when nothing is published because of it."""

    what: str
    value: str
    source: str
    good: bool = True

    def __str__(self) -> str:
        return f"{'' if self.good else '! '}{self.what}: {self.value}" + (
            f"  ({self.source})" if self.source else ""
        )


def findings(parts: Parts, broker: Broker) -> Iterator[Line]:
    """Look at everything once, as the running agent would; what may take long comes last."""
    cache = parts.watch.seen.cache
    yield from _cache(cache)
    parts.outside.turn(parts.look())
    host = parts.look()
    yield from _host(host, parts)
    yield from _reach(cache, host, parts)
    yield _announcement(cache, parts)
    yield _counters(cache, parts.settings.check_timeout)
    yield _broker(broker, parts.settings.exchange)
    yield _health(parts.watch.test())


def _cache(cache: Cache) -> Iterator[Line]:
    yield Line("cache", f"{cache.type} at {cache.place}", cache.source)
    yield Line("listens at", ", ".join(sorted(cache.bound)) or "nothing", "/proc/net/tcp")
    yield Line("purpose", str(cache.upstream), cache.purpose)
    for other in caches.running():
        if (other.place.port, other.bound) != (cache.place.port, cache.bound):
            told = "not announced: it needs an agent of its own, or cache_port and cache_address here"
            yield Line("also running", f"{other.type} at {other.place}", told)
    for process in caches.hidden():
        told = "which port is its cannot be seen from here: set cache_port"
        yield Line("also running", f"{process.type}, process {process.pid}, user {process.uid}", told)


def _health(health: Health) -> Line:
    return Line("state", "good" if health.healthy else "bad", health.reason, bool(health.healthy))


def _counters(cache: Cache, timeout: float) -> Line:
    reading: Reading = read(cache, time.monotonic(), timeout)
    if reading.access is Access.OPEN and cache.type is CacheType.SQUID:
        reading = with_present_figures(reading, cache.manager, timeout)
    if reading.counters is None:
        return Line("counters", str(reading.access), reading.reason)
    return Line("counters", _shown(reading.counters), reading.reason)


def _shown(counters: Counters) -> str:
    files = (
        "" if counters.fds_used is None else f", {counters.fds_used} of {counters.fds_max} file descriptors"
    )
    return (
        f"{counters.requests:.0f} requests, {counters.hits:.0f} hits, {counters.errors:.0f} errors, "
        f"{counters.kb_out:.0f} kB to clients{files}"
    )


def _host(host: Host, parts: Parts) -> Iterator[Line]:
    told = host.sources
    yield Line("hostname", host.hostname, told["hostname"])
    yield Line("interface", host.interface or "none", told["interface"])
    configured = parts.settings.max_load
    if configured is not None:
        yield Line("max_load", f"{configured:g} kB/s", "configured")
    elif host.max_load is None:
        yield Line("max_load", "unknown", "the interface does not say its speed, as virtual ones seldom do")
    else:
        yield Line("max_load", f"{host.max_load:g} kB/s", told["max_load"])
    yield Line("public IPv4", host.public_ip or "none", told["addresses"])
    yield Line("private IPv4", host.private_ip or "none", told["addresses"])
    yield Line("IPv6", host.ipv6 or "none", told["addresses"])
    yield _external(host, parts)


def _external(host: Host, parts: Parts) -> Line:
    outside = parts.outside
    if parts.settings.external_ip:
        return Line("external IPv4", parts.settings.external_ip, "configured")
    if outside.found:
        return Line("external IPv4", outside.found.address, outside.found.source)
    if host.public_ip:
        return Line("external IPv4", "none", "not asked for: there is a public one")
    return Line("external IPv4", "unknown", "; ".join(outside.troubles) or "nobody knows one")


def _reach(cache: Cache, host: Host, parts: Parts) -> Iterator[Line]:
    try:
        told = reach(identity(parts.settings), host, cache)
    except Unavailable as error:
        yield Line("announced as", "nothing", str(error), good=False)
        return
    addresses = (told.public_ip, told.external_ip, told.private_ip, told.ipv6)
    shown = ", ".join(str(HostPort(address, cache.place.port)) for address in addresses if address)
    yield Line("announced as", shown, "the addresses at which others reach it")


def _announcement(cache: Cache, parts: Parts) -> Line:
    if not parts.settings.announce:
        return Line("LAN announcement", "off", "configured")
    shown = [
        f"{announcement(address, cache)[0].decode()} on {name}, port {announcement(address, cache)[1]}"
        for name, address in places(interfaces(), cache)
    ]
    return Line("LAN announcement", "; ".join(shown) or "none", "once a minute while the cache is good")


def _broker(broker: Broker, exchange: str) -> Line:
    publisher = Publisher(broker, exchange, "shoal-agent --check")
    with contextlib.closing(publisher):
        try:
            publisher.try_out()
        except Unavailable as error:
            return Line("broker", "not usable", str(error), good=False)
        return Line("broker", f"{publisher.place} has the exchange {exchange}", "connected")
