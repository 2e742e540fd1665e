"""Two servers on one Redis and one RabbitMQ behind the nginx of conf/nginx/shoal.conf."""

import json
import signal
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from testbed.nginx import Nginx
from testbed.process import ROOT, wait_until
from testbed.rabbitmq import RabbitMQ
from testbed.redis import Redis
from tests.conftest import need
from tests.e2e.hammer import Hammer, ask, names
from tests.fakes import beat
from tests.server.process import ServerProcess, publish, run

TOKEN = "correct-horse-battery"
WEST, EAST = "127.9.0.1", "127.9.0.2"
LOCATIONS = f"""\
network,site,latitude,longitude
{WEST},uvic,48.46,-123.31
192.0.2.1,uvic,48.46,-123.31
{EAST},cern,46.23,6.05
192.0.2.2,cern,46.23,6.05
"""
SQUIDS = {"west", "east"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two servers, and the proxy before them."""

    servers: tuple[ServerProcess, ServerProcess]
    proxy: Nginx

    def first(self, source: str, url: str = "", **headers: str) -> str:
        """The nearest squid of a worker at `source`."""
        status, said = ask(url or self.proxy.url, "/nearest", source, **headers)
        assert status == 200
        return names(said)[0]


@pytest.fixture(scope="module")
def pair(new_directory: Callable[[str], Path], rabbitmq: RabbitMQ, redis_server: Redis) -> Iterator[Pair]:
    need(Nginx)
    with redis.Redis.from_url(redis_server.url, socket_timeout=5) as client:
        client.flushall()
    broker = rabbitmq.add_vhost(f"pair-{uuid.uuid4().hex[:12]}")
    directory = new_directory("pair")
    directory.mkdir()
    table = directory / "locations.csv"
    table.write_text(LOCATIONS)
    flags: list[object] = ["--verify", "no", "--store", redis_server.url, "--locations", table]
    flags += ["--trusted-proxies", "127.0.0.1", "--operator-token", TOKEN]
    one, two = (ServerProcess(directory / str(n), *flags, amqp=broker) for n in (1, 2))
    nginx = Nginx(directory / "nginx")
    nginx.site = site(nginx, one, two)
    with one, two, nginx:
        wait_until(lambda: all(_connected(server) for server in (one, two)), 20, "both hear heartbeats")
        publish(broker, *heartbeats())
        for server in (one, two):
            server.await_names(*SQUIDS)
        yield Pair((one, two), nginx)


def site(nginx: Nginx, one: ServerProcess, two: ServerProcess) -> str:
    """The example as it is shipped, with these addresses."""
    text = (ROOT / "conf" / "nginx" / "shoal.conf").read_text()
    for was, now in (
        ("listen 80;", f"listen 127.0.0.1:{nginx.port};"),
        ("shoal1.example.org:8080", f"127.0.0.1:{one.port}"),
        ("shoal2.example.org:8080", f"127.0.0.1:{two.port}"),
    ):
        assert was in text
        text = text.replace(was, now)
    return text


def heartbeats() -> list[bytes]:
    """One squid in the west and one in the east."""
    return [
        beat(uuid=f"uuid-{name}", hostname=name, public_ip=address).encode()
        for name, address in (("west", "192.0.2.1"), ("east", "192.0.2.2"))
    ]


def _connected(server: ServerProcess) -> bool:
    return bool(server.get("/healthz").json()["intake"] == "connected")


def test_each_worker_is_told_of_the_squid_near_itself_and_not_near_the_proxy(pair: Pair) -> None:
    for _ in range(4):  # whichever server is asked
        assert pair.first(WEST) == "west"
        assert pair.first(EAST) == "east"


def test_the_address_that_a_worker_makes_up_is_not_believed(pair: Pair) -> None:
    assert pair.first(WEST, X_Forwarded_For=EAST) == "west"


def test_a_server_asked_directly_believes_no_header_of_a_stranger(pair: Pair) -> None:
    assert pair.first(WEST, pair.servers[0].url, X_Forwarded_For=EAST) == "west"


def test_the_figures_of_one_server_are_not_told_by_the_proxy(pair: Pair) -> None:
    assert ask(pair.proxy.url, "/metrics")[0] == 403
    assert pair.servers[0].get("/metrics").ok


def test_no_lookup_fails_while_each_server_is_killed_and_comes_back(pair: Pair) -> None:
    with Hammer(pair.proxy.url, SQUIDS) as hammer:
        for server in pair.servers:
            hammer.await_answers()
            server.kill()
            hammer.await_answers()
            server.start()
    assert hammer.failures == []


def test_no_lookup_fails_during_an_upgrade_of_one_after_the_other(pair: Pair) -> None:
    with Hammer(pair.proxy.url, SQUIDS) as hammer:
        for server in pair.servers:
            hammer.await_answers()
            server.end(signal.SIGTERM)
            assert server.exit_code == 0
            hammer.await_answers()
            server.start()
    assert hammer.failures == []


def test_no_lookup_fails_while_a_server_hangs(pair: Pair) -> None:
    with Hammer(pair.proxy.url, SQUIDS) as hammer:
        hammer.await_answers()
        pair.servers[0].pause()
        hammer.await_answers()
        pair.servers[0].resume()
    assert hammer.failures == []


def test_a_command_to_one_server_counts_for_both(pair: Pair) -> None:
    squid = "192.0.2.1:3128"
    asked = ("--server", pair.proxy.url, "--who", "ada", "--why", "test")
    for command, left in (("drain", {"east"}), ("undrain", SQUIDS)):
        ended = run(command, squid, *asked, SHOAL_OPERATOR_TOKEN=TOKEN)
        assert (ended.returncode, ended.stderr) == (0, "")
        for server in pair.servers:
            server.await_names(*left)


def test_the_list_is_the_same_at_both(pair: Pair) -> None:
    lists = []
    for server in pair.servers:
        ended = run("squids", "--json", "--server", server.url)
        assert ended.returncode == 0
        lists.append({squid["id"] for squid in json.loads(ended.stdout)["squids"]})
    assert lists[0] == lists[1] == {"192.0.2.1:3128", "192.0.2.2:3128"}
