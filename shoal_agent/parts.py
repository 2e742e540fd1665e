"""The one place where the parts of an agent are made from its settings."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from shoal_agent import host
from shoal_agent.agent import Agent
from shoal_agent.beat import Terms
from shoal_agent.cache import Cache, Wanted
from shoal_agent.detect import awaited, detect
from shoal_agent.gauge import Gauge
from shoal_agent.health import Finding, HealthRules
from shoal_agent.instance import Instance
from shoal_agent.metadata import Metadata
from shoal_agent.outside import Outside
from shoal_agent.publisher import Publisher
from shoal_agent.purpose import Purpose
from shoal_agent.roster import Roster
from shoal_agent.selftest import Objects, examine, purpose
from shoal_agent.settings import AgentSettings
from shoal_agent.watch import Pace, Watch
from shoal_common.amqp import Broker
from shoal_common.heartbeat import Upstream
from shoal_common.probe import Target


@dataclass(frozen=True, slots=True)
class Parts:
    """What works together in one agent."""

    settings: AgentSettings
    outside: Outside
    roster: Roster
    draining: threading.Event

    def look(self) -> host.Host:
        """What this VM is now, and how the outside sees it."""
        found, settings = host.look(self.settings.hostname, self.settings.interface), self.settings
        outside = self.outside.found
        return replace(
            found,
            private_ip=settings.private_ip or found.private_ip,
            ipv6=settings.ipv6 or found.ipv6,
            external_ip=outside.address if outside else None,
        )

    def agent(self, broker: Broker, renew: Callable[[], Broker] | None = None) -> Agent:
        """The agent that publishes to `broker`, which `renew` may replace before each connection."""
        name = f"shoal-agent {self.look().hostname}"
        publisher = Publisher(broker, self.settings.exchange, name, renew)
        return Agent(
            terms(self.settings),
            self.look,
            lambda: self.roster.instances,
            publisher,
            draining=self.draining,
        )


def make(settings: AgentSettings) -> Parts:
    """Look for the caches, and make everything that needs no broker."""
    means = wanted(settings)
    roster = Roster(lambda: detect(means), awaited(means), lambda cache: instance(settings, cache))
    metadata = Metadata(settings.metadata_url) if settings.metadata_url else None
    outside = Outside(metadata, settings.stun_server, configured=settings.external_ip is not None)
    return Parts(settings, outside, roster, threading.Event())


def instance(settings: AgentSettings, cache: Cache) -> Instance:
    """What belongs to one cache."""
    objects, timeout = objects_of(settings), settings.check_timeout
    gauge = Gauge(timeout)

    def test(cache: Cache) -> Finding:
        return examine(cache, objects, timeout)

    def ask(cache: Cache) -> Upstream | None:
        return purpose(cache, objects, timeout)

    rules = HealthRules(settings.check_rise, settings.check_fall)
    return Instance(Watch(cache, test, rules, pace(settings), gauge.read, Purpose(ask)), gauge)


def pace(settings: AgentSettings) -> Pace:
    """How often a cache is looked at."""
    return Pace(
        settings.check_interval,
        min(settings.check_retry, settings.interval / 6),
        max(settings.interval / 2, 0.5),
    )


def wanted(settings: AgentSettings) -> Wanted:
    """Which caches the operator means."""
    return Wanted(settings.cache_port, settings.cache_address, settings.cache_type, settings.upstream)


def objects_of(settings: AgentSettings) -> Objects:
    """What is fetched to test a cache."""
    return Objects(
        tuple(Target.cvmfs(url) for url in settings.check_urls),
        tuple(Target.frontier(url) for url in settings.check_frontier_urls),
    )


def terms(settings: AgentSettings) -> Terms:
    """What the operator set for all heartbeats."""
    return Terms(settings.interval, settings.external_ip, settings.max_load)
