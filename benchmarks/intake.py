"""Heartbeats from RabbitMQ into Redis, beside pika draining the same queue and doing nothing with it.

Both begin without a connection, and end when the last message was acknowledged or counted as stored.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.figure import Figure
from benchmarks.lookups.fleet import Fleet
from shoal_common.amqp import ROUTING_KEY, Broker, Tls
from shoal_server.intake.rabbitmq import PREFETCH, RabbitMQIntake
from shoal_server.intake.reception import Reception
from shoal_server.registry import Registry
from shoal_server.squid import LivenessRules
from shoal_server.stores.redis import RedisStore
from testbed.process import wait_until
from testbed.rabbitmq import RabbitMQ
from testbed.redis import Redis

MESSAGES = 30_000
SQUIDS = 10_000
QUEUE = "shoal-heartbeats"
ACK_EVERY = 500
ROUNDS = 3
LEAST = 0.5


def run(directory: Path) -> Iterator[Figure]:
    """One ratio: the median of rounds in which both drain the queue in turn."""
    with RabbitMQ(directory / "rabbitmq") as rabbitmq, Redis(directory / "redis") as redis:
        broker = Broker.parse(rabbitmq.url, Tls())
        with pika.BlockingConnection(next(broker.parameters("benchmark"))) as connection:
            channel = connection.channel()
            reception = Reception(Registry(RedisStore.from_url(redis.url), LivenessRules()), lambda _: False)
            _take_all(broker, reception)  # declares the queue as servers do
            ratios = []
            for _ in range(ROUNDS):
                _fill(channel)
                nothing = _drain(broker)
                _fill(channel)
                stored = _take_all(broker, reception, MESSAGES)
                print(f"  stored {MESSAGES / stored:,.0f}/s, pika alone {MESSAGES / nothing:,.0f}/s")
                ratios.append(nothing / stored)
    name = "RabbitMQ to Redis: rate to that of pika doing nothing"
    yield Figure(name, sorted(ratios)[ROUNDS // 2], "x", LEAST, least=True)


def _fill(channel: BlockingChannel) -> None:
    for body in _bodies():
        channel.basic_publish("shoal", ROUTING_KEY, body)
    wait_until(lambda: _waiting(channel) == MESSAGES, 60.0, "all messages in the queue")


def _bodies() -> Sequence[bytes]:
    fleet, now = Fleet(SQUIDS), time.time()
    return [fleet.beat(number % SQUIDS, now, float(number % 977)).encode() for number in range(MESSAGES)]


def _waiting(channel: BlockingChannel) -> int:
    return int(channel.queue_declare(QUEUE, passive=True).method.message_count)


def _drain(broker: Broker) -> float:
    """Seconds that pika needs for the queue, by its fastest way that acknowledges."""
    began = time.perf_counter()
    with pika.BlockingConnection(next(broker.parameters("benchmark"))) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        for number, (method, _, _) in enumerate(channel.consume(QUEUE), start=1):
            if number % ACK_EVERY == 0:
                channel.basic_ack(method.delivery_tag or 0, multiple=True)
            if number == MESSAGES:
                break
        seconds = time.perf_counter() - began
        channel.cancel()
    return seconds


def _take_all(broker: Broker, reception: Reception, messages: int = 0) -> float:
    """Seconds that the server's intake needs until so many heartbeats more are in the store."""
    before, began = reception.counts.get("accepted", 0), time.perf_counter()
    intake = RabbitMQIntake(broker, reception, exchange="shoal", shared_queue=QUEUE)
    intake.start()
    try:
        wait_until(lambda: intake.connected, 20.0, "the intake connected")
        wait_until(lambda: reception.counts.get("accepted", 0) - before >= messages, 60.0, "all stored")
        return time.perf_counter() - began
    finally:
        intake.stop()
