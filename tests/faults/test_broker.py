"""RabbitMQ on its bad days: killed, hung, out of memory. The list stays, and nothing acknowledged is lost."""

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.ports import free_port
from testbed.process import wait_until
from testbed.program import ShoalServer
from testbed.rabbitmq import Epmd, RabbitMQ
from tests.faults.conftest import QUEUE
from tests.faults.relay import Relay
from tests.faults.scale import REAL, Scale
from tests.faults.site import Parts, running
from tests.faults.watch import Watch

PARTS = "RabbitMQ, Redis"


@contextmanager
def out_of_memory(broker: RabbitMQ) -> Iterator[None]:
    """The alarm that makes RabbitMQ block whoever publishes."""
    broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        yield
    finally:
        broker.ctl("set_vm_memory_high_watermark", "0.4")


def test_a_broker_that_is_killed(shared: Parts, rabbitmq: RabbitMQ, scale: Scale) -> None:
    url = str(shared.agents_url)
    with running(shared, scale) as site, Watch(site, witnesses=url) as watch:
        watch.live(1.0)
        rabbitmq.kill()
        watch.live(scale.fault)
        rabbitmq.start()
        watch.finish("RabbitMQ killed with SIGKILL and started again", PARTS)
        assert any("deaf" in state for state in watch.states)


def test_a_broker_that_hangs(shared: Parts, rabbitmq: RabbitMQ, scale: Scale) -> None:
    url = str(shared.agents_url)
    with running(shared, scale) as site, Watch(site, witnesses=url, counted=True) as watch:
        watch.live(1.0)
        rabbitmq.pause()
        try:
            watch.live(scale.fault)
        finally:
            rabbitmq.resume()
        watch.finish("RabbitMQ hangs (SIGSTOP)", PARTS)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_broker_that_hangs_for_longer_than_it_takes_to_notice(shared: Parts, rabbitmq: RabbitMQ) -> None:
    """With the default settings the link is found broken before silence would mean anything."""
    url = str(shared.agents_url)
    with running(shared, REAL) as site, Watch(site, witnesses=url) as watch:
        watch.live(1.0)
        began = time.monotonic()
        rabbitmq.pause()
        try:
            wait_until(
                lambda: "deaf" in watch.states, REAL.suspect_after, "the servers know that they are deaf"
            )
            deaf = time.monotonic() - began
            watch.live(REAL.suspect_after + 30 - deaf)
        finally:
            rabbitmq.resume()
        note = f"default settings; known to be deaf after {deaf:.0f} s"
        watch.finish("RabbitMQ hangs (SIGSTOP) for two minutes", PARTS, note=note, within=120.0)


def test_a_broker_that_is_out_of_memory(shared: Parts, rabbitmq: RabbitMQ, scale: Scale) -> None:
    url = str(shared.agents_url)
    with running(shared, scale) as site, Watch(site, witnesses=url, counted=True) as watch:
        watch.live(1.0)
        with out_of_memory(rabbitmq):
            watch.live(scale.fault)
        watch.finish("RabbitMQ out of memory (publishers blocked)", PARTS)


def test_the_first_host_of_a_cluster_dies(shared: Parts, rabbitmq: RabbitMQ, scale: Scale) -> None:
    """Servers and agents know two hosts of one broker, and go on by the second."""
    first = ("127.0.0.1", free_port())
    url = str(shared.agents_url).replace(
        f":{rabbitmq.port}/", f":{first[1]},{rabbitmq.host}:{rabbitmq.port}/"
    )
    with Relay((rabbitmq.host, rabbitmq.port)) as line:
        line.open([first])
        parts = replace(shared, agents_url=url, amqp=url)
        with running(parts, scale) as site, Watch(site, witnesses=url, counted=True) as watch:
            assert all(f"from {first[0]}:{first[1]}" in server.tail(1000) for server in site.servers)
            watch.live(1.0)
            line.shut([first])
            began = time.monotonic()
            second = f"from {rabbitmq.host}:{rabbitmq.port}"
            wait_until(
                lambda: all(second in server.tail(1000) for server in site.servers), 30.0, "both moved"
            )
            note = f"both servers consume from the second within {time.monotonic() - began:.1f} s"
            watch.live(scale.dead_after)
            watch.finish("RabbitMQ: the first of two hosts dies", PARTS, note=note)


@contextmanager
def cluster_of_two(new_directory: Callable[[str], Path]) -> Iterator[tuple[RabbitMQ, RabbitMQ]]:
    cookie = secrets.token_hex(16)
    with (
        Epmd(new_directory("epmd")) as epmd,
        RabbitMQ(new_directory("rabbitmq"), epmd=epmd, cookie=cookie) as one,
        RabbitMQ(new_directory("rabbitmq"), epmd=epmd, cookie=cookie) as two,
    ):
        two.join(one)
        yield one, two


@pytest.mark.timeout(300)
def test_the_node_of_a_cluster_that_holds_the_queue_dies(
    shared: Parts, new_directory: Callable[[str], Path], scale: Scale
) -> None:
    """Until it is back each server hears by a queue of its own, over the node that is left.

    The servers' counters say nothing then, for every server counts all. The witnesses do: in the moment in
    which no queue is there nothing is acknowledged.
    """
    with cluster_of_two(new_directory) as (one, two):
        url = f"amqp://guest:guest@{one.host}:{one.port},{two.host}:{two.port}/%2F"
        parts = replace(shared, agents_url=url, amqp=url)
        with running(parts, scale) as site, Watch(site, witnesses=url) as watch:
            watch.live(1.0)
            one.kill()
            wait_until(
                lambda: all("each server hears all" in server.tail(1000) for server in site.servers),
                30.0,
                "all hear by queues of their own",
            )
            watch.live(scale.fault)
            one.start()
            wait_until(
                lambda: all(_last_queue(server) == QUEUE for server in site.servers),
                60.0,
                "they share it again",
            )
            watch.finish("RabbitMQ cluster: the node that holds the queue dies, and comes back", PARTS)


def _last_queue(server: ShoalServer) -> str:
    """The queue that a server consumes from, or did last."""
    said = re.findall(r" consuming (\S+) from ", server.log.read_text())
    return str(said[-1])
