"""Several interfaces, a NAT and a change of address, on machines made of network namespaces."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal_agent.announce import Announcer, broadcast
from shoal_agent.cache import Cache
from shoal_agent.health import Health
from shoal_agent.host import interfaces, look
from shoal_agent.stun import mapped_address
from shoal_common.heartbeat import CacheType, Heartbeat, Upstream, decode
from shoal_common.hosts import HostPort
from shoal_server.intake.embedded import EmbeddedIntake
from testbed.origin import Origin
from testbed.process import wait_until
from testbed.squid import Squid
from tests.agent.fakes import StunServer
from tests.agent.namespaces import Namespace, why_not
from tests.agent.test_process import Program
from tests.agent.there import SquidThere
from tests.conftest import need

ANYWHERE = frozenset(["0.0.0.0"])
SQUID = Cache(HostPort("127.0.0.1", 3128), CacheType.SQUID, Upstream.BOTH, "configured", ANYWHERE)
GOOD = Health(healthy=True)


@pytest.fixture
def machine() -> Iterator[Callable[[], Namespace]]:
    """Makes machines for this test."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as stack:

        def make() -> Namespace:
            made = Namespace()
            stack.callback(made.close)
            return made

        yield make


class Lan:
    """A squid's VM with two networks, a neighbour on each, and a docker0 of its own."""

    def __init__(self, machine: Callable[[], Namespace]) -> None:
        self.vm, self.first, self.second = machine(), machine(), machine()
        self.vm.ip("link", "add", "docker0", "type", "veth", "peer", "name", "veth0")
        self.vm.ip("addr", "add", "172.17.0.1/16", "dev", "docker0")
        self.vm.ip("link", "set", "docker0", "up")
        self.vm.link("eth0", "10.9.1.2/24", self.first, "lan", "10.9.1.1/24")
        self.vm.link("eth1", "10.9.2.2/24", self.second, "lan", "10.9.2.1/24")


@pytest.fixture
def lan(machine: Callable[[], Namespace]) -> Lan:
    return Lan(machine)


def test_the_route_decides_which_interface_carries_the_traffic(lan: Lan) -> None:
    found = []
    for gateway in ("10.9.1.1", "10.9.2.1"):
        lan.vm.ip("route", "replace", "default", "via", gateway)
        with lan.vm.inside():
            host = look(None, None)
        found.append((host.interface, host.private_ip, host.sources["interface"]))
    why = "the route to the outside"
    assert found == [("eth0", "10.9.1.2", why), ("eth1", "10.9.2.2", why)]


def test_before_its_network_a_vm_has_no_address_and_docker0_is_none(machine: Callable[[], Namespace]) -> None:
    vm = machine()
    vm.ip("link", "add", "docker0", "type", "veth", "peer", "name", "veth0")
    vm.ip("addr", "add", "172.17.0.1/16", "dev", "docker0")
    vm.ip("link", "set", "docker0", "up")
    with vm.inside():
        host = look(None, None)
    assert (host.interface, host.public_ip, host.private_ip) == (None, None, None)


def test_of_two_addresses_of_one_interface_that_of_the_route_is_told(lan: Lan) -> None:
    lan.vm.ip("addr", "add", "10.9.1.9/24", "dev", "eth0")
    lan.vm.ip("route", "replace", "default", "via", "10.9.1.1", "src", "10.9.1.9")
    with lan.vm.inside():
        assert look(None, None).private_ip == "10.9.1.9"


def ear(namespace: Namespace, port: int) -> socket.socket:
    with namespace.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", port))
        sock.settimeout(3.0)
        return sock


def test_each_network_hears_the_address_that_it_can_reach(lan: Lan) -> None:
    lan.vm.ip("route", "replace", "default", "via", "10.9.1.1")
    with ear(lan.first, 50000) as first, ear(lan.second, 50000) as second:
        with lan.vm.inside():
            Announcer().turn(SQUID, GOOD, interfaces)
        heard = [(packet, peer[0]) for packet, peer in (sock.recvfrom(256) for sock in (first, second))]
    assert heard == [(b"fna349fn10.9.1.2:3128", "10.9.1.2"), (b"fna349fn10.9.2.2:3128", "10.9.2.2")]


