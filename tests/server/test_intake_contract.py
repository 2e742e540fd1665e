"""One contract for both ways in: RabbitMQ, and the listener inside the server."""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import amqp
import pika
import pika.exceptions
import pytest

from shoal_common.amqp import Broker, Tls
from shoal_common.errors import SettingsError, Unavailable
from shoal_server.intake.embedded import Credentials, EmbeddedIntake
from shoal_server.intake.rabbitmq import RabbitMQIntake
from shoal_server.intake.reception import Intake, Reception
from shoal_server.registry import Registry
from shoal_server.squid import LivenessRules
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.rabbitmq import RabbitMQ
from tests.fakes import GENERATIONS, FlakyStore, beat

WITHIN = 20.0
HOSTILE = [
    b"",
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b"{",
    b"[" * 60_000,
    b'{"uuid": 1}',
    b"1" * 5000,
    json.dumps({"uuid": "u", "hostname": "$(reboot)", "public_ip": "192.0.2.9", "load": 1}).encode(),
    json.dumps({"uuid": "u", "hostname": "h", "public_ip": "1.2.3.4;reboot", "load": 1}).encode(),
    b'{"uuid": "u", "hostname": "h", "public_ip": "192.0.2.9", "timestamp": NaN, "load": 1}',
    b'{"uuid": "u", "hostname": "h", "public_ip": "192.0.2.9", "timestamp": 1, "load": -1}',
    b'{"uuid": "u", "hostname": "h", "public_ip": "192.0.2.9", "timestamp": "x", "load": 1}',
]


@dataclass
class Server:
    """What stands behind an intake: a reception, a registry and a store that can go away."""

    store: FlakyStore
    reception: Reception

    @classmethod
    def new(cls) -> "Server":
        store = FlakyStore()
        return cls(store, Reception(Registry(store, LivenessRules()), lambda address: False))

    @property
    def addresses(self) -> list[str]:
        return sorted(squid.address for squid in self.store.squids())

    @property
    def accepted(self) -> int:
        return self.reception.counts.get("accepted", 0)

    def lists(self, count: int) -> None:
        wait_until(lambda: len(self.store.squids()) >= count, WITHIN, f"{count} squids are listed")


@dataclass
class Door:
    """A kind of intake, and how publishers reach it."""

    port: int
    exchange: str
    make: Callable[[Reception], Intake]

    @contextmanager
    def serving(self, server: Server) -> Iterator[Intake]:
        intake = self.make(server.reception)
        intake.start()
        try:
            wait_until(lambda: intake.connected, WITHIN, "the intake is connected")
            yield intake
        finally:
            intake.stop()

    @contextmanager
    def channel(self) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
        connection = pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", self.port, socket_timeout=WITHIN)
        )
        yield connection.channel()
        if connection.is_open:  # not in a finally: after a failure a graceful end may never come
            connection.close()

    def publish(self, *bodies: bytes, routing_key: str = "info") -> None:
        """As deployed agents do: a new connection for each message, and no confirms."""
        for body in bodies:
            with self.channel() as channel:
                properties = pika.BasicProperties(content_type="application/json")
                channel.basic_publish(self.exchange, routing_key, body, properties)

    def publish_by_pyamqp(self, body: bytes) -> None:
        with (
            amqp.Connection(f"127.0.0.1:{self.port}", "guest", "guest") as connection,
            connection.channel() as channel,
        ):
            message = amqp.Message(body, content_type="application/json")
            channel.basic_publish(message, self.exchange, "elephant.info")


def rabbitmq_door(broker: RabbitMQ, *, queue: str | None = None) -> Door:
    """The broker under an exchange of this test's own."""
    parsed = Broker.parse(broker.url, Tls())
    name = f"shoal-{uuid.uuid4().hex}"
    return Door(
        broker.port,
        name,
        lambda reception: RabbitMQIntake(parsed, reception, exchange=name, shared_queue=queue),
    )


def embedded_door() -> Door:
    port = free_port()
    login = Credentials("guest", "guest")
    return Door(
        port, "shoal", lambda reception: EmbeddedIntake("127.0.0.1", port, reception, credentials=login)
    )


@pytest.fixture
def broker(rabbitmq: RabbitMQ) -> RabbitMQ:
    """The broker of all tests, running."""
    rabbitmq.start()
    rabbitmq.resume()
    return rabbitmq


@pytest.fixture
def queue() -> str:
    """The name of a queue that servers of this test share."""
    return f"shared-{uuid.uuid4().hex}"


@pytest.fixture(params=["rabbitmq", "embedded"])
def door(request: pytest.FixtureRequest) -> Door:
    if request.param == "embedded":
        return embedded_door()
    return rabbitmq_door(request.getfixturevalue("broker"))


@pytest.fixture
def server() -> Server:
    return Server.new()


def beats(count: int) -> list[bytes]:
    """Heartbeats of as many squids."""
    return [beat(uuid=f"u{number}", public_ip=f"192.0.2.{number}").encode() for number in range(1, count + 1)]


