"""Much of an agent's life in seconds: the clock runs fast, the squid, the origin and the broker are real.

More days by hand: SHOAL_SOAK_DAYS=30 pytest -n 0 tests/agent/test_soak.py
"""

import gc
import logging
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from shoal_agent import host
from shoal_agent.agent import Agent
from shoal_agent.announce import Announcer
from shoal_agent.beat import Identity
from shoal_agent.cache import Wanted
from shoal_agent.finder import Finder
from shoal_agent.gauge import Gauge
from shoal_agent.health import HealthRules
from shoal_agent.metadata import Metadata
from shoal_agent.outside import Outside
from shoal_agent.publisher import Publisher
from shoal_agent.selftest import Objects, examine
from shoal_agent.watch import Pace, Watch
from shoal_common.heartbeat import AgentState, Heartbeat
from shoal_common.probe import Target
from testbed.origin import Origin
from testbed.squid import Squid
from tests.agent.fakes import Clouds
from tests.agent.support import broker
from tests.agent.test_agent import Server
from tests.conftest import StartSquid

DAYS = float(os.environ.get("SHOAL_SOAK_DAYS", "0.085"))
HOUR = 3600.0
MODULES = ("agent", "watch", "gauge", "outside", "announce")


class FastClock:
    """Monotonic time that is put forward by hand; the rest of `time` is as it is."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FastClock:
    made = FastClock()
    for module in MODULES:
        monkeypatch.setattr(f"shoal_agent.{module}.time", made)
    return made


class Life:
    """An agent with all its parts, driven turn by turn: 30 s of its time each."""

    def __init__(self, server: Server, squid: Squid, url: str, cloud: str, clock: FastClock) -> None:
        objects, gauge = Objects((Target.cvmfs(url),)), Gauge(3.0)
        self.clock = clock
        self.watch = Watch(
            Finder(Wanted(squid.port)),
            lambda cache: examine(cache, objects, 3.0),
            HealthRules(2, 3),
            Pace(60.0, 5.0, 15.0),
            gauge.read,
        )
        self.outside = Outside(Metadata(cloud), None, configured=False)
        self.announcer = Announcer()
        identity = Identity("0123456789abcdef", 30.0, "206.12.48.10", None)
        self.publisher = Publisher(broker(server.url), "shoal", "soak")
        self.agent = Agent(identity, self.look, self.watch, self.publisher, metrics=lambda: gauge.metrics)

    def look(self) -> host.Host:
        return host.look("sq1.example.org", None)

    def turn(self) -> None:
        for _ in range(2):
            self.watch.look()
            self.clock.now += 15.0
        self.outside.turn(self.look())
        self.announcer.turn(self.watch.seen.cache, self.watch.seen.health, lambda: ())
        self.agent.turn()


def held() -> int:
    """Bytes that the agent and its libraries hold; what the fakes of this process hold does not count."""
    ours = [tracemalloc.Filter(True, f"*/{package}/*") for package in ("shoal_agent", "pika", "netifaces")]
    statistics = tracemalloc.take_snapshot().filter_traces(ours).statistics("filename")
    return sum(statistic.size for statistic in statistics)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.start()
    yield made
    made.stop()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_days_with_every_trouble_leave_memory_and_open_files_as_they_were(
    server: Server, start_squid: StartSquid, origin: Origin, clock: FastClock
) -> None:
    squid = start_squid()
    with Clouds() as cloud:
        url = f"{origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished"
        life = Life(server, squid, url, cloud.url, clock)
        troubles: list[Callable[[], object]] = [
            server.stop,
            server.start,
            origin.stop,
            origin.start,
            squid.kill,
            squid.start,
        ]
        sizes: list[tuple[int, int]] = []
        logging.disable(logging.CRITICAL)  # pytest would keep every line
        tracemalloc.start()
        try:
            _live(life, troubles, sizes, server.heard, [origin.requests, cloud.asked])
        finally:
            tracemalloc.stop()
            logging.disable(logging.NOTSET)
            life.publisher.close()
    early, late = sizes[len(sizes) // 3], sizes[-1]
    assert late[1] <= early[1], f"bytes held, open files: {sizes}"
    assert late[0] - early[0] < 16 * 1024, f"bytes held, open files: {sizes}"


def _live(
    life: Life,
    troubles: list[Callable[[], object]],
    sizes: list[tuple[int, int]],
    heard: list[Heartbeat],
    kept: Sequence[Any],
) -> None:
    """Live on, a trouble or its end every five minutes; after each round all is well, and measured."""
    end = life.clock.now + DAYS * 24 * HOUR
    while life.clock.now < end:
        for trouble in troubles:
            trouble()
            for _ in range(10):
                life.turn()
        assert life.watch.seen.health.healthy
        assert {beat.state for beat in heard} == {AgentState.UP, AgentState.LEAVING}
        for each in (heard, *kept):
            each.clear()
        gc.collect()
        sizes.append((held(), open_files()))
