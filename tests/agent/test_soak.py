"""Much of an agent's life in seconds: the clock runs fast, the squids and the origin are real.

More days by hand: SHOAL_SOAK_DAYS=3 pytest -n 0 --log-cli-level=info tests/agent/test_soak.py
"""

import gc
import logging
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal_agent import host, parts
from shoal_agent.agent import Agent
from shoal_agent.beat import Terms
from shoal_agent.detect import awaited, detect
from shoal_agent.metadata import Metadata
from shoal_agent.outside import Outside
from shoal_agent.publisher import Publisher
from shoal_agent.roster import Roster
from shoal_agent.settings import AgentSettings
from shoal_agent.sockets import listeners
from shoal_common.heartbeat import AgentState
from testbed.origin import Origin
from testbed.process import wait_until
from testbed.squid import Squid
from tests.agent.fakes import Clouds
from tests.agent.support import broker, held
from tests.agent.test_agent import Server
from tests.conftest import StartSquid

DAYS = float(os.environ.get("SHOAL_SOAK_DAYS", "0.035"))
TURNS = 6 if DAYS < 1 else 40
"""Between two troubles: 3 minutes, in the long form 20."""
ADDRESS = f"127.31.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
HOUR = 3600.0
MODULES = ("agent", "watch", "roster", "gauge", "outside", "announce")


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
    """An agent with all its parts beside two squids, driven turn by turn: 30 s of its time each."""

    def __init__(self, server: Server, url: str, cloud: str, clock: FastClock) -> None:
        self.clock = clock
        self.kept: list[Any] = []
        self.sizes: list[tuple[int, int]] = []
        settings = AgentSettings(cache_address=ADDRESS, check_urls=(url,), check_timeout=3.0)
        wanted = parts.wanted(settings)
        self.roster = Roster(
            lambda: detect(wanted),
            awaited(wanted),
            lambda cache: parts.instance(settings, cache),
            lambda: [listener for listener in listeners() if listener.address == ADDRESS],
        )
        self.outside = Outside(Metadata(cloud), None, configured=False)
        terms = Terms(30.0, "206.12.48.10", None)
        self.publisher = Publisher(broker(server.url), "shoal", "soak")
        self.agent = Agent(terms, self.look, lambda: self.roster.instances, self.publisher)

    def look(self) -> host.Host:
        return host.look("sq1.example.org", None)

    def turn(self) -> None:
        for _ in range(2):
            self.roster.turn()
            for instance in self.roster.instances:
                instance.watch.look()
            self.clock.now += 15.0
        self.outside.turn(self.look())
        for instance in self.roster.instances:
            instance.announcer.turn(instance.cache, instance.seen.health, lambda: ())
        self.agent.turn()

    def measure(self) -> None:
        """Note what it holds; what the other sides remember of it does not count."""
        for each in self.kept:
            each.clear()
        gc.collect()
        self.sizes.append((held(), open_files()))

    def assert_constant(self) -> None:
        """Neither memory nor open files grow; among them are the server's and the origin's, which vary."""
        told = f"bytes held and open files in {DAYS:g} days: {self.sizes}"
        logging.disable(logging.NOTSET)
        logging.getLogger(__name__).info(told)
        third = len(self.sizes) // 3 + 1
        (early, early_files), (late, late_files) = (
            zip(*sizes, strict=True) for sizes in (self.sizes[:third], self.sizes[-third:])
        )
        assert min(late_files) <= max(early_files), told
        assert min(late) - max(early) < 16 * 1024, told

    @property
    def healthy(self) -> bool:
        return all(instance.seen.health.healthy for instance in self.roster.instances)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def squid(start_squid: StartSquid) -> Squid:
    """One of two."""
    start_squid(listen=[ADDRESS])
    return start_squid(listen=[ADDRESS])


@pytest.fixture
def life(server: Server, squid: Squid, origin: Origin, clock: FastClock) -> Iterator[Life]:
    """Lives beside two squids; what it holds is counted from here on."""
    logging.disable(logging.CRITICAL)  # pytest would keep every line
    with Clouds() as cloud:
        url = f"{origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished"
        made = Life(server, url, cloud.url, clock)
        made.kept = [server.heard, origin.requests, cloud.asked]
        tracemalloc.start()
        yield made
        tracemalloc.stop()
        made.publisher.close()
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(3600)
def test_days_with_every_trouble_leave_memory_and_open_files_as_they_were(
    life: Life, server: Server, origin: Origin, squid: Squid
) -> None:
    troubles: list[Callable[[], object]] = [
        *(server.stop, server.start, origin.stop, origin.start, squid.kill, squid.start),
    ]
    end = life.clock.now + DAYS * 24 * HOUR
    while life.clock.now < end:
        for trouble in troubles:
            trouble()
            for _ in range(TURNS):
                life.turn()
        assert life.healthy
        assert {beat.state for beat in server.heard} == {AgentState.UP, AgentState.LEAVING}
        assert len({beat.uuid for beat in server.heard}) == 2
        life.measure()
    life.assert_constant()


@pytest.mark.timeout(3600)
def test_a_broker_that_is_away_for_days_costs_no_memory_and_is_returned_to(
    life: Life, server: Server
) -> None:
    life.turn()
    server.stop()
    end = life.clock.now + DAYS * 24 * HOUR
    while life.clock.now < end:
        for _ in range(5 * TURNS):
            life.turn()
        assert not life.sizes or not server.heard
        life.measure()
    back = time.time()
    server.start()
    for _ in range(5):
        life.turn()
    wait_until(lambda: len({beat.uuid for beat in server.heard}) == 2, 10, "a heartbeat of each squid")
    assert all(beat.timestamp >= back - 0.1 for beat in server.heard)
    life.assert_constant()
