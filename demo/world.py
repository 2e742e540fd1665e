"""Builds the world of the demo from real processes, and takes it down again."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from demo.programs import ShoalAgent
from demo.sites import SITES, Site, location_table
from demo.worker import REPOSITORY, Worker, ask
from testbed.origin import Origin
from testbed.ports import free_port
from testbed.process import Service
from testbed.program import ShoalServer
from testbed.proxycache import PythonCache
from testbed.rabbitmq import RabbitMQ
from testbed.redis import Redis
from testbed.squid import Squid

BrokerKind = Literal["embedded", "rabbitmq"]
StoreKind = Literal["memory", "redis"]
CacheKind = Literal["squid", "proxy.py"]
Cache = Squid | PythonCache
S = TypeVar("S", bound=Service)


@dataclass(frozen=True, slots=True)
class Choices:
    """Which services to use; the defaults need none to be installed but squid, if `cache` says so."""

    broker: BrokerKind = "embedded"
    store: StoreKind = "memory"
    cache: CacheKind = "squid"


class World:
    """All that runs; inside `with` it can be started, at its end everything is gone.

    `at_end` is called first when the end begins. Raises what `Service.start` raises.
    """

    def __init__(self, choices: Choices, at_end: Callable[[], None]) -> None:
        self.choices = choices
        self.origin = Origin(repositories=[REPOSITORY])
        self.caches: dict[Site, Cache] = {}
        self.agents: dict[Site, ShoalAgent] = {}
        self.workers: list[Worker] = []
        self._at_end = at_end
        self._stack = ExitStack()
        self._services: list[Service] = []

    def start(self) -> None:
        """Everything but the agents: origin, broker and store if asked for, server, squids, workers."""
        self._stack.enter_context(self.origin)
        self.server = self._started(
            ShoalServer(
                self.directory / "server",
                amqp=self._broker(),
                store=self._store(),
                locations=location_table(SITES),
                cvmfs_url=self.cvmfs_url,
                flags=["--verify-interval", 10],
            )
        )
        for site in SITES:
            self.caches[site] = self._started(self._cache(site))
        place = (self.server.host, self.server.port)
        self.workers = [
            Worker(self.directory / f"worker-{site.city.lower()}", site, place, self.origin.url)
            for site in SITES
        ]

    def start_agents(self) -> None:
        """An agent beside each squid."""
        for site, cache in self.caches.items():
            agent = ShoalAgent(
                self.directory / f"agent-{site.city.lower()}",
                site,
                amqp=self.server.publish_url,
                cache_port=cache.port,
                cvmfs_url=self.cvmfs_url,
            )
            self.agents[site] = self._started(agent)

    @property
    def cvmfs_url(self) -> str:
        """The object by which squids are tested."""
        return f"{self.origin.url}/cvmfs/{REPOSITORY}/.cvmfspublished"

    def squids(self) -> list[dict[str, Any]]:
        """What the server knows of all squids: the entries of /all."""
        return ask((self.server.host, self.server.port), "/all", self.server.host)

    def last_words(self) -> str:
        """The last lines of every process's output: where to look when something went wrong."""
        logs = {service.log.parent.name: service.tail(6) for service in self._services}
        return "\n".join(f"{name}:\n{tail}" for name, tail in logs.items() if tail)

    def _broker(self) -> str | None:
        if self.choices.broker == "embedded":
            return None
        return self._started(RabbitMQ(self.directory / "rabbitmq")).url

    def _store(self) -> str:
        if self.choices.store == "memory":
            return "memory://"
        return self._started(Redis(self.directory / "redis")).url

    def _cache(self, site: Site) -> Cache:
        kind = Squid if self.choices.cache == "squid" else PythonCache
        # A port that is free everywhere: an agent knows its squid by the port alone.
        port = free_port("0.0.0.0")
        return kind(self.directory / f"cache-{site.city.lower()}", port=port, listen=[site.squid_address])

    def _started(self, service: S) -> S:
        self._services.append(service)
        self._stack.enter_context(service)
        return service

    def __enter__(self) -> Self:
        # Others may enter it: a squid that root starts runs as another user.
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="shoal-demo-")))
        self.directory.chmod(0o755)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._at_end()
        self._stack.close()
