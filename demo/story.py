"""What happens, step by step: squids join, workers are told and configured, a squid dies, workers move."""

import re
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from demo.sites import GENEVA, SITES, Site
from demo.stage import Stage
from demo.worker import REPOSITORY, Configuration, Told, Worker
from demo.world import World
from testbed.squid import Squid

LOST = GENEVA


@dataclass(frozen=True, slots=True)
class Story:
    """The steps; each raises StepFailed if it does not come true."""

    world: World
    stage: Stage

    def tell(self) -> None:
        """All of it."""
        self._parts_start()
        self._squids_join()
        self._workers_ask()
        self._workers_are_configured()
        self._a_squid_dies()
        self._workers_move()

    def _parts_start(self) -> None:
        with self.stage.step("The parts start"):
            self.world.start()
            self._show_parts()
            self._show_stand_ins()

    def _show_parts(self) -> None:
        world, say = self.world, self.stage.say
        heartbeats = {
            "embedded": "by the AMQP listener inside it",
            "rabbitmq": "from a RabbitMQ of the demo's own",
        }[world.choices.broker]
        store = {"memory": "in its memory", "redis": "in a Redis of the demo's own"}[world.choices.store]
        say(f"shoal-server   {world.server.url}/: hears heartbeats {heartbeats}, keeps squids {store}", 1)
        say(f"origin         {world.origin.url}: CVMFS repository {REPOSITORY}, Frontier servlet /atlr", 1)
        for site, cache in world.caches.items():
            kind = "squid" if isinstance(cache, Squid) else "proxy.py"
            say(f"{kind:<14} {cache.url}: at {site.city}, that is {site.network} by the location table", 1)

    def _show_stand_ins(self) -> None:
        choices = self.world.choices
        real = ["shoal-server, shoal-agent, shoal-client"]
        real += [name for name in (choices.broker, choices.store, choices.cache) if name in _SERVICES]
        stand_ins = ["the origin plays a Stratum 1 and a Frontier server", "a script plays cvmfs_talk"]
        if choices.cache != "squid":
            stand_ins.append("the Python library proxy.py plays squid")
        self.stage.say(f"Real: {', '.join(real)}.", 1)
        self.stage.say(f"Stand-ins: {'; '.join(stand_ins)}.", 1)
        self.stage.say(
            "The sites are networks inside 127.0.0.0/8; each worker's connections come from one.", 1
        )

    def _squids_join(self) -> None:
        with self.stage.step("An agent beside each squid announces it"):
            since = time.monotonic()
            self.world.start_agents()
            wanted = {site.squid_address for site in SITES}
            squids = self.stage.expect(
                "the server lists three squids and has fetched an object through each",
                lambda: _verified(self.world.squids(), wanted),
            )
            for entry in squids:
                place = f"{entry['external_ip']}:{entry['squid_port']}"
                self.stage.say(
                    f"{entry['hostname']:<24} {place:<18} in {entry['geo_data']['city']}, "
                    "tested by its agent, verified by the server",
                    1,
                )
            self.stage.good(f"Joined and verified in {time.monotonic() - since:.1f} s.")

    def _workers_ask(self) -> None:
        with self.stage.step("A worker at each site asks the server: which squids are near?"):
            self.stage.say(
                "Nearest first; km: the great circle, and 100 more for a squid at another site.", 1
            )
            for worker in self.world.workers:
                told = worker.nearest()
                self._show_answer(worker, told)
                self.stage.require(f"{worker.site.city} is told of three squids", len(told) == len(SITES))
                own = told[0].address == worker.site.squid_address and told[0].local
                self.stage.require(f"{worker.site.city} is told of its own squid first", own)

    def _show_answer(self, worker: Worker, told: tuple[Told, ...]) -> None:
        self.stage.say(f"{worker.site.worker_address} is in {worker.site.city}; GET /nearest:", 1)
        for number, squid in enumerate(told, start=1):
            why = "its own site" if squid.local else "elsewhere"
            self.stage.say(f"{number}. {squid.hostname:<24}{squid.distance:>8,.0f} km  {why}", 2)

    def _workers_are_configured(self) -> None:
        with self.stage.step("shoal-client runs on each worker: tests what it was told, then configures it"):
            self.stage.say("CVMFS_HTTP_PROXY   what repositories mounted from now on will use", 1)
            self.stage.say(f"{REPOSITORY:<18} what this repository, which is mounted already, uses", 1)
            self.stage.say("FRONTIER_SERVER    what a job gets from `shoal-client -f`", 1)
            for worker in self.world.workers:
                self.stage.require(
                    f"{worker.site.city} has no proxy at first", worker.configuration.cvmfs == "DIRECT"
                )
                self._configure(worker)
            path = worker.file.relative_to(self.world.directory)
            self.stage.say(f"\nThe file that it wrote in {worker.site.city}, {path}:", 1)
            self.stage.say(worker.file.read_text().rstrip(), 2)

    def _a_squid_dies(self) -> None:
        with self.stage.step(f"The squid in {LOST.city} is killed"):
            since = time.monotonic()
            self.world.caches[LOST].kill()
            self.stage.expect(
                f"its agent notices and says goodbye, and the server lists {LOST.squid_name} no more",
                lambda: all(entry["external_ip"] != LOST.squid_address for entry in self.world.squids()),
            )
            for worker in self.world.workers:
                told = self.stage.expect(
                    f"{worker.site.city} is told of the other two squids",
                    partial(_told_without, worker, LOST),
                )
                self._show_answer(worker, told)
            self.stage.good(
                f"Its agent noticed and said goodbye; off the list after {time.monotonic() - since:.1f} s."
            )

    def _workers_move(self) -> None:
        with self.stage.step("shoal-client runs again, as cron would"):
            for worker in self.world.workers:
                self._configure(worker)
                left = _uses(worker.configuration, LOST)
                self.stage.require(f"{worker.site.city} uses the dead squid no more", not any(left))

    def _configure(self, worker: Worker) -> None:
        """Run the client and show what it changed."""
        nearest = next(site for site in SITES if site.squid_address == worker.nearest()[0].address)
        before = worker.configuration
        after = self.stage.expect(
            f"{worker.site.city} uses {nearest.squid_name} first", lambda: _configured(worker, nearest)
        )
        self.stage.say(f"\nworker in {worker.site.city}: {_in_words(after.cvmfs)}", 1)
        self.stage.change("CVMFS_HTTP_PROXY", before.cvmfs, after.cvmfs)
        self.stage.change(REPOSITORY, before.mounted, after.mounted)
        self.stage.change("FRONTIER_SERVER", before.frontier, after.frontier)


