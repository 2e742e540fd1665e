"""A server that heard by a queue of its own goes back to the shared one, and leaves nothing behind."""

import threading
from collections.abc import Callable

import pika
import pytest

from shoal_common.amqp import Broker, Tls
from shoal_server.intake.rabbitmq import RabbitMQIntake
from shoal_server.intake.reception import Reception
from shoal_server.registry import Registry
from shoal_server.squid import LivenessRules
from testbed.process import wait_until
from tests.fakes import FlakyStore, beat

BACKLOG = 300
WITHIN = 20.0


class Homeless(RabbitMQIntake):
    """The node of its queue is down until `back` is set; in the moment of its return `then` is called."""

    back = threading.Event()
    then: Callable[[], None]

    def _shared(self, connection: pika.BlockingConnection) -> str | None:
        if not self.back.is_set():
            return None
        then, self.then = self.then, lambda: None
        then()
        return super()._shared(connection)


def say(url: str, count: int) -> None:
    """Publish so many heartbeats, each of which a queue takes."""
    with pika.BlockingConnection(next(Broker.parse(url, Tls()).parameters("test"))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(count):
            channel.basic_publish("shoal", "info", beat(uuid=f"u-{number}").encode(), mandatory=True)


def test_what_came_until_the_shared_queue_was_back_is_stored(
    rabbit_vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_server.intake.rabbitmq.HOME_SECONDS", 0.1)
    reception = Reception(Registry(FlakyStore(), LivenessRules()), lambda address: False)
    broker = Broker.parse(rabbit_vhost, Tls())
    intake = Homeless(broker, reception, exchange="shoal", shared_queue="shoal-heartbeats")
    intake.back.clear()
    intake.then = lambda: say(rabbit_vhost, BACKLOG)
    intake.start()
    try:
        wait_until(lambda: intake.connected, WITHIN, "it hears by a queue of its own")
        intake.back.set()
        wait_until(lambda: reception.counts.get("accepted", 0) == BACKLOG, WITHIN, "all are stored")
        say(rabbit_vhost, 1)
        wait_until(lambda: reception.counts["accepted"] > BACKLOG, WITHIN, "one more, by the shared queue")
        assert reception.counts["accepted"] == BACKLOG + 1
    finally:
        intake.stop()
