"""One agent beside several caches, as it is run: each is announced for itself."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from shoal_common.heartbeat import AgentState, CacheType, Heartbeat, Upstream
from shoal_server.intake.embedded import EmbeddedIntake
from testbed.origin import Origin
from testbed.process import ROOT, Service, wait_until
from testbed.squid import Squid
from testbed.varnish import Purpose, Varnish
from tests.agent.namespaces import Namespace, why_not
from tests.agent.support import SquidOfWorkers
from tests.agent.test_network import AgentThere, Heard
from tests.agent.there import SquidThere, There
from tests.conftest import need

NOBODY = 65534
S = TypeVar("S", bound=Service)


class VarnishThere(There, Varnish):
    """A Varnish on another machine."""

    def __init__(
        self, directory: Path, namespace: Namespace, backend: str, purpose: Purpose, port: int
    ) -> None:
        super().__init__(directory, backend, purpose, port=port)
        self.address = "0.0.0.0"
        self._namespace = namespace


class WorkersThere(SquidThere, SquidOfWorkers):
    """A squid of several processes on another machine."""

    def __init__(self, directory: Path, namespace: Namespace, port: int) -> None:
        super().__init__(directory, namespace, port)
        self._extra = ("workers 2",)


class SquidOnLoopback(SquidThere):
    """A squid on another machine for that machine alone."""

    def __init__(self, directory: Path, namespace: Namespace) -> None:
        super().__init__(directory, namespace, 3177)
        self.listen = ("127.0.0.1",)


class Vm:
    """A machine of its own, with a server and an origin on another one beside it."""

    def __init__(self, stack: ExitStack, directory: Callable[[str], Path]) -> None:
        self._stack, self.directory = stack, directory
        self.here, self.there = Namespace(), Namespace()
        for namespace in (self.here, self.there):
            stack.callback(namespace.close)
        self.here.link("eth0", "10.9.1.2/24", self.there, "lan", "10.9.1.1/24")
        self.here.ip("route", "add", "default", "via", "10.9.1.1")
        self.heard = Heard()
        with self.there.inside():
            intake = EmbeddedIntake("10.9.1.1", 5672, self.heard, credentials=None)
            intake.start()
            self.origin = Origin(host="10.9.1.1").start()
        stack.callback(intake.stop)
        stack.callback(self.origin.stop)

    def start(self, service: S) -> S:
        self._stack.enter_context(service)
        return service

    def squid(self, port: int) -> SquidThere:
        return self.start(SquidThere(self.directory("squid"), self.here, port))

    def squid_of_workers(self, port: int) -> WorkersThere:
        return self.start(WorkersThere(self.directory("squid"), self.here, port))

    def varnish(self, purpose: Purpose, port: int) -> VarnishThere:
        backend = f"10.9.1.1:{self.origin.port}"
        return self.start(VarnishThere(self.directory("varnish"), self.here, backend, purpose, port))

    def agent(self, *flags: str, user: int = 0, alone: bool = False) -> AgentThere:
        own = [*self.flags, *flags]
        return self.start(AgentThere(self.directory("agent"), self.here, own, user=user, alone=alone))

    @property
    def flags(self) -> list[str]:
        """Those of every agent here."""
        return [
            *("--amqp", "amqp://10.9.1.1/", "--interval", "0.5", "--metadata-url", "", "--announce", "no"),
            *("--check-urls", f"{self.origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished"),
            *("--check-timeout", "3"),
        ]

    @property
    def last(self) -> dict[int, Heartbeat]:
        """The last heartbeat of each port."""
        return {beat.port: beat for beat in list(self.heard.beats)}

    def await_up(self, *ports: int, within: float = 20.0) -> dict[int, Heartbeat]:
        """Wait until these are announced, and no others."""

        def announced() -> bool:
            up = {port for port, beat in self.last.items() if beat.state is AgentState.UP}
            return up == set(ports)

        wait_until(announced, within, f"heartbeats of {ports} alone")
        return self.last


@pytest.fixture
def vm(new_directory: Callable[[str], Path]) -> Iterator[Vm]:
    need(Squid)
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        yield Vm(stack, new_directory)


@pytest.mark.parametrize("user", [0, NOBODY], ids=["root", "nobody"])
def test_two_squids_with_workers_are_two_caches(vm: Vm, user: int) -> None:
    vm.squid_of_workers(3128)
    vm.squid_of_workers(3129)
    vm.agent(user=user)
    last = vm.await_up(3128, 3129)
    heard = len(vm.heard.beats)
    wait_until(lambda: len(vm.heard.beats) >= heard + 4, 10, "more heartbeats")
    assert set(vm.last) == {3128, 3129}
    assert len({beat.uuid for beat in vm.heard.beats}) == 2
    assert last[3128].uuid != last[3129].uuid
    assert {beat.private_ip for beat in last.values()} == {"10.9.1.2"}


def test_squids_and_varnishes_are_announced_each_with_its_purpose_and_its_counters(vm: Vm) -> None:
    need(Varnish)
    vm.squid(3128)
    vm.varnish("cvmfs", 6081)
    vm.varnish("frontier", 6082)
    vm.agent("--check-frontier-urls", f"{vm.origin.url}/atlr")
    vm.await_up(3128, 6081, 6082)
    assert {port: (beat.cache_type, beat.upstream) for port, beat in vm.last.items()} == {
        3128: (CacheType.SQUID, Upstream.BOTH),
        6081: (CacheType.VARNISH, Upstream.CVMFS),
        6082: (CacheType.VARNISH, Upstream.FRONTIER),
    }
    counted = {port: lambda port=port: vm.last[port].metrics.requests_per_s is not None for port in vm.last}
    for port, told in counted.items():
        wait_until(told, 15, f"the counters of {port}")


def test_the_goodbye_of_one_squid_leaves_the_other(vm: Vm) -> None:
    first = vm.squid(3128)
    vm.squid(3129)
    agent = vm.agent("--check-fall", "1", "--check-retry", "0.2")
    before = vm.await_up(3128, 3129)
    first.kill()
    vm.await_up(3129)
    assert vm.last[3128].state is AgentState.LEAVING
    third = vm.squid(3177)
    after = vm.await_up(3129, 3177)
    assert after[3177].uuid == before[3128].uuid, "a squid that returned elsewhere"
    assert after[3129].uuid == before[3129].uuid
    third.kill()
    vm.await_up(3129)
    assert agent.running


def test_a_squid_that_starts_first_at_an_unusual_port_is_found_within_seconds(vm: Vm) -> None:
    agent = vm.agent("--check-interval", "3600", "--interval", "30")
    wait_until(lambda: "is bad" in agent.tail(), 10, "the agent looks for a squid")
    assert vm.heard.beats == []
    vm.squid(3999)
    began = time.monotonic()
    vm.await_up(3999)
    assert time.monotonic() - began < 30.0, "a search each minute alone would not have been enough"


def test_check_shows_each_cache_and_why_one_is_not_announced(vm: Vm) -> None:
    vm.squid(3128)
    vm.squid(3129)
    vm.start(SquidOnLoopback(vm.directory("squid"), vm.here))
    agent = AgentThere(vm.directory("agent"), vm.here, [*vm.flags, "--check"])
    done = subprocess.run(
        agent.command(),
        env=agent.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    for port in (3128, 3129):
        assert any(line.startswith(f"cache: squid at 127.0.0.1:{port}") for line in lines)
        assert (
            f"announced as of port {port}: 10.9.1.2:{port}  (the addresses at which others reach it)" in lines
        )
        assert any(line.startswith(f"state of port {port}: good") for line in lines)
    assert "also running: squid at 127.0.0.1:3177  (not announced: only this VM reaches it)" in lines
    assert any(line.startswith("all addresses: lo 127.0.0.1") and "eth0 10.9.1.2" in line for line in lines)
    assert vm.heard.beats == []


def test_an_agent_in_a_container_beside_that_of_the_squid_finds_it_by_its_usual_port(vm: Vm) -> None:
    squid = vm.squid(3128)
    vm.squid(3177)
    vm.agent("--check-fall", "1", user=NOBODY, alone=True)
    vm.await_up(3128)
    squid.kill()
    vm.await_up()
    squid.start()
    vm.await_up(3128)


def test_of_the_caches_a_configured_port_means_one_alone(vm: Vm) -> None:
    vm.squid(3128)
    vm.squid(3129)
    vm.agent("--cache-port", "3129")
    vm.await_up(3129)
    heard = len(vm.heard.beats)
    wait_until(lambda: len(vm.heard.beats) >= heard + 3, 10, "more heartbeats")
    assert set(vm.last) == {3129}
