"""The agent's own turn of things: when a heartbeat is due, when to say goodbye, when to wait."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from shoal_agent.beat import Meter, Terms, Traffic
from shoal_agent.host import Host, bytes_sent
from shoal_agent.instance import Instance
from shoal_agent.publisher import NobodyListensError, Publisher, pause_after, pause_for_a_listener
from shoal_agent.voice import Voice
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState, Heartbeat

TURN_SECONDS = 0.5
"""How soon a signal or a squid's end is acted upon."""
FIRST_SAMPLE_SECONDS = 1.0
"""The first heartbeat reports the traffic of this long."""
_MOST_TOLD = 20

log = logging.getLogger(__name__)


class Agent:
    """Publishes each cache while it is good; says goodbye for it when it is not, and at the end.

    All caches share one connection, one look at the host and one load. A heartbeat that could not be sent
    is dropped: the next try makes a fresh one. Within one outage each reason is logged once; that nobody
    listens is such a reason, but the next try is soon, since the broker is well.
    """

    def __init__(
        self,
        terms: Terms,
        look: Callable[[], Host],
        instances: Callable[[], Sequence[Instance]],
        publisher: Publisher,
        *,
        draining: threading.Event | None = None,
    ) -> None:
        self._terms = terms
        self._look = look
        self._instances = instances
        self._publisher = publisher
        self._draining = draining or threading.Event()
        self._meter = Meter(terms.interval * 0.9, FIRST_SAMPLE_SECONDS)
        self._voices: dict[str, Voice] = {}
        self._round = 0.0
        self._not_before = 0.0
        self._failures = 0
        self._trouble = ""
        self._told: set[str] = set()

    def run(self, stop: threading.Event, pulse: Callable[[], None] = lambda: None) -> None:
        """Go on until `stop` is set, then say goodbye; `pulse` is called at each turn."""
        self._begin()
        while not stop.is_set():
            pulse()
            self.turn()
            self._rest(stop)
        self.leave(self._speakers())
        self._publisher.close()

    def turn(self) -> None:
        """Do what is due now."""
        clock = time.monotonic()
        voices = self._speakers()
        if clock < self._not_before:
            return
        bad = [voice for voice in voices if voice.healthy is False]
        if not self.leave(bad):
            return
        if not any(voice.healthy for voice in voices):
            self._keep_measuring(clock)
        due = [voice for voice in voices if voice.is_due(clock, self._state)]
        if due:
            self._beat(due, clock)

    def refused_for(self, now: float) -> float:
        """Seconds up to `now` (monotonic) in which a broker refused our credentials and none let us in."""
        return self._publisher.refused_for(now)

    @property
    def status(self) -> str:
        """What it does now, in one line."""
        voices = tuple(self._voices.values())
        if self._failures:
            return f"cannot publish: {self._trouble}"
        claims = "; ".join(voice.claim for voice in voices)
        if not any(voice.last for voice in voices):
            return claims or "has not published yet"
        return f"publishing to {self._publisher.place} that {claims}"

    @property
    def _state(self) -> AgentState:
        return AgentState.DRAINING if self._draining.is_set() else AgentState.UP

    def once(self) -> None:
        """Test the caches and publish one heartbeat of each good one.

        Raises Unavailable saying what is in the way of the others.
        """
        self._begin()
        troubles: list[str] = []
        good: list[Voice] = []
        for voice in self._speakers():
            health = voice.instance.watch.test()
            if health.healthy:
                good.append(voice)
            else:
                troubles.append(health.reason)
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        host = self._look()
        load = self._read_traffic(host)
        try:
            for voice in good:
                self._publisher.publish(self._heartbeat(voice, host, load).encode())
        finally:
            self._publisher.close()
        if troubles:
            raise Unavailable("; ".join(troubles))

    def _begin(self) -> None:
        self._read_traffic(self._look())
        self._not_before = time.monotonic() + FIRST_SAMPLE_SECONDS

    def _speakers(self) -> list[Voice]:
        """One for each cache that there is now."""
        known = self._voices
        self._voices = {each.uuid: known.get(each.uuid) or Voice(each) for each in self._instances()}
        return list(self._voices.values())

    def leave(self, voices: Sequence[Voice]) -> bool:
        """Say goodbye for those in which the servers believe; False if that failed."""
        for voice in voices:
            goodbye = voice.goodbye(time.time())
            if goodbye is None:
                continue
            if not self._say(goodbye.encode()):
                return False
            voice.left()
            log.info("said goodbye for %s", voice.instance.cache.place)
        return True

    def _keep_measuring(self, clock: float) -> None:
        """So that the first heartbeat after a pause tells the load of an interval, not of the whole pause."""
        if clock >= self._round:
            self._round = clock + self._terms.interval
            self._read_traffic(self._look())

    def _beat(self, voices: Sequence[Voice], clock: float) -> None:
        """Publish what is true once there is a connection, which may take seconds."""
        if not self._connect():
            return
        host = self._look()
        load = self._read_traffic(host)
        if clock >= self._round:
            self._round = clock + self._terms.interval
        for voice in voices:
            try:
                heartbeat = self._heartbeat(voice, host, load)
            except Unavailable as error:
                if voice.cannot(error, clock):
                    log.warning("%s is not announced: %s", voice.instance.cache.place, error)
                continue
            if not self._say(heartbeat.encode()):
                return
            if voice.said(heartbeat, self._round):
                log.info("publishing to %s that %s", self._publisher.place, voice.claim)

    def _heartbeat(self, voice: Voice, host: Host, load: float) -> Heartbeat:
        return voice.heartbeat(self._terms, host, load, time.time(), self._state)

    def _read_traffic(self, host: Host) -> float:
        sent = bytes_sent(host.interface) if host.interface else None
        if host.interface is None or sent is None:
            return self._meter.load(None)
        return self._meter.load(Traffic(host.interface, sent, time.monotonic()))

    def _connect(self) -> bool:
        try:
            self._publisher.connect()
        except Unavailable as error:
            self._failed(error)
            return False
        return True

    def _say(self, body: bytes) -> bool:
        """Publish; False if it was not confirmed."""
        try:
            self._publisher.publish(body)
        except Unavailable as error:
            self._failed(error)
            return False
        self._failures = 0
        self._told.clear()
        return True

    def _failed(self, error: Unavailable) -> None:
        nobody, reason = isinstance(error, NobodyListensError), str(error)
        self._failures = 1 if nobody else self._failures + 1
        self._trouble = reason
        pause = pause_for_a_listener() if nobody else pause_after(self._failures)
        self._not_before = time.monotonic() + pause
        for voice in self._voices.values():
            voice.news = True
        if reason not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(reason)
            log.warning("cannot publish, trying on: %s", reason)

    def _rest(self, stop: threading.Event) -> None:
        left = max(self._round, self._not_before) - time.monotonic()
        seconds = left if 0 < left < TURN_SECONDS else TURN_SECONDS
        if not self._publisher.connected:
            stop.wait(seconds)
            return
        try:
            self._publisher.wait(seconds)
        except Unavailable as error:
            self._failed(error)
