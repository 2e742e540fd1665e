"""Squids that say one heartbeat each, so that one acknowledged and not stored has no successor to hide it."""

import itertools
import threading
from typing import Any

import redis

from shoal_agent.publisher import Publisher
from shoal_common.amqp import Broker, Tls
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState
from tests.faults.fleet import Agent
from tests.faults.site import Site

WITNESSES_PER_SECOND = 10.0


class Witnesses(threading.Thread):
    """Squids that say one heartbeat each, which no later one makes up for, and leave once it was stored."""

    def __init__(self, site: Site, url: str, end: threading.Event) -> None:
        super().__init__(name="witnesses", daemon=True)
        self._broker = Broker.parse(url, Tls())
        assert site.redis
        self._redis = redis.Redis.from_url(site.redis.url, socket_timeout=0.5, decode_responses=True)
        self._events = "0"
        self._end = end
        self.said = 0
        self.acknowledged: dict[str, Agent] = {}
        self.stored: set[str] = set()
        self._gone: set[str] = set()

    def run(self) -> None:
        publisher = Publisher(self._broker, "shoal", "witnesses")
        addresses = (f"127.60.{n // 250}.{n % 250 + 1}" for n in itertools.count())
        for address in addresses:
            if self._end.wait(1.0 / WITNESSES_PER_SECOND):
                break
            witness = Agent(address, 3128)
            try:
                publisher.publish(witness.message(AgentState.UP))
                self.said += 1
                self.acknowledged[witness.id] = witness
                self._dismiss(publisher)
            except Unavailable:
                self._end.wait(0.2)
        publisher.close()

    def read(self) -> None:
        """Note what the store's events say was stored."""
        try:
            entries: Any = self._redis.xrange("{shoal}:events", f"({self._events}")
            for number, event in entries:
                self._events = number
                if event["kind"] == "joined":
                    self.stored.add(event["id"])
        except redis.RedisError:
            return  # broken on purpose; the next look shows the rest

    def ailments(self) -> list[str]:
        """What is still to come of them, once no more are sent: an acknowledgement, or the store's word."""
        if self.is_alive():
            return ["a witness waits for its acknowledgement"]
        self.read()
        unstored = sorted(self.unstored)
        return [f"{len(unstored)} heartbeats not stored: {unstored[:5]}"] if unstored else []

    def _dismiss(self, publisher: Publisher) -> None:
        self.read()
        for name in (self.stored & self.acknowledged.keys()) - self._gone:
            publisher.publish(self.acknowledged[name].message(AgentState.LEAVING))
            self.said += 1
            self._gone.add(name)

    @property
    def unstored(self) -> set[str]:
        return self.acknowledged.keys() - self.stored

    def close(self) -> None:
        self._redis.close()
