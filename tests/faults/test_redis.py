"""Redis on its bad days: killed, emptied, hung, loading, full. Servers answer from what they knew."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from testbed.ports import accepts
from testbed.process import wait_until
from testbed.redis import Redis, Sentinel
from tests.conftest import need
from tests.faults.scale import Scale
from tests.faults.site import Parts, Site, cared_for, running
from tests.faults.watch import Watch

PARTS = "RabbitMQ, Redis"


class SlowRedis(Redis):
    """Takes `fault` seconds to load its data when it is started again."""

    keys = 1000
    seconds = 5.0

    def command(self) -> list[str]:
        delay = str(int(1e6 * self.seconds / self.keys))
        return [
            *super().command(),
            *("--key-load-delay", delay, "--loading-process-events-interval-bytes", "1024"),
        ]

    def fill(self) -> None:
        """Data of somebody else, which take their time to load."""
        with redis.Redis.from_url(self.url) as client:
            for number in range(self.keys):
                client.set(f"filler:{number}", "x")

    def save(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.save()

    def is_ready(self) -> bool:
        return accepts(self.host, self.port)


def killed(site: Site, watch: Watch) -> None:
    assert site.redis
    site.redis.kill()
    watch.live(site.scale.fault)
    site.redis.start()


def emptied(site: Site, watch: Watch) -> None:
    assert site.redis
    with redis.Redis.from_url(site.redis.url) as client:
        client.flushall()
    watch.live(site.scale.fault)


def hung(site: Site, watch: Watch) -> None:
    assert site.redis
    site.redis.pause()
    watch.live(site.scale.fault)
    # A server asks twice and waits 2 s for each answer before it gives the store up.
    wait_until(lambda: any("stale" in state for state in watch.states), 10.0, "it is noticed")
    site.redis.resume()


def full(site: Site, watch: Watch) -> None:
    assert site.redis
    with redis.Redis.from_url(site.redis.url) as client:
        client.config_set("maxmemory", 1)
        watch.live(site.scale.fault)
        client.config_set("maxmemory", 0)


@pytest.mark.parametrize(
    ("fault", "break_it", "keeps_data", "declared"),
    [
        ("Redis killed with SIGKILL, started again empty", killed, False, "stale"),
        ("Redis emptied under way (FLUSHALL)", emptied, False, ""),
        ("Redis hangs (SIGSTOP)", hung, True, "stale"),
        ("Redis full (refuses every write)", full, True, "stale"),
    ],
    ids=["killed", "emptied", "hung", "full"],
)
def test_a_redis_that_is(
    shared: Parts,
    scale: Scale,
    fault: str,
    break_it: Callable[[Site, Watch], None],
    keeps_data: bool,
    declared: str,
) -> None:
    witnesses = shared.agents_url if keeps_data else None
    with running(shared, scale) as site, Watch(site, witnesses=witnesses, counted=True) as watch:
        watch.live(1.0)
        break_it(site, watch)
        watch.finish(fault, PARTS)
        assert any(declared in state for state in watch.states)


def test_a_redis_that_loads_its_data_for_a_while(
    new_directory: Callable[[str], Path], rabbit_vhost: str, scale: Scale
) -> None:
    with SlowRedis(new_directory("redis")) as store:
        store.seconds = scale.fault
        store.fill()
        parts = Parts(new_directory, rabbit_vhost, rabbit_vhost, store.url, store)
        with running(parts, scale) as site, Watch(site, counted=True) as watch:
            store.save()
            watch.live(1.0)
            store.kill()
            store.start()
            wait_until(lambda: any("stale" in state for state in watch.states), 10.0, "it is noticed")
            watch.live(scale.fault)
            watch.finish("Redis killed, and loading old data for long", PARTS)


def test_a_redis_master_that_is_killed_and_replaced_by_its_replica(
    new_directory: Callable[[str], Path], rabbit_vhost: str, scale: Scale
) -> None:
    """The sentinel promotes the replica; the old master comes back, and nobody falls for it."""
    need(Redis)
    with (
        Redis(new_directory("redis")) as master,
        Redis(new_directory("redis"), replica_of=master) as replica,
        Sentinel(new_directory("sentinel"), master) as sentinel,
    ):
        wait_until(lambda: replica.follows() and sentinel.replicas() == 1, 30.0, "all know each other")
        parts = Parts(new_directory, rabbit_vhost, rabbit_vhost, sentinel.url, master)
        with running(parts, scale) as site, Watch(site, counted=True) as watch:
            watch.live(1.0)
            master.kill()
            began = time.monotonic()
            wait_until(lambda: replica.role() == "master", 30.0, "the replica is promoted")
            site.redis = replica
            since = time.time()
            wait_until(lambda: cared_for(site, since), 30.0, "every squid is heard and checked again")
            note = f"all heard and checked {time.monotonic() - began:.1f} s after the master was killed"
            master.start()
            watch.live(scale.dead_after)
            watch.finish(
                "Redis master killed with SIGKILL, a sentinel promotes its replica", PARTS, note=note
            )
