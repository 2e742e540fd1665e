"""The whole of Shoal on real processes: agents, broker, server, store, squid, client, files.

Each rule holds for the parts that need no installation (embedded listener, memory) and for RabbitMQ
with Redis.
"""

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pytest

from testbed.cvmfs_talk import CvmfsTalk
from testbed.origin import Origin
from testbed.process import wait_until
from testbed.program import Program, ShoalServer, command, environment
from testbed.squid import Squid
from tests.conftest import StartSquid

REPOSITORY = "atlas.cern.ch"
LOCATIONS = "network,site,latitude,longitude\n127.0.0.0/8,Victoria,48.46,-123.31\n"
HERE = "127.41.0.1"
SIGHT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Chain:
    """A running server with an origin and a squid that listens at 127.41.0.1 to 127.41.0.9."""

    server: ShoalServer
    squid: Squid
    cvmfs_url: str
    origin: Origin
    directory: Path
    talk: CvmfsTalk

    @property
    def proxy(self) -> str:
        return f"http://{HERE}:{self.squid.port}"

    def nearest(self) -> list[dict[str, Any]]:
        """The entries of /nearest, all of them."""
        return list((_get(f"{self.server.url}/nearest/50") or {}).values())

    def await_listed(self, *addresses: str) -> None:
        """Until /nearest holds exactly these addresses."""
        wait_until(
            lambda: {entry["public_ip"] for entry in self.nearest()} == set(addresses),
            SIGHT_SECONDS,
            f"/nearest holds {addresses}",
        )

    def publish(self, message: dict[str, Any]) -> None:
        """As deployed agents do: a new connection for one message, without confirms."""
        with pika.BlockingConnection(pika.URLParameters(self.server.publish_url)) as connection:
            connection.channel().basic_publish("shoal", "info", json.dumps(message).encode())

    def agent(self, *flags: object) -> Program:
        """An agent for the squid, not started yet."""
        own: list[object] = [
            "--amqp",
            self.server.publish_url,
            "--cache-port",
            self.squid.port,
            "--external-ip",
            HERE,
        ]
        own += ["--interval", 1, "--check-urls", self.cvmfs_url, "--check-interval", 1, "--check-retry", 0.3]
        return Program(self.directory / "agent", ["demo.vm", HERE, "shoal_agent.cli"], [*own, *flags])

    def client(self, *flags: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """A run of the client on a worker whose CVMFS configuration is in `worker`."""
        own: list[object] = [
            "--server",
            f"{self.server.url}/nearest",
            "--skip-broadcast",
            "--probe-urls",
            self.cvmfs_url,
        ]
        own += ["--cvmfs-config", self.file, "--cvmfs-directory", self.worker, "--state-dir", self.worker]
        own += ["--cvmfs-talk", self.talk.path, "--mounts", self.worker / "mounts"]
        return subprocess.run(
            command(["shoal_client.cli"], self.directory, [*own, *flags]),
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def worker(self) -> Path:
        return self.directory / "worker"

    @property
    def file(self) -> Path:
        return self.worker / "default.d" / "60-shoal.conf"

    def cvmfs_http_proxy(self) -> str:
        """What a shell, and so CVMFS, reads from the file that the client writes."""
        script = f'. "{self.file}"; printf %s "$CVMFS_HTTP_PROXY"'
        return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.fixture(params=["plain", "rabbitmq and redis"])
def chain(
    request: pytest.FixtureRequest,
    origin: Origin,
    start_squid: StartSquid,
    new_directory: Callable[[str], Path],
) -> Iterator[Chain]:
    amqp, store = None, "memory://"
    if request.param != "plain":
        amqp, store = request.getfixturevalue("rabbit_vhost"), request.getfixturevalue("redis_url")
    squid = start_squid(listen=[f"127.41.0.{number}" for number in range(1, 10)])
    directory = new_directory("chain")
    cvmfs_url = f"{origin.url}/cvmfs/{REPOSITORY}/.cvmfspublished"
    server = ShoalServer(directory, cvmfs_url=cvmfs_url, locations=LOCATIONS, amqp=amqp, store=store)
    made = Chain(server, squid, cvmfs_url, origin, directory, CvmfsTalk(directory / "bin"))
    made.file.parent.mkdir(parents=True)
    (made.worker / "mounts").write_text(f"cvmfs2 /cvmfs/{REPOSITORY} fuse ro,nosuid,nodev 0 0\n")
    made.talk.mount(REPOSITORY, "DIRECT")
    with server:
        wait_until(
            lambda: _get(f"{server.url}/healthz")["intake"] == "connected", SIGHT_SECONDS, "intake connected"
        )
        yield made


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
        return json.load(answer)


def generations(port: int) -> list[dict[str, Any]]:
    """A message as each generation of agents makes it, from 127.41.0.2 on."""
    old = {"timestamp": 1363800000.12, "load": 87}
    middle = {**old, "hostname": "sq.example.org", "squid_port": port}
    late = {"hostname": "sq.example.org", "verified": False, "timestamp": 1700000000.12, "load": 87.458}
    return [
        {**old, "uuid": "6c1b0c1e-8a3f-11e2-9e96-fa163e0c2a11", "hostname": "sq1"}
        | {"public_ip": f"127.41.0.2:{port}", "private_ip": f"10.1.2.3:{port}"},
        {**middle, "uuid": "b", "public_ip": "127.41.0.3", "private_ip": f"10.1.2.3:{port}"},
        {**middle, "uuid": "c", "public_ip": "127.41.0.4", "private_ip": "10.1.2.3"},
        {**middle, "uuid": "d", "public_ip": "127.41.0.5", "verified": False, "max_load": "122000"}
        | {"global_access": "True", "domain_access": "True"},
        {**late, "uuid": "e", "squid_port": str(port), "max_load": -112, "external_ip": "127.41.0.6"},
        {**late, "uuid": "f", "cache_port": port, "cache_type": "squid", "upstream": "both"}
        | {"max_load": 112500, "private_ip": "10.1.2.4", "external_ip": "127.41.0.7"},
    ]


def test_squids_of_every_generation_of_agents_are_listed_and_verified(chain: Chain) -> None:
    for message in generations(chain.squid.port):
        chain.publish(message)
    chain.await_listed(*(f"127.41.0.{number}" for number in range(2, 8)))
    assert all(entry["verified"] and entry["squid_port"] == chain.squid.port for entry in chain.nearest())


def test_a_workers_cvmfs_and_frontier_are_configured_for_the_squid_of_an_agent(chain: Chain) -> None:
    with chain.agent():
        chain.await_listed(HERE)
        done = chain.client()
        assert done.returncode == 0, done.stderr
        assert chain.cvmfs_http_proxy() == chain.proxy
        assert chain.talk.proxies(REPOSITORY) == chain.proxy
        frontier = chain.client("--frontier", FRONTIER_SERVER=f"(serverurl={chain.origin.url}/atlr)")
        expected = f"(serverurl={chain.origin.url}/atlr)(proxyurl={chain.proxy})"
        assert (frontier.returncode, frontier.stdout.strip()) == (0, expected)


def test_a_squid_whose_agent_is_told_to_stop_is_off_the_list_at_once(chain: Chain) -> None:
    with chain.agent() as agent:
        chain.await_listed(HERE)
        agent.stop()
        wait_until(lambda: not chain.nearest(), 1.0, "the squid is off the list within a second")


def test_a_squid_that_dies_is_off_the_list_and_comes_back_with_it(chain: Chain) -> None:
    with chain.agent():
        chain.await_listed(HERE)
        chain.squid.kill()
        chain.await_listed()
        chain.squid.start()
        chain.await_listed(HERE)


def test_a_worker_keeps_its_configuration_while_the_server_is_away(chain: Chain) -> None:
    with chain.agent():
        chain.await_listed(HERE)
        chain.client()
        before = (chain.file.read_bytes(), chain.file.stat().st_mtime_ns)
        chain.server.kill()
        done = chain.client()
        assert (chain.file.read_bytes(), chain.file.stat().st_mtime_ns) == before
        assert "Connection refused" in done.stderr


def test_a_server_that_was_killed_hears_the_agents_again_without_a_restart_of_theirs(chain: Chain) -> None:
    with chain.agent():
        chain.await_listed(HERE)
        chain.server.kill()
        chain.server.start()
        wait_until(lambda: len(chain.nearest()) == 1, 30.0, "the squid is listed again")


def test_ten_thousand_hostile_messages_change_nothing(chain: Chain) -> None:
    chain.publish(generations(chain.squid.port)[2])
    chain.await_listed("127.41.0.4")
    with pika.BlockingConnection(pika.URLParameters(chain.server.publish_url)) as connection:
        channel = connection.channel()
        for number in range(10_000):
            channel.basic_publish("shoal", "info", HOSTILE[number % len(HOSTILE)])
    chain.publish(generations(chain.squid.port)[3])
    chain.await_listed("127.41.0.4", "127.41.0.5")


_RIGHT = {
    "uuid": "x",
    "hostname": "a.b",
    "squid_port": 3128,
    "public_ip": "192.0.2.1",
    "timestamp": 1,
    "load": 1,
}
HOSTILE = (
    b"",
    b"null",
    b"[[[[[[[[",
    b"\xff\xfe\x00",
    *(
        json.dumps({**_RIGHT, **wrong}).encode()
        for wrong in (
            {"hostname": "$(reboot)"},
            {"hostname": '");}alert(1)//'},
            {"public_ip": "192.0.2.1;id"},
            {"public_ip": "127.0.0.1", "squid_port": 0},
            {"load": "x"},
            {"load": float("nan")},
            {"load": -1},
            {"timestamp": "x"},
        )
    ),
)
