"""The one place where the parts of an agent are made from its settings."""

import threading
import uuid
from dataclasses import dataclass, replace

from shoal_agent import host
from shoal_agent.agent import Agent
from shoal_agent.beat import Identity
from shoal_agent.cache import Cache, Wanted
from shoal_agent.finder import Finder
from shoal_agent.gauge import Gauge
from shoal_agent.health import Finding, HealthRules
from shoal_agent.metadata import Metadata
from shoal_agent.outside import Outside
from shoal_agent.publisher import Publisher
from shoal_agent.selftest import Objects, examine, purpose
from shoal_agent.settings import AgentSettings
from shoal_agent.watch import Pace, Watch
from shoal_common.amqp import Broker
from shoal_common.probe import Target


@dataclass(frozen=True, slots=True)
class Parts:
    """What works together in one agent."""

    settings: AgentSettings
    outside: Outside
    gauge: Gauge
    watch: Watch
    draining: threading.Event

    def look(self) -> host.Host:
        """What this VM is now, and how the outside sees it."""
        found = host.look(self.settings.hostname, self.settings.interface)
        outside = self.outside.found
        return replace(found, external_ip=outside.address if outside else None)

    def agent(self, broker: Broker) -> Agent:
        """The agent that publishes to `broker`."""
        publisher = Publisher(broker, self.settings.exchange, f"shoal-agent {self.look().hostname}")
        return Agent(
            identity(self.settings),
            self.look,
            self.watch,
            publisher,
            metrics=lambda: self.gauge.metrics,
            draining=self.draining,
        )


def make(settings: AgentSettings) -> Parts:
    """Look for the cache, and make everything that needs no broker."""
    gauge = Gauge(settings.check_timeout)
    objects = objects_of(settings)
    metadata = Metadata(settings.metadata_url) if settings.metadata_url else None

    def test(cache: Cache) -> Finding:
        return examine(cache, objects, settings.check_timeout)

    pace = Pace(
        settings.check_interval,
        min(settings.check_retry, settings.interval / 6),
        max(settings.interval / 2, 0.5),
    )
    watch = Watch(
        finder(settings), test, HealthRules(settings.check_rise, settings.check_fall), pace, gauge.read
    )
    outside = Outside(metadata, settings.stun_server, configured=settings.external_ip is not None)
    return Parts(settings, outside, gauge, watch, threading.Event())


def finder(settings: AgentSettings) -> Finder:
    """What finds the cache that the settings mean."""
    objects = objects_of(settings)
    wanted = Wanted(settings.cache_port, settings.cache_address, settings.cache_type, settings.upstream)
    return Finder(wanted, lambda cache: purpose(cache, objects, settings.check_timeout))


def objects_of(settings: AgentSettings) -> Objects:
    """What is fetched to test a cache."""
    return Objects(
        tuple(Target.cvmfs(url) for url in settings.check_urls),
        tuple(Target.frontier(url) for url in settings.check_frontier_urls),
    )


def identity(settings: AgentSettings) -> Identity:
    """Who this agent is: new at each start, as servers expect it."""
    return Identity(uuid.uuid4().hex, settings.interval, settings.external_ip, settings.max_load)
