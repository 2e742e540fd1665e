"""RabbitMQ on its bad days: killed, hung, out of memory. The list stays, and nothing acknowledged is lost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testbed.process import wait_until
from testbed.rabbitmq import RabbitMQ
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
