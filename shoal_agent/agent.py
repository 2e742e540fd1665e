"""The agent's own turn of things: when a heartbeat is due, when to say goodbye, when to wait."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from shoal_agent.beat import Identity, Meter, Traffic, compose
from shoal_agent.host import Host, bytes_sent
from shoal_agent.publisher import Publisher, pause_after
from shoal_agent.watch import Watch
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState, Heartbeat, Metrics
from shoal_common.hosts import HostPort

TURN_SECONDS = 0.5
"""How soon a signal or a squid's end is acted upon."""
FIRST_SAMPLE_SECONDS = 1.0
"""The first heartbeat reports the traffic of this long."""
_MOST_TOLD = 20

log = logging.getLogger(__name__)


class Agent:
    """Publishes while the squid is good; says goodbye when it is not, and at the end.

    A heartbeat that could not be sent is dropped: the next try makes a fresh one. Within one outage each
    reason is logged once.
    """

    def __init__(
        self,
        identity: Identity,
        look: Callable[[], Host],
        watch: Watch,
        publisher: Publisher,
        *,
        metrics: Callable[[], Metrics] = Metrics,
        draining: threading.Event | None = None,
    ) -> None:
        self._identity = identity
        self._look = look
        self._watch = watch
        self._publisher = publisher
        self._metrics = metrics
        self._draining = draining or threading.Event()
        self._meter = Meter(identity.interval * 0.9)
        self._last: Heartbeat | None = None
        self._due = 0.0
        self._not_before = 0.0
        self._failures = 0
        self._told: set[str] = set()
        self.status = "has not published yet"

    def run(self, stop: threading.Event, pulse: Callable[[], None] = lambda: None) -> None:
        """Go on until `stop` is set, then say goodbye; `pulse` is called at each turn."""
        self._begin()
        while not stop.is_set():
            pulse()
            self.turn()
            self._rest(stop)
        self.leave()
        self._publisher.close()

    def turn(self) -> None:
        """Do what is due now."""
        clock = time.monotonic()
        if clock < self._not_before:
            return
        healthy = self._watch.seen.health.healthy
        if healthy is False:
            self._meter.forget()
            self.leave()
        elif healthy and (self._last is None or clock >= self._due or self._last.state is not self._state):
            self._due = clock + self._identity.interval
            self._beat()

    @property
    def _state(self) -> AgentState:
        return AgentState.DRAINING if self._draining.is_set() else AgentState.UP

    def once(self) -> None:
        """Test the squid and publish one heartbeat; raises Unavailable saying what is in the way."""
        self._begin()
        health = self._watch.test()
        if not health.healthy:
            raise Unavailable(health.reason)
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        try:
            self._publisher.publish(self._heartbeat().encode())
        finally:
            self._publisher.close()

    def _begin(self) -> None:
        self._read_traffic(self._look())
        self._not_before = time.monotonic() + FIRST_SAMPLE_SECONDS

    def leave(self) -> None:
        """Say goodbye, if the servers believe that we are here."""
        last = self._last
        if last is None:
            return
        if self._say(lambda: replace(last, state=AgentState.LEAVING, timestamp=time.time())):
            self._last = None
            self.status = "said goodbye"
            log.info("said goodbye")

    def _beat(self) -> None:
        last, news = self._last, self._failures > 0 or not self._publisher.connected
        heartbeat = self._say(self._heartbeat)
        if heartbeat is None:
            return
        self._last = heartbeat
        what = "is here" if heartbeat.state is AgentState.UP else "is for no new workers"
        self.status = f"publishing to {self._publisher.place} that {_endpoint(heartbeat)} {what}"
        if (
            news
            or last is None
            or last.state is not heartbeat.state
            or _endpoint(last) != _endpoint(heartbeat)
        ):
            log.info("%s", self.status)

    def _heartbeat(self) -> Heartbeat:
        host = self._look()
        load = self._read_traffic(host)
        cache, now = self._watch.seen.cache, time.time()
        return compose(self._identity, host, cache, load, now, metrics=self._metrics(), state=self._state)

    def _read_traffic(self, host: Host) -> float:
        sent = bytes_sent(host.interface) if host.interface else None
        if host.interface is None or sent is None:
            return self._meter.load(None)
        return self._meter.load(Traffic(host.interface, sent, time.monotonic()))

    def _say(self, compose_now: Callable[[], Heartbeat]) -> Heartbeat | None:
        """Publish what is composed once there is a connection; returns it, None if it was not confirmed."""
        try:
            self._publisher.connect()
            heartbeat = compose_now()
            self._publisher.publish(heartbeat.encode())
        except Unavailable as error:
            self._failed(str(error))
            return None
        self._failures = 0
        self._told.clear()
        return heartbeat

    def _failed(self, reason: str) -> None:
        self._failures += 1
        pause = pause_after(self._failures)
        self._due = self._not_before = time.monotonic() + pause
        self.status = f"cannot publish: {reason}"
        if reason not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(reason)
            log.warning("cannot publish, trying on: %s", reason)

    def _rest(self, stop: threading.Event) -> None:
        left = max(self._due, self._not_before) - time.monotonic()
        seconds = left if 0 < left < TURN_SECONDS else TURN_SECONDS
        if not self._publisher.connected:
            stop.wait(seconds)
            return
        try:
            self._publisher.wait(seconds)
        except Unavailable as error:
            self._failed(str(error))


def _endpoint(heartbeat: Heartbeat) -> HostPort:
    addresses = (heartbeat.external_ip, heartbeat.public_ip, heartbeat.private_ip, heartbeat.ipv6)
    return HostPort(next(filter(None, addresses), heartbeat.hostname), heartbeat.port)
