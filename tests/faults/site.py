"""A whole site on loopback: origin, squids, servers, and the fleet that they look after."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
import requests

from testbed.origin_process import OriginProcess
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.program import ShoalServer
from testbed.redis import Redis
from testbed.squid import Squid
from tests.faults.fleet import Agent, Fleet
from tests.faults.relay import Relay
from tests.faults.scale import Scale
from tests.testbed.fetch import fetch

REAL_SQUIDS = 3
LONGEST_ANSWER = 50
LOCATIONS = "network,site,latitude,longitude\n127.0.0.0/8,here,48.46,-123.31\n"
WARM_SECONDS = 40.0
PORTS = range(20000, 32000)


@dataclass
class Site:
    """What a scenario may break. `serving` are the servers that ought to answer at the moment.

    The first three addresses of the fleet are a real squid's own; the others are doors that lead to it, so
    that one at a time can be shut.
    """

    scale: Scale
    directory: Path
    origin: OriginProcess
    squid: Squid
    doors: Relay
    servers: list[ShoalServer]
    fleet: Fleet
    redis: Redis | None
    serving: list[ShoalServer] = field(default_factory=list)

    def start(self, server: ShoalServer) -> None:
        """Start it, and expect answers from it."""
        server.start()
        self.serving = [*self.serving, server]

    def kill(self, server: ShoalServer) -> None:
        """SIGKILL; no answers are expected from it any more."""
        self.serving = [one for one in self.serving if one is not server]
        server.kill()

    def destroy(self, agents: Sequence[Agent]) -> None:
        """Squids that vanish, agent and all."""
        self.fleet.die(agents)
        self.doors.shut(agent.place for agent in agents)

    def await_listed(self, within: float = WARM_SECONDS) -> None:
        """Until every server offers exactly the living."""
        for server in self.serving:
            wait_until(
                lambda: self.offered(server) == {one.address for one in self.fleet.live},  # noqa: B023
                within,
                f"the living, and nobody else, are offered by {server.url}",
            )

    def offered(self, server: ShoalServer) -> set[str]:
        """The addresses that a server offers to us."""
        return self.offered_in(fetch(f"{server.url}{self.whole_list}").content)

    @property
    def whole_list(self) -> str:
        """The path of an answer that names every squid: a lookup where it holds so many."""
        return f"/nearest/{LONGEST_ANSWER}" if self.scale.agents < LONGEST_ANSWER else "/all"

    def offered_in(self, answer: bytes) -> set[str]:
        """The addresses that such an answer offers; `/all` also names squids that lookups do not offer."""
        entries = (json.loads(answer) or {}).values()
        some = self.whole_list == "/all"
        return {entry["public_ip"] for entry in entries if entry["verified"] or not some}

    def health(self, server: ShoalServer) -> dict[str, object]:
        """What a server says of itself."""
        found: dict[str, object] = fetch(f"{server.url}/healthz").json()
        return found

    def heartbeats(self) -> Counter[str]:
        """What servers have counted, by the reports that they share: `accepted`: stored; others: refused."""
        if self.redis is None:
            counts = self.health(self.serving[0])["heartbeats"]
            assert isinstance(counts, dict)
            return Counter(counts)
        with redis.Redis.from_url(self.redis.url, socket_timeout=5.0) as client:
            reports = [json.loads(report) for report in client.hvals("{shoal}:reports")]
        return sum((Counter(report["heartbeats"]) for report in reports), Counter())

    def complaints(self) -> list[str]:
        """What servers have logged of trouble, tracebacks too."""
        logs = [server.log.read_text().splitlines() for server in self.servers if server.log.exists()]
        return [line for lines in logs for line in lines if " INFO " not in line]

    def told_of(self, address: str) -> list[str]:
        """What the servers' logs say of a squid."""
        logs = [server.log.read_text().splitlines() for server in self.servers]
        return [line for lines in logs for line in lines if f"{address}:" in line]

    def ailments(self) -> list[str]:
        """What servers lack, and where their lists differ from the living; empty when all is well."""
        living = {one.address for one in self.fleet.live}
        found = []
        for server in self.serving:
            try:
                health, offered = self.health(server), self.offered(server)
            except requests.RequestException as error:
                found.append(f"{server.url}: {error!r}")
                continue
            if health["status"] != "ok" or health["hold"]:
                found.append(f"{server.url}: {health}")
            if living != offered:
                missing, extra = sorted(living - offered), sorted(offered - living)
                found.append(f"{server.url}: missing {missing[:5]}, {len(extra)} too many: {extra[:5]}")
        return found


@dataclass(frozen=True, slots=True)
class Parts:
    """What a site is built on: the URL that agents publish to (None: the first server's own listener), what
    servers consume from, and their store."""

    directory: Callable[[str], Path]
    agents_url: str | None = None
    amqp: str | None = None
    store: str = "memory://"
    redis: Redis | None = None
    server: type[ShoalServer] = ShoalServer


def fleet_of(count: int, squid_port: int, first: int = 0) -> list[Agent]:
    """Addresses from 127.50.0.1 on; the first three are the real squid's, all others have a door."""
    door = _door_port()
    addresses = (f"127.50.{n // 250}.{n % 250 + 1}" for n in range(first, first + count))
    return [
        Agent(address, squid_port if first + n < REAL_SQUIDS else door) for n, address in enumerate(addresses)
    ]


def _door_port() -> int:
    return free_port("127.0.0.1", f"127.50.0.{random.randint(4, 200)}")


def cared_for(site: Site, since: float) -> bool:
    """Whether every living squid was heard and checked since then (by the clock of the day)."""
    assert site.redis
    with redis.Redis.from_url(site.redis.url, decode_responses=True) as client:
        seen = dict(client.zrange("{shoal}:seen", 0, -1, withscores=True))
        found = client.hgetall("{shoal}:checks").items()
        checks = {key: json.loads(text).get("checked") for key, text in found}
    return all(seen.get(one.id, 0) > since and (checks.get(one.id) or 0) > since for one in site.fleet.live)


@contextmanager
def built(parts: Parts, scale: Scale, *, flags: Iterable[object] = ()) -> Iterator[Site]:
    """A site that runs but for its servers and its fleet, which the scenario starts."""
    directory = parts.directory("site")
    own = [f"127.50.0.{n + 1}" for n in range(REAL_SQUIDS)]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        origin = stack.enter_context(OriginProcess(directory / "origin"))
        squid_directory = parts.directory("squid")
        squid = stack.enter_context(Squid(squid_directory, listen=["127.0.0.1", *own]))
        doors = stack.enter_context(Relay(("127.0.0.1", squid.port)))
        agents = fleet_of(scale.agents, squid.port)
        doors.open(agent.place for agent in agents[REAL_SQUIDS:])
        servers = [
            parts.server(
                directory / f"server{number}",
                cvmfs_url=f"{origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished",
                locations=LOCATIONS,
                amqp=parts.amqp,
                store=parts.store,
                flags=(*scale.flags, *flags),
            )
            for number in range(scale.servers)
        ]
        fleet = Fleet(parts.agents_url or servers[0].publish_url, agents, scale.beat)
        site = Site(scale, directory, origin, squid, doors, servers, fleet, parts.redis)
        for server in servers:
            stack.callback(server.kill)
        yield site


@contextmanager
def running(parts: Parts, scale: Scale, *, flags: Iterable[object] = ()) -> Iterator[Site]:
    """A site in full health: every squid of the fleet is offered by every server."""
    with built(parts, scale, flags=flags) as site:
        for server in site.servers:
            server.begin()
        for server in site.servers:
            site.start(server)
        with site.fleet:
            site.await_listed()
            yield site
