"""Heartbeats from RabbitMQ: the way for production, with a broker or a cluster of them.

The exchange is declared as deployed servers do (topic, neither durable nor auto-deleted). The queue
is the server's own and exclusive, or, for several servers on one store, a durable one that they
share; both forms are allowed by RabbitMQ 4, which refuses transient shared queues.

A durable queue lives on one node of a cluster, unless the operator has declared it beforehand as one that is
replicated. While its node is down each server hears by a queue of its own, so all hear all: heartbeats are
then counted several times, and none is missed.
"""

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

from shoal_common.amqp import EXCHANGE_TYPE, Broker
from shoal_common.amqp_trouble import TROUBLE, explain
from shoal_common.errors import SettingsError, Unavailable
from shoal_common.hosts import HostPort
from shoal_server.intake.reception import Reception

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
QUEUE_EXPIRES_MS = 24 * 3600 * 1000
HOME_SECONDS = 5.0
"""How often a server that hears by a queue of its own looks for the shared one."""
MESSAGE_TTL_MS = 60 * 1000
"""A heartbeat that waited longer has a successor, and would only make a dead squid look alive."""
QUEUE_ARGUMENTS = {"x-message-ttl": MESSAGE_TTL_MS, "x-max-length": 1_000_000}
NOT_FOUND, PRECONDITION_FAILED = 404, 406
"""Reply codes (AMQP 0-9-1 §1.2)."""

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
            self._declare_exchange(connection)
            queue = self._shared(connection) or self._own(connection)
            stands_in = self._shared_queue not in (None, queue)
            if stands_in:
                log.warning(
                    "%s is on a node that is down: each server hears all meanwhile", self._shared_queue
                )
            look, left = time.monotonic() + HOME_SECONDS, None
            channel = connection.channel()
            channel.basic_qos(prefetch_count=PREFETCH)
            for bodies, tag in self._batches(channel, queue):
                self._consuming(queue, parameters)
                if bodies:
                    self._take(connection, bodies)
                if self._stop.is_set():
                    return
                if bodies:
                    channel.basic_ack(tag, multiple=True)
                if left is not None:
                    if not (bodies or left):
                        return
                    left = _waiting(channel, queue)
                elif stands_in and len(bodies) < BATCH and time.monotonic() >= look:
                    if self._shared(connection):  # it gets all that is new; what our own has is ours to take
                        channel.queue_unbind(queue, self._exchange, routing_key="#")
                        left = _waiting(channel, queue)
                    look = time.monotonic() + HOME_SECONDS
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

    def _declare_exchange(self, connection: pika.BlockingConnection) -> None:
        try:
            connection.channel().exchange_declare(self._exchange, EXCHANGE_TYPE)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != PRECONDITION_FAILED:
                raise
            log.info("exchange %s exists in another form; taking it as it is", self._exchange)
            connection.channel().exchange_declare(self._exchange, passive=True)

    def _shared(self, connection: pika.BlockingConnection) -> str | None:
        """The queue that servers share, ready for use; None without one, or while its node is down."""
        if self._shared_queue is None:
            return None
        channel, arguments = connection.channel(), QUEUE_ARGUMENTS | {"x-expires": QUEUE_EXPIRES_MS}
        try:
            channel.queue_declare(self._shared_queue, durable=True, arguments=arguments)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code == NOT_FOUND:
                return None
            if error.reply_code != PRECONDITION_FAILED:
                raise
            log.info("queue %s exists in another form; taking it as it is", self._shared_queue)
            channel = connection.channel()
            channel.queue_declare(self._shared_queue, passive=True)
        channel.queue_bind(self._shared_queue, self._exchange, routing_key="#")
        channel.close()
        return self._shared_queue

    def _own(self, connection: pika.BlockingConnection) -> str:
        """A queue that ends with the connection."""
        channel = connection.channel()
        name = channel.queue_declare("", exclusive=True, arguments=QUEUE_ARGUMENTS).method.queue
        channel.queue_bind(name, self._exchange, routing_key="#")
        channel.close()
        return name


def _waiting(channel: BlockingChannel, queue: str) -> int:
    """How many messages of a queue have not been sent to anybody yet."""
    return int(channel.queue_declare(queue, passive=True).method.message_count)
