"""The exchange, the queue that a server hears by, and the binding between them.

The exchange is declared as deployed servers do (topic, neither durable nor auto-deleted). The queue
is the server's own and exclusive, or, for several servers on one store, a durable one that they
share; both forms are allowed by RabbitMQ 4, which refuses transient shared queues.

A durable queue lives on one node of a cluster, unless the operator has declared it beforehand as one that is
replicated. While its node is down each server hears by a queue of its own, so all hear all: heartbeats are
then counted several times, and none is missed.

RabbitMQ tells a consumer when its queue is deleted. That the exchange or the binding is, it tells nobody, so
that has to be looked for.
"""

import logging
import time

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from shoal_common.amqp import EXCHANGE_TYPE

LOOK_SECONDS = 5.0
"""How often a server looks whether what it hears by is still there and, if it hears by a queue of its own,
whether the shared one is back."""
QUEUE_EXPIRES_MS = 24 * 3600 * 1000
MESSAGE_TTL_MS = 60 * 1000
"""A heartbeat that waited longer has a successor, and would only make a dead squid look alive."""
QUEUE_ARGUMENTS = {"x-message-ttl": MESSAGE_TTL_MS, "x-max-length": 1_000_000}
NOT_FOUND, PRECONDITION_FAILED = 404, 406
"""Reply codes (AMQP 0-9-1 §1.2)."""
_OTHER_TYPE = "arg 'type'"
"""What RabbitMQ names when an exchange is of another type: through a direct one nothing reaches us."""

log = logging.getLogger(__name__)


class Topology:
    """What one connection hears by; `queue` is where to consume from.

    All is declared on channels of its own, so that a refusal closes none that consumes.
    """

    def __init__(self, connection: pika.BlockingConnection, exchange: str, shared_queue: str | None) -> None:
        self._connection = connection
        self._exchange = exchange
        self._shared_queue = shared_queue
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._left: int | None = None
        """How many messages the queue had that we are leaving for the shared one."""
        self._declare_exchange()
        self.queue = self._shared() or self._own()
        self._stands_in = shared_queue not in (None, self.queue)
        if self._stands_in:
            log.warning("%s is on a node that is down: each server hears all meanwhile", shared_queue)

    def tend(self, channel: BlockingChannel, *, idle: bool) -> bool:
        """To be called between batches of the consuming `channel`; `idle` if the last moment brought nothing.

        Every LOOK_SECONDS what somebody has deleted is declared and bound again. Returns False when the
        shared queue is back and all that our own one had is taken: then it is time to connect anew.
        """
        if self._left is not None:
            if idle and not self._left:
                return False
            self._left = _waiting(channel, self.queue)
        elif time.monotonic() >= self._look_at:
            self._restore_exchange()
            if self._stands_in and self._shared():  # it gets all that is new; we take what our own one has
                channel.queue_unbind(self.queue, self._exchange, routing_key="#")
                self._left = _waiting(channel, self.queue)
            else:
                self._bind(self.queue)
            self._look_at = time.monotonic() + LOOK_SECONDS
        return True

    def _declare_exchange(self) -> None:
        try:
            with self._connection.channel() as channel:
                channel.exchange_declare(self._exchange, EXCHANGE_TYPE)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != PRECONDITION_FAILED:
                raise
            level = logging.WARNING if _OTHER_TYPE in error.reply_text else logging.INFO
            told = "exchange %s exists in another form; taking it as it is: %s"
            log.log(level, told, self._exchange, error.reply_text)
            with self._connection.channel() as channel:
                channel.exchange_declare(self._exchange, passive=True)

    def _restore_exchange(self) -> None:
        """Declare the exchange if it is gone; one in another form is not found fault with at each look."""
        try:
            with self._connection.channel() as channel:
                channel.exchange_declare(self._exchange, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            log.warning("exchange %s was deleted: declaring it again", self._exchange)
            self._declare_exchange()

    def _shared(self) -> str | None:
        """The queue that servers share, ready for use; None without one, or while its node is down."""
        if self._shared_queue is None:
            return None
        arguments = QUEUE_ARGUMENTS | {"x-expires": QUEUE_EXPIRES_MS}
        try:
            with self._connection.channel() as channel:
                channel.queue_declare(self._shared_queue, durable=True, arguments=arguments)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code == NOT_FOUND:
                return None
            if error.reply_code != PRECONDITION_FAILED:
                raise
            log.info(
                "queue %s exists in another form; taking it as it is: %s",
                self._shared_queue,
                error.reply_text,
            )
            with self._connection.channel() as channel:
                channel.queue_declare(self._shared_queue, passive=True)
        self._bind(self._shared_queue)
        return self._shared_queue

    def _own(self) -> str:
        """A queue that ends with the connection."""
        with self._connection.channel() as channel:
            name = str(channel.queue_declare("", exclusive=True, arguments=QUEUE_ARGUMENTS).method.queue)
        self._bind(name)
        return name

    def _bind(self, queue: str) -> None:
        with self._connection.channel() as channel:
            channel.queue_bind(queue, self._exchange, routing_key="#")


def _waiting(channel: BlockingChannel, queue: str) -> int:
    """How many messages of a queue have not been sent to anybody yet."""
    return int(channel.queue_declare(queue, passive=True).method.message_count)