def test_an_unprivileged_agent_may_announce_too(lan: Lan) -> None:
    code = "from shoal_agent.announce import broadcast; broadcast('eth1', '10.9.2.2', b'x', 50000)"
    with ear(lan.second, 50000) as second:
        unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
        python = [sys.executable, "-c", code]
        subprocess.run(lan.vm.command(*unprivileged, *python), check=True, cwd=Path(__file__).parents[2])
        assert second.recvfrom(16)[0] == b"x"


def test_a_network_that_is_gone_is_an_error_of_its_own(lan: Lan) -> None:
    with lan.vm.inside(), pytest.raises(OSError, match="no interface"):
        broadcast("eth7", "10.9.7.1", b"x", 50000)


def test_a_stun_server_sees_the_nats_address(machine: Callable[[], Namespace]) -> None:
    if shutil.which("nft") is None:
        pytest.skip("needs nft, which is not installed; get it with: apt-get install -y nftables")
    vm, router, outside = machine(), machine(), machine()
    vm.link("eth0", "10.9.1.2/24", router, "in", "10.9.1.1/24")
    router.link("out", "198.51.100.1/24", outside, "eth0", "198.51.100.9/24")
    vm.ip("route", "add", "default", "via", "10.9.1.1")
    rules = "table ip nat { chain post { type nat hook postrouting priority 100; masquerade; }; }"
    subprocess.run(router.command("nft", rules), check=True)
    subprocess.run(router.command("sysctl", "-qw", "net.ipv4.ip_forward=1"), check=True)
    with outside.inside():
        server = StunServer(host="198.51.100.9", echo=True)
    with server, vm.inside():
        assert mapped_address(HostPort("198.51.100.9", server.port)) == "198.51.100.1"


class AgentThere(Program):
    """An agent on another machine."""

    def __init__(
        self,
        directory: Path,
        namespace: Namespace,
        arguments: list[str],
        quick: Mapping[str, float] = {},
        user: int = 0,
        *,
        alone: bool = False,
    ) -> None:
        super().__init__(directory, arguments, quick)
        self._namespace = namespace
        self._user = user
        # Of its own processes alone it knows, as in a container that shares the network with another.
        self._container = (
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"] if alone else []
        )

    def command(self) -> list[str]:
        drop = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups", "--"]
        return self._namespace.command(*self._container, *drop, *super().command())

    def stop(self) -> None:
        """At the end of a test; what tells a container nothing of a signal is killed."""
        self.kill() if self._container else super().stop()


class Heard:
    """What an intake took."""

    def __init__(self) -> None:
        self.beats: list[Heartbeat] = []

    def take(self, bodies: Sequence[bytes]) -> None:
        self.beats += [decode(body) for body in bodies]


def test_a_change_of_address_is_told_without_a_restart(
    lan: Lan, new_directory: Callable[[str], Path]
) -> None:
    need(Squid)
    lan.vm.ip("route", "replace", "default", "via", "10.9.1.1")
    heard = Heard()
    with lan.first.inside():
        intake = EmbeddedIntake("10.9.1.1", 5672, heard, credentials=None)
        intake.start()
        origin = Origin(host="10.9.1.1").start()
    flags = ["--amqp", "amqp://10.9.1.1/", "--interval", "0.5", "--metadata-url", ""]
    flags += ["--check-urls", f"{origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished", "--check-timeout", "2"]
    with (
        SquidThere(new_directory("squid"), lan.vm),
        AgentThere(new_directory("agent"), lan.vm, flags, {"publisher.UNACKNOWLEDGED_MS": 2000}) as agent,
    ):
        wait_until(lambda: bool(heard.beats), 10, "the first heartbeat")
        assert (heard.beats[-1].private_ip, heard.beats[-1].port) == ("10.9.1.2", 3128)
        pid = agent.pid
        lan.vm.ip("addr", "del", "10.9.1.2/24", "dev", "eth0")
        lan.vm.ip("addr", "add", "10.9.1.77/24", "dev", "eth0")
        lan.vm.ip("route", "replace", "default", "via", "10.9.1.1")
        wait_until(lambda: heard.beats[-1].private_ip == "10.9.1.77", 30, "a heartbeat of the new address")
        assert agent.pid == pid
    origin.stop()
    intake.stop()
