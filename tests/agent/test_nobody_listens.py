"""The agent beside a RabbitMQ that is well while no server has a queue there."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from shoal_agent.agent import Agent
from shoal_agent.beat import Terms
from shoal_agent.publisher import Publisher
from shoal_common.errors import Unavailable
from testbed.process import wait_until
from tests.agent.support import Ear, broker
from tests.agent.test_agent import HOST, Squid


class Counting(Publisher):
    """Counts how often it is tried."""

    tries = 0

    def publish(self, body: bytes) -> None:
        self.tries += 1
        super().publish(body)


@dataclass
class Running:
    """An agent of one squid, in threads."""

    agent: Agent
    squid: Squid
    publisher: Counting
    place: str

    def await_tries(self) -> None:
        """Some more tries that nobody hears."""
        enough = self.publisher.tries + 5
        wait_until(lambda: self.publisher.tries >= enough, 10, "tries that nobody hears")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.agent.FIRST_SAMPLE_SECONDS", 0.05)
    monkeypatch.setattr("shoal_agent.agent.TURN_SECONDS", 0.05)
    monkeypatch.setattr("shoal_agent.agent.pause_for_a_listener", lambda: 0.05)


def made(url: str, squid: Squid, interval: float) -> tuple[Agent, Counting]:
    publisher = Counting(broker(url), "shoal", "test")
    return Agent(Terms(interval, None, None), lambda: HOST, lambda: [squid], publisher), publisher


@pytest.fixture
def start(rabbit_vhost: str) -> Iterator[Callable[[float], Running]]:
    """Run an agent until the end of the test."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def run(interval: float) -> Running:
        squid = Squid()
        agent, publisher = made(rabbit_vhost, squid, interval)
        for target in (squid.watch.run, agent.run):
            threads.append(threading.Thread(target=target, args=(stop,)))
            threads[-1].start()
        place = rabbit_vhost.rpartition("@")[2].partition("/")[0]
        return Running(agent, squid, publisher, place)

    yield run
    stop.set()
    for thread in threads:
        thread.join(10.0)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _exchange(rabbit_vhost: str) -> None:
    """There, as after servers that have ended; their queues ended with them."""
    Ear(rabbit_vhost).close()


def test_it_is_one_line_until_somebody_listens(
    rabbit_vhost: str, start: Callable[[float], Running], caplog: pytest.LogCaptureFixture
) -> None:
    def lines(level: str) -> list[str]:
        mine = [record for record in caplog.records if record.name == "shoal_agent.agent"]
        return [record.getMessage() for record in mine if record.levelname == level]

    caplog.set_level(logging.INFO)
    running = start(0.1)
    running.await_tries()
    told = f"{running.place} is well, and no Shoal server listens there"
    assert running.agent.status == f"cannot publish: {told}"
    with Ear(rabbit_vhost) as ear:
        ear.await_bodies(2)
        wait_until(lambda: "publishing to" in running.agent.status)
    assert lines("WARNING") == [f"cannot publish, trying on: {told}"]
    assert lines("INFO")[-1] == f"publishing to {running.place} that 206.12.48.10:3128 is here"


def test_the_connection_is_kept_all_the_while(rabbit_vhost: str, start: Callable[[float], Running]) -> None:
    running = start(0.1)
    running.await_tries()
    connection = running.publisher._connection
    running.await_tries()
    with Ear(rabbit_vhost) as ear:
        ear.await_bodies(1)
    assert running.publisher._connection is connection is not None


def test_who_listens_is_told_soon_and_only_what_is_new(
    rabbit_vhost: str, start: Callable[[float], Running]
) -> None:
    running = start(3600.0)
    running.await_tries()
    since = time.time()
    with Ear(rabbit_vhost) as ear:
        ear.await_bodies(1)
        assert ear.messages()[0]["timestamp"] >= since - 0.1


def test_a_goodbye_that_nobody_heard_is_said_again(
    rabbit_vhost: str, start: Callable[[float], Running]
) -> None:
    running = start(3600.0)
    with Ear(rabbit_vhost) as ear:
        ear.await_state("up")
    running.squid.good = False
    wait_until(lambda: "no Shoal server listens" in running.agent.status, 10, "a goodbye that nobody hears")
    with Ear(rabbit_vhost) as ear:
        assert ear.await_state("leaving")["public_ip"] == "206.12.48.10"


def test_a_single_heartbeat_that_nobody_hears_is_an_error(rabbit_vhost: str) -> None:
    squid = Squid()
    with pytest.raises(Unavailable, match="no Shoal server listens there"):
        made(rabbit_vhost, squid, 30.0)[0].once()
