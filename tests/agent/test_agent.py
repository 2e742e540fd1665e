"""The agent's turns, against the server's own embedded listener."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from shoal_agent.agent import Agent
from shoal_agent.beat import Terms
from shoal_agent.cache import Cache
from shoal_agent.gauge import Gauge
from shoal_agent.health import Finding, HealthRules
from shoal_agent.host import Host
from shoal_agent.instance import Instance
from shoal_agent.publisher import Publisher
from shoal_agent.watch import Pace, Watch
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState, CacheType, Heartbeat, Upstream, decode
from shoal_common.hosts import HostPort
from shoal_server.intake.embedded import EmbeddedIntake
from testbed.ports import free_port
from testbed.process import wait_until
from tests.agent.support import broker

HOST = Host("sq1.example.org", "lo", "206.12.48.10", "10.1.2.3", None, None)
NOWHERE = Host("sq1.example.org", None, None, None, None, None)


class Server:
    """An embedded intake at a fixed port that remembers what it took."""

    def __init__(self) -> None:
        self.port = free_port()
        self.heard: list[Heartbeat] = []
        self._intake: EmbeddedIntake | None = None

    @property
    def url(self) -> str:
        return f"amqp://127.0.0.1:{self.port}/"

    def take(self, bodies: Sequence[bytes]) -> None:
        self.heard += [decode(body) for body in bodies]

    def start(self) -> None:
        self._intake = EmbeddedIntake("127.0.0.1", self.port, self, credentials=None)
        self._intake.start()

    def stop(self) -> None:
        if self._intake is not None:
            self._intake.stop()
            self._intake = None

    def await_count(self, count: int) -> None:
        wait_until(lambda: len(self.heard) >= count, 10, f"{count} heartbeats")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.start()
    yield made
    made.stop()


class Squid(Instance):
    """Says of itself how it is."""

    def __init__(self, port: int = 3128, bound: str = "0.0.0.0") -> None:
        self.good = True
        place = HostPort("127.0.0.1", port)
        cache = Cache(place, CacheType.SQUID, Upstream.BOTH, "configured", frozenset([bound]))
        rules, pace = HealthRules(rise=1, fall=1), Pace(0.05, 0.05, 3600)
        super().__init__(
            Watch(cache, lambda _: Finding(self.good, "as it says"), rules, pace), Gauge(timeout=1.0)
        )


@pytest.fixture
def squid() -> Squid:
    return Squid()


Start = Callable[..., Agent]


@pytest.fixture
def start(server: Server, squid: Squid) -> Iterator[Start]:
    """Run an agent in threads until the end of the test, which it must reach within 2 s."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def run(
        interval: float = 0.2,
        look: Callable[[], Host] = lambda: HOST,
        squids: Sequence[Squid] = (),
        draining: threading.Event | None = None,
    ) -> Agent:
        beside = list(squids or [squid])
        agent = made(server, beside, interval, look, draining)
        for target in (*(each.watch.run for each in beside), agent.run):
            threads.append(threading.Thread(target=target, args=(stop,)))
            threads[-1].start()
        return agent

    yield run
    stop.set()
    for thread in threads:
        thread.join(2.0)
        assert not thread.is_alive()


def made(
    server: Server,
    squids: Sequence[Squid],
    interval: float = 0.2,
    look: Callable[[], Host] = lambda: HOST,
    draining: threading.Event | None = None,
) -> Agent:
    publisher = Publisher(broker(server.url), "shoal", "test")
    return Agent(Terms(interval, None, None), look, lambda: squids, publisher, draining=draining)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.agent.FIRST_SAMPLE_SECONDS", 0.05)
    monkeypatch.setattr("shoal_agent.agent.TURN_SECONDS", 0.05)
    monkeypatch.setattr("shoal_agent.voice.UNREACHABLE_SECONDS", 0.05)
    monkeypatch.setattr("shoal_agent.agent.pause_after", lambda _: 0.05)


def test_heartbeats_come_one_after_the_other(server: Server, start: Start) -> None:
    start()
    server.await_count(3)
    assert {(each.port, each.public_ip, each.state) for each in server.heard} == {
        (3128, "206.12.48.10", AgentState.UP)
    }


def test_heartbeats_keep_the_interval(server: Server, start: Start) -> None:
    start(interval=0.5)
    server.await_count(3)
    stamps = [each.timestamp for each in server.heard]
    assert all(later - earlier >= 0.45 for earlier, later in pairwise(stamps))


def test_a_squid_that_was_never_good_is_not_announced(server: Server, squid: Squid, start: Start) -> None:
    squid.good = False
    agent = start()
    wait_until(lambda: "as it says" in agent.status)
    assert server.heard == []


def test_a_squid_that_turns_bad_is_taken_back_at_once(server: Server, squid: Squid, start: Start) -> None:
    start(interval=3600)
    server.await_count(1)
    squid.good = False
    server.await_count(2)
    assert [each.state for each in server.heard] == [AgentState.UP, AgentState.LEAVING]


