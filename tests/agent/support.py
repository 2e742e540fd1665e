"""What several tests of the agent need: somebody who listens to the exchange."""

import json
import tracemalloc
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import pika
import pika.exceptions

from shoal_common.amqp import EXCHANGE_TYPE, Broker, Tls
from testbed.process import wait_until
from testbed.squid import Squid


class SquidOfWorkers(Squid):
    """A squid of several processes: `workers N` counts only for one that runs without -N."""

    def command(self) -> list[str]:
        return ["--foreground" if word == "-N" else word for word in super().command()]


def broker(url: str) -> Broker:
    return Broker.parse(url, Tls())


def held() -> int:
    """Bytes that the agent and its libraries hold; what the fakes of this process hold does not count."""
    places = [f"/{package}/" for package in ("shoal_agent", "pika", "netifaces")]
    statistics = tracemalloc.take_snapshot().statistics("filename")
    return sum(each.size for each in statistics if any(place in str(each.traceback) for place in places))


class Ear:
    """Declares the exchange as a server does, and hears what is published there."""

    def __init__(self, url: str, exchange: str = "shoal") -> None:
        self._connection = pika.BlockingConnection(next(broker(url).parameters("ear")))
        self._channel = self._connection.channel()
        self._channel.exchange_declare(exchange, EXCHANGE_TYPE)
        self._queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(self._queue, exchange, "#")
        self.bodies: list[bytes] = []

    def listen(self) -> list[bytes]:
        """All bodies heard so far."""
        while True:
            _, _, body = self._channel.basic_get(self._queue, auto_ack=True)
            if body is None:
                return self.bodies
            self.bodies.append(body)

    def messages(self) -> list[dict[str, Any]]:
        """The same as JSON."""
        return [json.loads(body) for body in self.listen()]

    def await_bodies(self, count: int, within: float = 10.0) -> list[bytes]:
        wait_until(lambda: len(self.listen()) >= count, within, f"{count} messages")
        return self.bodies

    def await_state(self, state: str, within: float = 10.0) -> dict[str, Any]:
        """The last message, which says `state`."""

        def said() -> bool:
            return [message["state"] for message in self.messages()][-1:] == [state]

        wait_until(said, within, f"a message that says {state}")
        return self.messages()[-1]

    def close(self) -> None:
        """Stop listening; the exchange stays."""
        with suppress(pika.exceptions.AMQPError):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
