"""What `shoal-agent --check` shows: every finding, and how it is known."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shoal_agent.announce import announcement, places
from shoal_agent.beat import addresses
from shoal_agent.cache import Cache
from shoal_agent.counters import Access, Counters, Reading, with_present_figures
from shoal_agent.detect import hidden, left_out
from shoal_agent.gauge import read
from shoal_agent.host import Host, interfaces
from shoal_agent.instance import Instance
from shoal_agent.parts import Parts, terms
from shoal_agent.publisher import Publisher
from shoal_agent.settings import AgentSettings
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
    instances = parts.roster.instances
    several = len(instances) > 1
    for each in instances:
        yield from _cache(each.cache)
    yield from _others([each.cache for each in instances], parts.settings)
    parts.outside.turn(parts.look())
    host = parts.look()
    yield from _host(host, parts)
    for each in instances:
        whose = f" of port {each.cache.place.port}" if several else ""
        yield _reach(each.cache, host, parts, whose)
        yield _announcement(each.cache, parts, whose)
        yield _counters(each.cache, parts.settings.check_timeout, whose)
    yield _broker(broker, parts.settings.exchange)
    for each in instances:
        yield from _health(each, f" of port {each.cache.place.port}" if several else "")


def _cache(cache: Cache) -> Iterator[Line]:
    yield Line("cache", f"{cache.type} at {cache.place}", cache.source)
    yield Line("listens at", ", ".join(sorted(cache.bound)) or "nothing", "the kernel")
    yield Line("purpose", str(cache.upstream), cache.purpose)


def _others(announced: Sequence[Cache], settings: AgentSettings) -> Iterator[Line]:
    for other in left_out(announced):
        yield Line(
            "also running", f"{other.type} at {other.place}", f"not announced: {_why(other, settings)}"
        )
    for process in hidden():
        told = "which port is its cannot be seen from here: set cache_port"
        yield Line("also running", f"{process.type}, process {process.pid}, user {process.uid}", told)


def _why(other: Cache, settings: AgentSettings) -> str:
    if settings.cache_port or settings.cache_address or settings.cache_type:
        return "the settings mean another one"
    return "only this VM reaches it" if other.loopback_only else "its process has one that is announced"


def _health(instance: Instance, whose: str) -> Iterator[Line]:
    before = instance.cache
    health = instance.watch.test()
    if instance.cache.purpose != before.purpose:
        yield Line(f"purpose{whose}", str(instance.cache.upstream), instance.cache.purpose)
    good = bool(health.healthy)
    yield Line(f"state{whose}", "good" if good else "bad", health.reason, good)


def _counters(cache: Cache, timeout: float, whose: str) -> Line:
    reading: Reading = read(cache, time.monotonic(), timeout)
    if reading.access is Access.OPEN and cache.type is CacheType.SQUID:
        reading = with_present_figures(reading, cache.manager, timeout)
    if reading.counters is None:
        return Line(f"counters{whose}", str(reading.access), reading.reason)
    return Line(f"counters{whose}", _shown(reading.counters), reading.reason)


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
    everything = (f"{each.name} {' '.join(each.addresses)}" for each in interfaces() if each.addresses)
    yield Line("all addresses", "; ".join(everything), told["addresses"])
    yield Line("public IPv4", host.public_ip or "none", told["addresses"])
    given = parts.settings
    yield Line(
        "private IPv4", host.private_ip or "none", "configured" if given.private_ip else told["addresses"]
    )
    yield Line("IPv6", host.ipv6 or "none", "configured" if given.ipv6 else told["addresses"])
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


def _reach(cache: Cache, host: Host, parts: Parts, whose: str) -> Line:
    try:
        told = addresses(terms(parts.settings), host, cache)
    except Unavailable as error:
        return Line(f"announced as{whose}", "nothing", str(error), good=False)
    those = (told.public_ip, told.external_ip, told.private_ip, told.ipv6)
    shown = ", ".join(str(HostPort(address, cache.place.port)) for address in those if address)
    return Line(f"announced as{whose}", shown, "the addresses at which others reach it")


def _announcement(cache: Cache, parts: Parts, whose: str) -> Line:
    if not parts.settings.announce:
        return Line(f"LAN announcement{whose}", "off", "configured")
    shown = [
        f"{announcement(address, cache)[0].decode()} on {name}, port {announcement(address, cache)[1]}"
        for name, address in places(interfaces(), cache)
    ]
    return Line(
        f"LAN announcement{whose}", "; ".join(shown) or "none", "once a minute while the cache is good"
    )


def _broker(broker: Broker, exchange: str) -> Line:
    publisher = Publisher(broker, exchange, "shoal-agent --check")
    with contextlib.closing(publisher):
        try:
            publisher.try_out()
        except Unavailable as error:
            return Line("broker", "not usable", str(error), good=False)
        return Line("broker", f"{publisher.place} has the exchange {exchange}", "connected")