_SERVICES = ("rabbitmq", "redis", "squid")


def _verified(entries: list[dict[str, Any]], wanted: set[str]) -> list[dict[str, Any]]:
    """The entries if they are the wanted ones, all verified."""
    verified = {entry["external_ip"] for entry in entries if entry["verified"]}
    return sorted(entries, key=lambda entry: str(entry["external_ip"])) if verified == wanted else []


def _told_without(worker: Worker, site: Site) -> tuple[Told, ...]:
    """The server's answer to the worker if it names all squids but that of `site`."""
    told = worker.nearest()
    addresses = {squid.address for squid in told}
    return told if addresses == {each.squid_address for each in SITES if each != site} else ()


def _configured(worker: Worker, nearest: Site) -> Configuration | None:
    """What the client made of the worker, if it put the nearest squid first everywhere.

    It does not when that squid was slow to answer just then; its next run moves back.
    """
    worker.run_client()
    now = worker.configuration
    first = _proxy_of(nearest)
    return (
        now if all(re.match(rf"(\(serverurl=.*?\)\(proxyurl=)?{first}", each) for each in now.all) else None
    )


def _uses(configuration: Configuration, site: Site) -> list[str]:
    """The settings that name the squid of `site`."""
    return [each for each in configuration.all if re.search(_proxy_of(site), each)]


def _proxy_of(site: Site) -> str:
    """A pattern for the squid of `site` as CVMFS and Frontier write it."""
    return rf"http://{re.escape(site.squid_address)}:[0-9]+"


def _in_words(chain: str) -> str:
    """A chain of CVMFS with the sites' names."""
    for site in SITES:
        chain = re.sub(_proxy_of(site), site.city, chain)
    return chain.replace("|", " or ").replace(";", ", then ").replace("DIRECT", "without a proxy")
