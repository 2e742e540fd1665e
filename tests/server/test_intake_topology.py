"""What a server hears by may be taken away under it, and come back: it goes on hearing, and loses nothing."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from shoal_common.amqp import Broker, Tls
from shoal_server.intake.rabbitmq import RabbitMQIntake
from shoal_server.intake.reception import Reception
from shoal_server.intake.topology import Topology
from shoal_server.registry import Registry
from shoal_server.squid import LivenessRules
from testbed.process import wait_until
from tests.fakes import FlakyStore, beat

BACKLOG = 300
WITHIN = 20.0
SHARED = "shoal-heartbeats"
LOG = "shoal_server.intake.topology"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come quickly one after the other."""
    monkeypatch.setattr("shoal_server.intake.topology.LOOK_SECONDS", 0.1)


@contextmanager
def channel_of(url: str) -> Iterator[BlockingChannel]:
    with pika.BlockingConnection(next(Broker.parse(url, Tls()).parameters("test"))) as connection:
        yield connection.channel()


def say(url: str, count: int) -> None:
    """Publish so many heartbeats, each of which a queue takes."""
    with channel_of(url) as channel:
        channel.confirm_delivery()
        for number in range(count):
            channel.basic_publish("shoal", "info", beat(uuid=f"u-{number}").encode(), mandatory=True)


def is_heard(url: str) -> bool:
    """Whether there is an exchange, and a queue behind it, that takes a heartbeat."""
    try:
        say(url, 1)
    except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.UnroutableError):
        return False
    return True


@contextmanager
def hearing(url: str, queue: str | None) -> Iterator[tuple[RabbitMQIntake, Reception]]:
    """A server that consumes."""
    reception = Reception(Registry(FlakyStore(), LivenessRules()), lambda address: False)
    intake = RabbitMQIntake(Broker.parse(url, Tls()), reception, exchange="shoal", shared_queue=queue)
    intake.start()
    try:
        wait_until(lambda: intake.connected, WITHIN, "it consumes")
        yield intake, reception
    finally:
        intake.stop()


def accepted(reception: Reception) -> int:
    return reception.counts.get("accepted", 0)


def hears_again(url: str, reception: Reception) -> None:
    before = accepted(reception)
    wait_until(lambda: is_heard(url), WITHIN, "a heartbeat is taken by a queue")
    wait_until(lambda: accepted(reception) > before, WITHIN, "it is heard")


@pytest.mark.parametrize("queue", [SHARED, None], ids=["shared", "own"])
def test_a_server_hears_on_after_its_exchange_was_deleted(rabbit_vhost: str, queue: str | None) -> None:
    with hearing(rabbit_vhost, queue) as (_, reception):
        with channel_of(rabbit_vhost) as channel:
            channel.exchange_delete("shoal")
        hears_again(rabbit_vhost, reception)


def test_a_server_hears_on_after_its_queue_was_unbound(rabbit_vhost: str) -> None:
    with hearing(rabbit_vhost, SHARED) as (_, reception):
        with channel_of(rabbit_vhost) as channel:
            channel.queue_unbind(SHARED, "shoal", routing_key="#")
        hears_again(rabbit_vhost, reception)


def test_an_exchange_in_another_form_is_told_once_and_bound_again_all_the_same(
    rabbit_vhost: str, caplog: pytest.LogCaptureFixture
) -> None:
    with channel_of(rabbit_vhost) as channel:
        channel.exchange_declare("shoal", "topic", durable=True)
        with caplog.at_level(logging.INFO, LOG), hearing(rabbit_vhost, SHARED) as (intake, reception):
            for _ in range(3):
                channel.queue_unbind(SHARED, "shoal", routing_key="#")
                hears_again(rabbit_vhost, reception)
            assert intake.connected
    assert len([one for one in caplog.records if one.name == LOG]) == 1


def test_an_exchange_that_is_no_topic_is_warned_of_with_the_brokers_words(
    rabbit_vhost: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing comes through a direct one, and all else looks well."""
    with channel_of(rabbit_vhost) as channel:
        channel.exchange_declare("shoal", "direct")
    with caplog.at_level(logging.WARNING, LOG), hearing(rabbit_vhost, None):
        pass
    (told,) = (record.message for record in caplog.records if record.name == LOG)
    assert "received 'topic' but current is 'direct'" in told


def test_what_came_until_the_shared_queue_was_back_is_stored(
    rabbit_vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    back, really = threading.Event(), Topology._shared
    backlog: list[Callable[[], None]] = [lambda: say(rabbit_vhost, BACKLOG)]

    def shared(self: Topology) -> str | None:
        """Its node is down until `back` is set; the backlog comes in the moment of its return."""
        if not back.is_set():
            return None
        while backlog:
            backlog.pop()()
        return really(self)

    monkeypatch.setattr(Topology, "_shared", shared)
    with hearing(rabbit_vhost, SHARED) as (_, reception):
        back.set()
        wait_until(lambda: accepted(reception) == BACKLOG, WITHIN, "all are stored")
        say(rabbit_vhost, 1)
        wait_until(lambda: accepted(reception) > BACKLOG, WITHIN, "one more, by the shared queue")
        assert accepted(reception) == BACKLOG + 1
