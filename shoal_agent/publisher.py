"""Carries heartbeats to a broker: one kept connection, confirms, the brokers of a cluster in turn.

A message is confirmed or it is lost: nothing is queued here, so no stale news is sent late and memory
stays constant however long the broker is away. It is published as mandatory (AMQP 0-9-1 §1.8.3.7): what no
queue takes comes back, where a broker would confirm it and drop it.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ProbableAuthenticationError,
    UnroutableError,
)

from shoal_common.amqp import ROUTING_KEY, Broker
from shoal_common.amqp_trouble import TROUBLE, explain
from shoal_common.errors import SettingsError, Unavailable

LONGEST_PAUSE = 60.0
LISTENER_SECONDS = 5.0
"""The longest wait for somebody who listens: a server that starts, or one whose queue has moved."""
MESSAGE_TTL_MS = 180 * 1000
"""A heartbeat that waited this long in a queue says nothing of the present."""
UNACKNOWLEDGED_MS = 10_000
"""A connection whose packets nobody takes is given up then: our address may have changed under it."""
_NOBODY = "shoal.is-anybody-there"
NOT_FOUND = 404
"""Reply code (AMQP 0-9-1 §1.2)."""


class NobodyListensError(Unavailable):
    """The broker is well, and no server has a queue for what was published: it was not delivered."""


def pause_after(failures: int) -> float:
    """Seconds until the next try: exponential back-off with full jitter, at most a minute.

    Agents that lost one broker in the same second come back spread over the whole span.
    """
    return random.uniform(0.0, min(LONGEST_PAUSE, 2.0 ** min(failures, 16)))  # noqa: S311 - guards nothing


def pause_for_a_listener() -> float:
    """Seconds until the next try while the broker is well: a few, and not the same for all agents."""
    return random.uniform(0.5, 1.0) * LISTENER_SECONDS  # noqa: S311 - guards nothing


class Publisher:
    """One connection to one of the broker's hosts; to be used from one thread, but for `refused_for`.

    `renew` is asked for the broker before each connection: its credentials may have been changed.
    """

    def __init__(
        self, broker: Broker, exchange: str, name: str, renew: Callable[[], Broker] | None = None
    ) -> None:
        self._broker = broker
        self._renew = renew
        self._refused_since: float | None = None
        self._exchange = exchange
        self._name = name
        self._turn = 0
        self._was_blocked = False
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._place = ""
        # Persistent: a confirmed message to a durable queue outlives the broker that confirmed it.
        self._properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent.value,
            expiration=str(MESSAGE_TTL_MS),
        )

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as we know."""
        return self._connection is not None

    @property
    def place(self) -> str:
        """The `host:port` that was connected to last."""
        return self._place

    def connect(self) -> None:
        """Be ready to publish: that may take seconds, in which news would grow old. Raises Unavailable."""
        self._ready()

    def publish(self, body: bytes) -> None:
        """Send one message and return when a queue has it for sure; connects where needed.

        Raises Unavailable when that was not confirmed; the message may have arrived all the same. Raises
        NobodyListensError when there is no queue, or not even the exchange; then the connection is kept.
        """
        channel = self._ready()
        try:
            channel.basic_publish(self._exchange, ROUTING_KEY, body, self._properties, mandatory=True)
        except UnroutableError as error:
            raise NobodyListensError(f"{self._place} {explain(error)}") from None
        except TROUBLE as error:
            raise self._failed(error) from None

    def try_out(self) -> None:
        """Connect and look for the exchange without publishing; raises Unavailable."""
        channel = self._ready()
        try:
            channel.exchange_declare(self._exchange, passive=True)
        except TROUBLE as error:
            raise self._failed(error) from None

    def _ready(self) -> BlockingChannel:
        connection = self._connection or self._connect()
        try:
            return self._channel or self._open(connection)
        except TROUBLE as error:
            raise self._failed(error) from None

    def wait(self, seconds: float) -> None:
        """Let up to `seconds` pass while the connection answers the broker's own heartbeats.

        Raises Unavailable when the connection is lost. Needs a connection.
        """
        if self._connection is None:
            raise Unavailable("there is no connection to a broker")
        try:
            self._connection.process_data_events(seconds)
        except TROUBLE as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """End the connection in good order, if there is one."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(*TROUBLE):  # it is to be gone, and gone it is
                connection.close()

    def refused_for(self, now: float) -> float:
        """Seconds up to `now` (monotonic) in which a broker refused our credentials and none let us in."""
        return 0.0 if self._refused_since is None else now - self._refused_since

    def _connect(self) -> pika.BlockingConnection:
        if self._renew is not None:
            self._broker = self._renew()
        try:
            places = list(self._broker.parameters(self._name))
        except SettingsError as error:
            raise Unavailable(str(error)) from None
        troubles: list[BaseException] = []
        told = []
        for parameters in places[self._turn % len(places) :] + places[: self._turn % len(places)]:
            place = f"{parameters.host}:{parameters.port}"
            parameters.tcp_options = {"TCP_USER_TIMEOUT": UNACKNOWLEDGED_MS}
            try:
                self._connection = pika.BlockingConnection(parameters)
            except TROUBLE as error:
                troubles.append(error)
                told.append(f"{place} {explain(error)}")
                self._turn += 1
            else:
                self._place, self._refused_since = place, None
                return self._connection
        self._count_refusals(troubles)
        raise Unavailable("; ".join(told))

    def _count_refusals(self, troubles: Sequence[BaseException]) -> None:
        if not any(isinstance(error, ProbableAuthenticationError) for error in troubles):
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = time.monotonic()

    def _open(self, connection: pika.BlockingConnection) -> BlockingChannel:
        if self._was_blocked:
            _try_out(connection)
            self._was_blocked = False
        self._channel = _confirming(connection)
        return self._channel

    def _failed(self, error: BaseException) -> Unavailable:
        """Forget what is broken: the channel, and the connection too, unless they live on."""
        self._was_blocked |= isinstance(error, ConnectionBlockedTimeout)
        if self._channel is not None and not self._channel.is_open:
            self._channel = None
        if self._connection is not None and not self._connection.is_open:
            self._connection = None
            self._turn += 1
        no_exchange = isinstance(error, ChannelClosedByBroker) and error.reply_code == NOT_FOUND
        kind = NobodyListensError if no_exchange else Unavailable
        return kind(f"{self._place} {explain(error)}")


def _confirming(connection: pika.BlockingConnection) -> BlockingChannel:
    channel = connection.channel()
    channel.confirm_delivery()
    return channel


def _try_out(connection: pika.BlockingConnection) -> None:
    """Send a message to nobody: a broker short of memory tells so only to those who publish.

    It then keeps what they sent, and delivers it when it has recovered, hours late perhaps.
    """
    channel = _confirming(connection)
    try:
        channel.basic_publish("", _NOBODY, b"")
        channel.close()
    except ChannelClosedByBroker:
        return  # this user may not use the default exchange; then the next heartbeat has to try it out
