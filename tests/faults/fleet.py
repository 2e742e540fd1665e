"""Agents by the hundred in one process: what they say, what was acknowledged, and who lives.

Each line is one kept connection, made and minded by the agent's own `Publisher`, that speaks for some of
them. What the fleet knows of its squids is the truth that the servers' lists are held against.
"""

import itertools
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

from shoal_agent.publisher import Publisher
from shoal_common.amqp import Broker, Tls
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState, Heartbeat
from testbed.process import wait_until

TICK = 0.02
RETRY = 0.3
"""Seconds after which a line that lost its broker tries again; the real agent waits longer."""
PER_LINE = 64


class Life(StrEnum):
    """What has become of a simulated squid."""

    LIVE = "live"
    DEAD = "dead"
    LEAVING = "leaving"
    LEFT = "left"
    MOVED = "moved"


@dataclass(slots=True)
class Agent:
    """One squid and its agent. Times are of the steady clock (s); `ended` is when it died or its goodbye was
    acknowledged, `heard` when its last heartbeat was."""

    address: str
    port: int
    due: float = 0.0
    uuid: str = field(default_factory=lambda: uuid.uuid4().hex)
    life: Life = Life.LIVE
    acknowledged: int = 0
    heard: float | None = None
    ended: float | None = None

    @property
    def place(self) -> tuple[str, int]:
        return (self.address, self.port)

    @property
    def id(self) -> str:
        """Under which the servers keep it."""
        return f"{self.address}:{self.port}"

    def message(self, state: AgentState) -> bytes:
        name = f"sq-{self.address.replace('.', '-')}.example.org"
        beat = Heartbeat(self.uuid, name, self.port, time.time(), 100.0, public_ip=self.address, state=state)
        return beat.encode()


class Fleet:
    """Agents that publish every `beat` seconds to the broker at `url` until told otherwise."""

    def __init__(self, url: str, agents: Iterable[Agent], beat: float) -> None:
        self.agents = list(agents)
        self.beat = beat
        self.slowest = 0.0
        """Seconds that the slowest acknowledgement took."""
        self._broker = Broker.parse(url, Tls())
        self._end = threading.Event()
        self._halted = threading.Event()
        self._lines: list[_Line] = []

    @property
    def live(self) -> list[Agent]:
        """Those that should be on every list."""
        return [agent for agent in self.agents if agent.life is Life.LIVE]

    @property
    def acknowledged(self) -> int:
        """Messages that the broker has confirmed."""
        return sum(agent.acknowledged for agent in self.agents)

    def die(self, agents: Iterable[Agent]) -> None:
        """They fall silent without a word, as a VM that is destroyed."""
        for agent in agents:
            agent.life, agent.ended = Life.DEAD, time.monotonic()

    def leave(self, agents: Sequence[Agent], within: float = 10.0) -> None:
        """They say goodbye; returns when all goodbyes are acknowledged."""
        for agent in agents:
            agent.due, agent.life = 0.0, Life.LEAVING
        wait_until(lambda: all(one.life is Life.LEFT for one in agents), within, "goodbyes acknowledged")

    def restart(self, agents: Iterable[Agent]) -> None:
        """Their agents start anew under new uuids, and beat at once."""
        for agent in agents:
            agent.uuid, agent.due = uuid.uuid4().hex, 0.0

    def halt(self) -> None:
        """No more heartbeats from anybody, so that what was acknowledged can be counted; returns when none is
        on its way any more."""
        self._halted.set()
        wait_until(lambda: all(line.quiet.is_set() for line in self._lines), 20.0, "nothing is on its way")

    def add(self, agents: Iterable[Agent]) -> None:
        """More squids join, over a connection of their own."""
        fresh = list(agents)
        self.agents = [*self.agents, *fresh]
        self._line(fresh)

    def __enter__(self) -> Self:
        for number, agent in enumerate(self.agents):
            agent.due = time.monotonic() + self.beat * number / len(self.agents)
        for start in range(0, len(self.agents), PER_LINE):
            self._line(self.agents[start : start + PER_LINE])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        for line in self._lines:
            line.join(timeout=10.0)

    def _line(self, agents: Sequence[Agent]) -> None:
        line = _Line(self, self._broker, agents, self._end, self._halted)
        self._lines.append(line)
        line.start()


class _Line(threading.Thread):
    """One connection and those who speak over it."""

    _numbers = itertools.count()

    def __init__(
        self,
        fleet: Fleet,
        broker: Broker,
        agents: Sequence[Agent],
        end: threading.Event,
        halted: threading.Event,
    ) -> None:
        name = f"line-{next(self._numbers)}"
        super().__init__(name=name, daemon=True)
        self._publisher = Publisher(broker, "shoal", name)
        self._agents = agents
        self._fleet = fleet
        self._end = end
        self._halted = halted
        self.quiet = threading.Event()
        """It has noticed that there is to be no more."""

    def run(self) -> None:
        while not self._end.is_set():
            try:
                self._speak()
                if self._publisher.connected:
                    self._publisher.wait(TICK)
                else:
                    self._end.wait(TICK)
            except Unavailable:
                self._end.wait(RETRY)
        self._publisher.close()

    def _speak(self) -> None:
        for agent in self._agents:
            leaving = agent.life is Life.LEAVING
            if self._end.is_set() or (self._halted.is_set() and not leaving):
                break
            if agent.due <= time.monotonic() and (leaving or agent.life is Life.LIVE):
                self._say(agent, AgentState.LEAVING if leaving else AgentState.UP)
        if self._halted.is_set():
            self.quiet.set()

    def _say(self, agent: Agent, state: AgentState) -> None:
        """Raises Unavailable for what was not acknowledged; the agent stays due."""
        began = time.monotonic()
        self._publisher.publish(agent.message(state))
        agent.heard = time.monotonic()
        self._fleet.slowest = max(self._fleet.slowest, agent.heard - began)
        agent.acknowledged += 1
        agent.due = agent.heard + self._fleet.beat
        if state is AgentState.LEAVING:
            agent.life, agent.ended = Life.LEFT, agent.heard