def test_a_squid_that_recovers_is_announced_again_at_once(server: Server, squid: Squid, start: Start) -> None:
    start(interval=3600)
    server.await_count(1)
    squid.good = False
    server.await_count(2)
    squid.good = True
    server.await_count(3)
    assert server.heard[-1].state is AgentState.UP


def test_an_address_that_changes_is_announced_without_a_restart(server: Server, start: Start) -> None:
    hosts = [HOST, HOST, Host("sq1.example.org", "lo", "206.12.48.99", None, None, None)]
    start(look=lambda: hosts.pop(0) if len(hosts) > 1 else hosts[0])
    wait_until(lambda: any(each.public_ip == "206.12.48.99" for each in server.heard), 10)


def test_an_address_that_changes_is_one_line_in_the_log(
    server: Server, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shoal_agent.agent")
    moved = Host("sq1.example.org", "lo", "206.12.48.99", None, None, None)
    start(interval=0.1, look=lambda: moved if server.heard else HOST)
    server.await_count(4)
    told = f"publishing to 127.0.0.1:{server.port} that 206.12.48.{{}}:3128 is here"
    assert caplog.messages == [told.format(10), told.format(99)]


def test_draining_is_one_line_in_the_log_and_in_the_status(
    server: Server, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shoal_agent.agent")
    draining = threading.Event()
    agent = start(interval=0.1, draining=draining)
    server.await_count(1)
    draining.set()
    wait_until(lambda: sum(each.state is AgentState.DRAINING for each in server.heard) >= 2, 10)
    told = f"publishing to 127.0.0.1:{server.port} that 206.12.48.10:3128 is"
    assert caplog.messages == [f"{told} here", f"{told} for no new workers"]
    assert agent.status == f"{told} for no new workers"


def test_a_host_without_an_address_waits_for_one(server: Server, start: Start) -> None:
    hosts = [NOWHERE, NOWHERE, NOWHERE, HOST]
    start(look=lambda: hosts.pop(0) if len(hosts) > 1 else hosts[0])
    server.await_count(1)


def test_after_an_outage_only_fresh_heartbeats_are_sent(server: Server, start: Start) -> None:
    start(interval=0.1)
    server.await_count(2)
    server.stop()
    time.sleep(0.5)  # the outage: several heartbeats fall due
    before = len(server.heard)
    back = time.time()
    server.start()
    server.await_count(before + 2)
    assert all(each.timestamp >= back - 0.1 for each in server.heard[before:])


def test_an_outage_is_two_lines_in_the_log(
    server: Server, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def lines(*levels: str) -> list[str]:
        mine = [record for record in caplog.records if record.name == "shoal_agent.agent"]
        return [record.getMessage() for record in mine if record.levelname in levels]

    caplog.set_level(logging.INFO)
    agent = start(interval=0.1)
    server.await_count(1)
    server.stop()
    wait_until(lambda: agent._failures > 5)
    server.start()
    wait_until(lambda: len(lines("INFO")) == 2)
    reasons = lines("WARNING")
    assert any("refuses the connection" in reason for reason in reasons)
    assert len(reasons) == len(set(reasons)) <= 3
    assert lines("INFO")[-1] == f"publishing to 127.0.0.1:{server.port} that 206.12.48.10:3128 is here"


def test_the_end_is_a_goodbye(server: Server, squid: Squid) -> None:
    stop = threading.Event()
    squid.watch.test()
    agent = threading.Thread(target=made(server, [squid]).run, args=(stop,))
    agent.start()
    server.await_count(1)
    stop.set()
    agent.join(2.0)
    assert not agent.is_alive()
    assert server.heard[-1].state is AgentState.LEAVING


def test_who_was_never_announced_says_no_goodbye(server: Server, squid: Squid) -> None:
    stop = threading.Event()
    stop.set()
    squid.watch.test()
    made(server, [squid]).run(stop)
    assert server.heard == []


def test_once_publishes_one_heartbeat_without_a_goodbye(server: Server, squid: Squid) -> None:
    made(server, [squid]).once()
    assert [each.state for each in server.heard] == [AgentState.UP]


def test_once_says_why_a_bad_squid_is_not_published(server: Server, squid: Squid) -> None:
    squid.good = False
    with pytest.raises(Unavailable, match="as it says"):
        made(server, [squid]).once()
    assert server.heard == []


def test_once_publishes_the_good_caches_and_says_why_not_the_others(server: Server) -> None:
    squids = [Squid(3128), Squid(3129), Squid(3130)]
    squids[1].good = False
    with pytest.raises(Unavailable, match="as it says"):
        made(server, squids).once()
    assert [(each.port, each.state) for each in server.heard] == [
        (3128, AgentState.UP),
        (3130, AgentState.UP),
    ]


def test_the_load_is_that_of_the_whole_interval(
    server: Server, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = time.monotonic()

    def counter(*_: Any) -> int:
        return int((time.monotonic() - begin) * 1024 * 500)

    monkeypatch.setattr("shoal_agent.agent.bytes_sent", counter)
    start(interval=0.3)
    server.await_count(3)
    assert server.heard[-1].load == pytest.approx(500, rel=0.05)


def test_each_cache_has_a_heartbeat_of_its_own(server: Server, start: Start) -> None:
    squids = [Squid(3128), Squid(3129)]
    start(squids=squids)
    server.await_count(6)
    assert {(each.port, each.uuid) for each in server.heard} == {
        (squid.cache.place.port, squid.uuid) for squid in squids
    }
    assert squids[0].uuid != squids[1].uuid


def test_heartbeats_of_several_caches_share_one_connection_and_one_load(server: Server, start: Start) -> None:
    squids = [Squid(3128), Squid(3129), Squid(3130)]
    for squid in squids:
        squid.watch.test()
    agent = start(squids=squids, interval=0.5)
    server.await_count(9)
    rounds = [server.heard[at : at + 3] for at in (3, 6)]
    assert all(len({each.port for each in beats}) == 3 for beats in rounds)
    assert all(len({each.load for each in beats}) == 1 for beats in rounds)
    assert agent._failures == 0


def test_the_goodbye_of_one_cache_leaves_the_others(server: Server, start: Start) -> None:
    squids = [Squid(3128), Squid(3129)]
    start(squids=squids)
    server.await_count(2)
    squids[0].good = False
    wait_until(lambda: any(each.state is AgentState.LEAVING for each in server.heard), 10)
    heard = len(server.heard)
    server.await_count(heard + 3)
    assert {(each.port, each.state) for each in server.heard[heard:]} == {(3129, AgentState.UP)}
    left = [each.port for each in server.heard if each.state is AgentState.LEAVING]
    assert left == [3128]


def test_the_end_is_a_goodbye_for_each_cache(server: Server) -> None:
    squids, stop = [Squid(3128), Squid(3129)], threading.Event()
    for squid in squids:
        squid.watch.test()
    agent = threading.Thread(target=made(server, squids).run, args=(stop,))
    agent.start()
    server.await_count(2)
    stop.set()
    agent.join(2.0)
    assert not agent.is_alive()
    assert [(each.port, each.state) for each in server.heard[-2:]] == [
        (3128, AgentState.LEAVING),
        (3129, AgentState.LEAVING),
    ]


def test_a_cache_that_comes_later_is_announced_at_once(server: Server) -> None:
    squids = [Squid(3128)]
    stop = threading.Event()
    squids[0].watch.test()
    agent = threading.Thread(target=made(server, squids, interval=3600).run, args=(stop,))
    agent.start()
    server.await_count(1)
    late = Squid(3129)
    late.watch.test()
    squids.append(late)
    server.await_count(2)
    stop.set()
    agent.join(2.0)
    assert server.heard[1].port == 3129


def test_a_cache_that_nobody_can_reach_keeps_no_other_back(server: Server, start: Start) -> None:
    agent = start(squids=[Squid(3128, bound="127.0.0.1"), Squid(3129)])
    server.await_count(3)
    assert {each.port for each in server.heard} == {3129}
    assert "127.0.0.1:3128 is not announced: the cache listens at 127.0.0.1 alone" in agent.status


def test_a_cache_that_was_announced_and_is_out_of_reach_is_not_said_to_be_here(
    server: Server, start: Start
) -> None:
    agent = start(interval=0.1, look=lambda: NOWHERE if server.heard else HOST)
    server.await_count(1)
    wait_until(lambda: "it is not announced for now: " in agent.status, 5.0, "the agent sees it")
    assert "is here" not in agent.status


def test_a_cache_that_nobody_can_reach_is_one_line_in_the_log(
    server: Server, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "shoal_agent.agent")
    start(interval=0.1, squids=[Squid(3128, bound="127.0.0.1"), Squid(3129)])
    server.await_count(4)
    (line,) = caplog.messages
    assert line.startswith("127.0.0.1:3128 is not announced: the cache listens at 127.0.0.1 alone")


def test_after_an_outage_each_cache_is_one_line_in_the_log(
    server: Server, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    agent = start(squids=[Squid(3128), Squid(3129)], interval=0.1)
    server.await_count(2)
    server.stop()
    wait_until(lambda: agent._failures > 2)
    server.start()
    lines = f"publishing to 127.0.0.1:{server.port} that 206.12.48.10:"
    wait_until(lambda: sum(lines in record.getMessage() for record in caplog.records) == 4, 10)


def test_the_first_heartbeat_after_a_pause_tells_the_load_of_the_last_interval(
    server: Server, squid: Squid, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, burst, reads = time.monotonic(), [0], []

    def counter(*_: Any) -> int:
        """500 kB/s, and once a gigabyte."""
        reads.append(burst[0])
        return int((time.monotonic() - begin) * 500 * 1024) + burst[0]

    monkeypatch.setattr("shoal_agent.agent.bytes_sent", counter)
    start(interval=0.3)
    server.await_count(2)
    squid.good = False
    wait_until(lambda: server.heard[-1].state is AgentState.LEAVING, 10)
    burst[0] = 10**9
    wait_until(lambda: sum(map(bool, reads)) >= 2, 10, "two readings after the burst")
    heard = len(server.heard)
    squid.good = True
    server.await_count(heard + 1)
    assert server.heard[heard].load == pytest.approx(500, rel=0.2)
