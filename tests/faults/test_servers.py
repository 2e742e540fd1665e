"""Servers that are killed, and servers that start before everything else."""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from testbed.process import wait_until
from testbed.program import ShoalServer
from testbed.rabbitmq import RabbitMQ
from tests.faults.looks import ask
from tests.faults.scale import Scale
from tests.faults.site import LOCATIONS, Parts, built, cared_for, running
from tests.faults.watch import Watch

TAKEN_OVER_SECONDS = 60.0


def lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_server_that_is_killed_while_it_writes(shared: Parts, scale: Scale) -> None:
    with running(shared, scale) as site, Watch(site, witnesses=shared.agents_url) as watch:
        taken_over = 0.0
        for server in site.servers:
            watch.live(scale.beat)
            killed = time.time()
            site.kill(server)
            wait_until(lambda: cared_for(site, killed), TAKEN_OVER_SECONDS, "its work is taken over")  # noqa: B023
            taken_over = max(taken_over, time.time() - killed)
            site.start(server)
        note = f"each server in turn; every squid heard and checked by another within {taken_over:.1f} s"
        watch.finish("server killed with SIGKILL while it writes", "RabbitMQ, Redis", note=note)


def test_a_single_server_that_is_killed_knows_its_squids_again(plain: Parts, scale: Scale) -> None:
    file = plain.directory("state") / "squids"
    file.parent.mkdir()
    parts = replace(plain, store=f"memory://{file}")
    with running(parts, replace(scale, servers=1)) as site, Watch(site) as watch:
        server = site.servers[0]
        wait_until(lambda: lines(file) == scale.agents, 20.0, "all squids are in the file")
        site.kill(server)
        watch.live(scale.beat)
        site.start(server)
        assert site.offered(server) == {one.address for one in site.fleet.live}
        note = "lookups are counted while it runs; heartbeats since the last save (10 s) are not kept"
        watch.finish("the only server killed with SIGKILL", "listener, memory with a file", note=note)


class Worker(ShoalServer):
    """A server process that answers nobody."""

    def is_ready(self) -> bool:
        return self.running


def test_processes_with_a_role_each(shared: Parts, scale: Scale) -> None:
    """One answers, one hears, one checks; each of the latter two is killed and started again."""
    with ExitStack() as stack:
        site = stack.enter_context(built(shared, replace(scale, servers=1), flags=["web"]))
        workers = [
            Worker(
                site.directory / role,
                cvmfs_url=f"{site.origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished",
                locations=LOCATIONS,
                amqp=shared.amqp,
                store=shared.store,
                flags=(*scale.flags, role),
            )
            for role in ("intake", "verify")
        ]
        for worker in workers:
            stack.enter_context(worker)
        site.start(site.servers[0])
        stack.enter_context(site.fleet)
        site.await_listed()
        watch = stack.enter_context(Watch(site, witnesses=shared.agents_url))
        for worker in workers:
            watch.live(scale.beat)
            worker.kill()
            watch.live(scale.suspect_after)
            worker.start()
        since = time.time()
        wait_until(
            lambda: cared_for(site, since), TAKEN_OVER_SECONDS, "every squid is heard and checked again"
        )
        watch.finish("processes with a role each; intake and verify killed with SIGKILL", "RabbitMQ, Redis")


def test_parts_that_start_in_the_wrong_order(shared: Parts, rabbitmq: RabbitMQ, scale: Scale) -> None:
    """Agents, then servers, then Redis, then RabbitMQ."""
    assert shared.redis
    rabbitmq.kill()
    shared.redis.kill()
    with built(shared, scale) as site, site.fleet:
        for server in site.servers:
            site.start(server)
            state, body = ask(server, "/nearest/5")
            assert (set(state.split(",")), body.strip()) == ({"deaf", "stale"}, b"null")
        shared.redis.start()
        rabbitmq.start()
        began = time.monotonic()
        site.await_listed()
        note = f"all squids listed {time.monotonic() - began:.1f} s after RabbitMQ, the last to start"
        with Watch(site, witnesses=shared.agents_url) as watch:
            watch.live(scale.dead_after)
            watch.finish("started as agents, servers, Redis, RabbitMQ", "RabbitMQ, Redis", note=note)
