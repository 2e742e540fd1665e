"""`shoal-server` beside services that hang or go away, and before settings that can never work."""

import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pika.exceptions import NackError

from shoal_server.commands.running import FILES
from testbed.process import wait_until
from testbed.rabbitmq import RabbitMQ
from testbed.redis import Redis
from tests.fakes import beat
from tests.server.process import ServerProcess, amqp_url, publish, run

Start = Callable[..., ServerProcess]


@pytest.fixture
def start(new_directory: Callable[[str], Path]) -> Iterator[Start]:
    """Starts servers that end with the test."""
    started: list[ServerProcess] = []

    def start_(*flags: object, amqp: str | None = None) -> ServerProcess:
        server = ServerProcess(new_directory("server"), *flags, amqp=amqp)
        started.append(server)
        return server.start()

    yield start_
    for server in started:
        server.stop()


@pytest.mark.parametrize("hung", ["broker", "store"])
def test_a_hung_service_does_not_hold_up_its_end(
    start: Start, rabbitmq: RabbitMQ, redis_server: Redis, hung: str
) -> None:
    rabbitmq.start().resume()
    redis_server.start().resume()
    server = start("--store", redis_server.url, amqp=rabbitmq.url)
    wait_until(lambda: server.get("/healthz").json()["intake"] == "connected", 20.0, "the broker is found")
    service = rabbitmq if hung == "broker" else redis_server
    service.pause()
    try:
        assert server.end(signal.SIGTERM) < 2.0
    finally:
        service.resume()
    assert server.exit_code == 0


def test_a_redis_that_goes_away_costs_no_answer(start: Start, start_redis: Callable[..., Redis]) -> None:
    """It comes back empty, and is given back what it knew."""
    store = start_redis()
    server = start("--store", store.url, "--verify", "no")
    publish(amqp_url(server), beat().encode())
    server.await_names("sq1.example.org")
    store.kill()
    wait_until(lambda: server.get("/healthz").json()["store"] == "away", 20.0, "the loss is noticed")
    assert server.names() == {"sq1.example.org"}
    store.start()
    wait_until(lambda: server.get("/healthz").json()["store"] == "ok", 20.0, "the store is found again")
    assert server.names() == {"sq1.example.org"}


def test_a_redis_that_answers_and_takes_nothing_makes_the_server_deaf(
    start: Start, start_redis: Callable[..., Redis]
) -> None:
    """It lacks the replicas that it is to have, or its disk: what squids say meanwhile is lost, so their
    silence means nothing. That can last longer than any hold."""
    store = start_redis()
    times = ("--suspect-after", "2", "--dead-after", "4", "--hold-cap", "1")
    server = start("--store", store.url, "--verify", "no", *times)
    publish(amqp_url(server), beat().encode())
    server.await_names("sq1.example.org")
    store.told("CONFIG", "SET", "min-replicas-to-write", "1")
    with pytest.raises(NackError):
        publish(amqp_url(server), beat().encode())
    until = time.monotonic() + 6.0
    while time.monotonic() < until:
        told = server.get("/healthz").json()
        assert (told["status"], told["intake"], told["hold"]) == ("degraded", "away", False)
        time.sleep(0.05)
    store.told("CONFIG", "SET", "min-replicas-to-write", "0")
    wait_until(lambda: server.get("/healthz").json()["status"] == "ok", 5.0, "it hears again")
    assert server.names() == {"sq1.example.org"}


FLOOD = 1000
"""Lines in a second; there were forty thousand. As askers come and go waitress tells that it is full, and not
any more, each time."""


class WithFewFiles(ServerProcess):
    """May open 96; with `on_demand` it may ask for more, as it may from a shell."""

    on_demand = False

    def command(self) -> list[str]:
        limit = "ulimit -S -n 96" if self.on_demand else "ulimit -n 96"
        return ["/bin/sh", "-c", f'{limit} && exec "$@"', "sh", *super().command()]


def test_as_many_askers_as_it_may_open_files_cost_no_answer_and_no_flood_of_log_lines(
    new_directory: Callable[[str], Path],
) -> None:
    with WithFewFiles(new_directory("server"), "--verify", "no") as server:
        publish(amqp_url(server), beat().encode())
        server.await_names("sq1.example.org")
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            time.sleep(1.0)
            publish(amqp_url(server), beat().encode())
        server.await_names("sq1.example.org")
        assert len(server.log.read_text().splitlines()) < FLOOD


def test_it_asks_for_the_files_that_a_shell_grants_only_on_demand(
    new_directory: Callable[[str], Path],
) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = WithFewFiles(new_directory("server"))
    server.on_demand = True
    with server:
        assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (min(most, FILES), most)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--listen", "8080"], "--listen: '8080' will not do; it takes HOST:PORT"),
        (["--geoip", "/nowhere/x.mmdb"], "/nowhere/x.mmdb: No such file or directory"),
        (["--locations", "/nowhere/x.csv"], "/nowhere/x.csv: No such file or directory"),
        (["--store", "redis://h:99999"], "[store] url: redis://h:99999: Port out of range"),
        (["--store", "redis://h?nonsense=1"], "[store] url: redis://h?nonsense=1: "),
        (["--store", "redis://a..b"], "[store] url: redis://a..b: "),
        (["--amqp", "embedded://127.0.0.1:x"], "[amqp] url: embedded://127.0.0.1:x: "),
    ],
)
def test_what_can_never_work_ends_it_with_2_and_one_clear_line(flags: list[str], told: str) -> None:
    done = run(*flags)
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
