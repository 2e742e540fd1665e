"""Heartbeats from RabbitMQ: the way for production, with a broker or a cluster of them."""

import itertools
import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from shoal_common.amqp import Broker
from shoal_common.amqp_trouble import TROUBLE, explain
from shoal_common.errors import SettingsError, Unavailable
from shoal_common.hosts import HostPort
from shoal_server.intake.reception import Reception
from shoal_server.intake.topology import Topology

PREFETCH = 1000
BATCH = 250
BATCH_SECONDS = 0.05
FIRST_WAIT_SECONDS = 1.0
RETRY_SECONDS = 5.0
"""The longest wait between two tries: servers are few, and while none has declared the exchange again, agents
cannot publish to a broker that was restarted."""
MOST_TOLD = 20
STOP_SECONDS = 0.4
"""A broker or a store that hangs must not hold up the end of the program."""

log = logging.getLogger(__name__)


class RabbitMQIntake:
    """Consumes from a broker in a thread of its own, and reconnects for as long as it takes.

    Each attempt reads the certificate files anew. Within one outage each reason is logged once.
    """

    def __init__(
        self, broker: Broker, reception: Reception, *, exchange: str, shared_queue: str | None
    ) -> None:
        self._broker = broker
        self._reception = reception
        self._exchange = exchange
        self._shared_queue = shared_queue
        self._stop = threading.Event()
        self._connected = False
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="rabbitmq-intake", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether we are consuming, and are to go on with it."""
        return self._connected and not self._stop.is_set()

    def start(self) -> None:
        """Begin; raises SettingsError for certificates that cannot be used. A broker may come later."""
        next(self._broker.parameters("shoal-server"))
        self._thread.start()

    def stop(self) -> None:
        """End the consumption; what was not acknowledged stays with the broker."""
        self._stop.set()
        self._thread.join(timeout=STOP_SECONDS)

    def _run(self) -> None:
        wait = FIRST_WAIT_SECONDS
        for place in itertools.cycle(self._broker.hosts):
            began = time.monotonic()
            consumed = self._attempt(place)
            lasted = consumed and time.monotonic() - began > wait
            wait = FIRST_WAIT_SECONDS if lasted else min(wait * 2, RETRY_SECONDS)
            if self._stop.wait(random.uniform(0.5, 1.0) * wait):  # noqa: S311 - guards nothing
                return

    def _attempt(self, place: HostPort) -> bool:
        """Consume from one broker until something ends that; whatever it is, this thread goes on.

        Returns whether there was any consumption.
        """
        try:
            self._consume(next(replace(self._broker, hosts=(place,)).parameters("shoal-server")))
        except TROUBLE as error:
            self._tell(f"RabbitMQ at {place} {explain(error)}")
        except (SettingsError, Unavailable) as error:
            self._tell(f"RabbitMQ at {place}: {error}")
        except Exception:
            log.exception("RabbitMQ at %s: something unforeseen; trying again", place)
        consumed, self._connected = self._connected, False
        return consumed

    def _tell(self, reason: str) -> None:
        if reason not in self._told and len(self._told) < MOST_TOLD and not self._stop.is_set():
            self._told.add(reason)
            log.warning("no heartbeats come in, trying on: %s", reason)

    def _consume(self, parameters: pika.ConnectionParameters) -> None:
        with pika.BlockingConnection(parameters) as connection:
            topology = Topology(connection, self._exchange, self._shared_queue)
            channel = connection.channel()
            channel.basic_qos(prefetch_count=PREFETCH)
            for bodies, tag in self._batches(channel, topology.queue):
                self._consuming(topology.queue, parameters)
                if bodies:
                    self._take(connection, bodies)
                if self._stop.is_set():
                    return
                if bodies:
                    channel.basic_ack(tag, multiple=True)
                if len(bodies) < BATCH and not topology.tend(channel, idle=not bodies):
                    return
            raise Unavailable("the queue is gone")

    def _batches(self, channel: BlockingChannel, queue: str) -> Iterator[tuple[Sequence[bytes], int]]:
        """What has come, up to BATCH messages at a time, with the last one's delivery tag; an empty batch
        when a moment brought none. Ends when the queue is gone.
        """
        waiting: list[tuple[int, bytes]] = []
        cancelled: list[object] = []
        channel.add_on_cancel_callback(cancelled.append)
        channel.basic_consume(
            queue,
            lambda _channel, method, _properties, body: waiting.append((method.delivery_tag or 0, body)),
        )
        try:
            while not cancelled:
                channel.connection.process_data_events(BATCH_SECONDS)
                if not waiting:
                    yield [], 0
                while waiting:
                    batch, waiting[:] = waiting[:BATCH], waiting[BATCH:]
                    yield [body for _, body in batch], batch[-1][0]
        except pika.exceptions.AMQPError:
            if waiting:  # a broker that was killed, or a queue of our own, does not deliver them again
                self._reception.take([body for _, body in waiting])
            raise

    def _consuming(self, queue: str, parameters: pika.ConnectionParameters) -> None:
        if not self._connected:
            self._connected = True
            self._told.clear()
            log.info("consuming %s from %s:%d", queue, parameters.host, parameters.port)

    def _take(self, connection: pika.BlockingConnection, bodies: Sequence[bytes]) -> None:
        """Nothing is acknowledged before it is stored: while the store is away, the broker keeps the rest."""
        while not self._stop.is_set():
            try:
                self._reception.take(bodies)
            except Unavailable as error:
                self._tell(str(error))
                connection.sleep(1.0)
            except Exception:
                log.exception("a batch of %d messages broke the reception and is dropped", len(bodies))
                return
            else:
                self._told.clear()
                return