# --- what both do -----------------------------------------------------------------------------------


def test_a_heartbeat_of_every_generation_is_taken_from_pika(door: Door, server: Server) -> None:
    with door.serving(server):
        door.publish(*GENERATIONS.values())
        server.lists(len(GENERATIONS))
    assert server.addresses == [f"192.0.2.{number}" for number in range(101, 109)]


def test_a_heartbeat_of_every_generation_is_taken_from_another_library(door: Door, server: Server) -> None:
    with door.serving(server):
        for body in GENERATIONS.values():
            door.publish_by_pyamqp(body)
        server.lists(len(GENERATIONS))
    assert server.addresses == [f"192.0.2.{number}" for number in range(101, 109)]


def test_the_routing_key_does_not_matter(door: Door, server: Server) -> None:
    with door.serving(server):
        for body, routing_key in zip(beats(4), ["info", "elephant.info", "", "a.b.c.d"], strict=True):
            door.publish(body, routing_key=routing_key)
        server.lists(4)


def test_the_consumer_lives_on_after_ten_thousand_hostile_messages(
    door: Door, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = beats(1)[0], [HOSTILE[number % len(HOSTILE)] for number in range(10_000)]
    with door.serving(server) as intake, caplog.at_level(logging.WARNING), door.channel() as channel:
        for body in [*bad[:5000], good, *bad[5000:], beats(2)[1]]:
            channel.basic_publish(door.exchange, "info", body)
        server.lists(2)
        wait_until(lambda: sum(server.reception.counts.values()) == 10_002, WITHIN, "all are counted")
        assert intake.connected
    assert server.accepted == 2
    assert len(caplog.records) < 100


def test_a_message_that_is_too_long_costs_neither_its_neighbours_nor_the_consumer(
    door: Door, server: Server
) -> None:
    with door.serving(server):
        with door.channel() as channel:
            channel.basic_publish(door.exchange, "info", b" " * 65_537)
        door.publish(*beats(1))
        server.lists(1)


def test_a_steady_trickle_is_not_held_back_for_a_batch(door: Door, server: Server) -> None:
    published = 0
    with door.serving(server), door.channel() as channel:
        while not server.accepted and published < 60:
            channel.basic_publish(door.exchange, "info", beats(1)[0])
            published += 1
            channel.connection.sleep(0.02)
    assert published < 60


def test_a_store_that_was_away_is_used_again_without_a_restart(door: Door, server: Server) -> None:
    with door.serving(server):
        server.store.away = True
        door.publish(beats(1)[0])
        wait_until(lambda: server.reception.failed_at is not None, WITHIN, "a batch was tried")
        assert server.accepted == 0
        server.store.away = False
        door.publish(beats(2)[1])
        wait_until(lambda: "192.0.2.2" in server.addresses, WITHIN, "the next heartbeat is listed")


def test_a_batch_that_breaks_the_reception_costs_itself_alone(door: Door) -> None:
    class Brittle(Reception):
        broken = 0

        def take(self, bodies: object) -> None:
            if not self.broken:
                self.broken += 1
                raise ZeroDivisionError("a defect")
            super().take(bodies)  # type: ignore[arg-type]

    store = FlakyStore()
    reception = Brittle(Registry(store, LivenessRules()), lambda address: False)
    server = Server(store, reception)
    with door.serving(server) as intake:
        door.publish(beats(1)[0])
        wait_until(lambda: reception.broken == 1, WITHIN, "the first batch broke it")
        door.publish(beats(2)[1])
        server.lists(1)
        assert intake.connected


def test_an_intake_that_stopped_is_not_connected(door: Door, server: Server) -> None:
    with door.serving(server) as intake:
        pass
    assert not intake.connected


def test_stopping_is_quick_even_while_the_store_is_away(door: Door, server: Server) -> None:
    with door.serving(server):
        server.store.away = True
        door.publish(*beats(1))
        wait_until(lambda: server.reception.failed_at is not None, WITHIN, "a batch was tried")
        began = time.monotonic()
    assert time.monotonic() - began < 2.0


# --- the embedded listener alone --------------------------------------------------------------------


def test_a_confirmed_heartbeat_is_refused_while_the_store_is_away(server: Server) -> None:
    door = embedded_door()
    server.store.away = True
    with door.serving(server), door.channel() as channel:
        channel.confirm_delivery()
        with pytest.raises(pika.exceptions.NackError):
            channel.basic_publish(door.exchange, "info", beats(1)[0])


def test_a_taken_port_is_told_at_the_start(server: Server) -> None:
    door = embedded_door()
    with door.serving(server), pytest.raises(Unavailable, match=f"127.0.0.1:{door.port}"):
        door.make(server.reception).start()


# --- RabbitMQ alone ---------------------------------------------------------------------------------


def test_what_comes_while_the_store_is_away_is_delivered_when_it_is_back(
    broker: RabbitMQ, server: Server
) -> None:
    """The embedded listener keeps nothing: there a confirmed heartbeat is refused instead."""
    door = rabbitmq_door(broker)
    with door.serving(server):
        server.store.away = True
        door.publish(*beats(5))
        wait_until(lambda: server.reception.failed_at is not None, WITHIN, "a batch was tried")
        assert server.accepted == 0
        server.store.away = False
        server.lists(5)
    assert server.accepted == 5


def test_nothing_is_acknowledged_before_it_is_stored(broker: RabbitMQ, queue: str, server: Server) -> None:
    door = rabbitmq_door(broker, queue=queue)
    server.store.away = True
    with door.serving(server):
        door.publish(*beats(3))
        wait_until(lambda: server.reception.failed_at is not None, WITHIN, "a batch was tried")
    successor = Server.new()
    with door.serving(successor):
        successor.lists(3)
    assert (server.accepted, successor.accepted) == (0, 3)


def test_what_is_stored_is_acknowledged(broker: RabbitMQ, queue: str, server: Server) -> None:
    door = rabbitmq_door(broker, queue=queue)
    with door.serving(server), door.channel() as channel:
        door.publish(*beats(3))
        server.lists(3)

        def left() -> int:
            return int(channel.queue_declare(queue, passive=True).method.message_count)

        wait_until(lambda: left() == 0, WITHIN, "the queue is empty")
    successor = Server.new()
    with door.serving(successor):
        door.publish(beats(4)[3])
        successor.lists(1)
    assert successor.accepted == 1


def test_two_servers_that_share_a_queue_count_no_heartbeat_twice(broker: RabbitMQ, queue: str) -> None:
    door = rabbitmq_door(broker, queue=queue)
    one, two = Server.new(), Server.new()
    with door.serving(one), door.serving(two), door.channel() as channel:
        for body in beats(200):
            channel.basic_publish(door.exchange, "info", body)
        wait_until(lambda: one.accepted + two.accepted >= 200, WITHIN, "all are taken")
    assert one.accepted + two.accepted == 200
    assert not set(one.addresses) & set(two.addresses)


def test_two_servers_with_queues_of_their_own_hear_every_heartbeat_each(broker: RabbitMQ) -> None:
    door = rabbitmq_door(broker)
    one, two = Server.new(), Server.new()
    with door.serving(one), door.serving(two):
        door.publish(*beats(3))
        one.lists(3)
        two.lists(3)


@pytest.mark.parametrize(
    "form",
    [
        {"exchange_type": "topic", "durable": True},
        {"exchange_type": "topic", "auto_delete": True},
        {"exchange_type": "fanout"},
    ],
    ids=["durable", "auto-deleted", "fanout"],
)
def test_an_exchange_that_exists_in_another_form_is_taken_as_it_is(
    broker: RabbitMQ, server: Server, form: dict[str, object]
) -> None:
    door = rabbitmq_door(broker)
    with door.channel() as channel:
        channel.exchange_declare(door.exchange, **form)  # type: ignore[arg-type]
        with door.serving(server):
            door.publish(*beats(1))
            server.lists(1)


def test_consumption_resumes_by_itself_after_the_broker_was_killed(
    start_rabbitmq: Callable[..., RabbitMQ], server: Server
) -> None:
    broker = start_rabbitmq()
    door = rabbitmq_door(broker)
    with door.serving(server) as intake:
        door.publish(beats(1)[0])
        server.lists(1)
        broker.kill()
        wait_until(lambda: not intake.connected, WITHIN, "the loss is noticed")
        broker.start()
        wait_until(lambda: intake.connected, 60.0, "it consumes again")
        door.publish(beats(2)[1])
        server.lists(2)


def test_consumption_resumes_by_itself_after_the_queue_was_deleted(
    broker: RabbitMQ, queue: str, server: Server
) -> None:
    door = rabbitmq_door(broker, queue=queue)
    with door.serving(server) as intake:
        with door.channel() as channel:
            channel.queue_delete(queue)
        wait_until(lambda: not intake.connected, WITHIN, "the loss is noticed")
        wait_until(lambda: intake.connected, WITHIN, "it consumes again")
        door.publish(*beats(1))
        server.lists(1)


def test_of_several_brokers_the_next_is_tried(broker: RabbitMQ, server: Server) -> None:
    dead = free_port()
    url = broker.url.replace("127.0.0.1:", f"127.0.0.1:{dead},127.0.0.1:")
    intake = RabbitMQIntake(
        Broker.parse(url, Tls()), server.reception, exchange=f"shoal-{dead}", shared_queue=None
    )
    intake.start()
    try:
        wait_until(lambda: intake.connected, WITHIN, "the second broker is reached")
    finally:
        intake.stop()


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path: Path, server: Server) -> None:
    broker = Broker.parse("amqps://127.0.0.1:1/", Tls(ca_file=tmp_path / "none.pem"))
    intake = RabbitMQIntake(broker, server.reception, exchange="shoal", shared_queue=None)
    with pytest.raises(SettingsError, match=r"none\.pem"):
        intake.start()
