"""Addresses, the interface that carries the traffic, its counters, the name."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from shoal_agent.host import (
    Interface,
    addresses,
    bytes_sent,
    capacity,
    carrier,
    interfaces,
    look,
    own_name,
    route_source,
)
from shoal_agent.parts import make
from shoal_agent.settings import AgentSettings

LOOPBACK = Interface("lo", ("127.0.0.1", "::1"))
DOCKER = Interface("docker0", ("172.17.0.1",))
PRIVATE = Interface("eth0", ("10.1.2.3", "fe80::1%eth0"))
PUBLIC = Interface("eth1", ("206.12.48.10", "2607:f8f0:c11::10", "fd00::10"))


def interface_files(root: Path, name: str, *, speed: str | None, sent: str = "0") -> None:
    (root / name / "statistics").mkdir(parents=True)
    (root / name / "statistics" / "tx_bytes").write_text(sent)
    if speed is not None:
        (root / name / "speed").write_text(speed)


def hosts_file(directory: Path, text: str) -> Path:
    file = directory / "hosts"
    file.write_text(text)
    return file


def test_public_and_private_addresses_are_told_apart() -> None:
    assert addresses([LOOPBACK, PRIVATE, PUBLIC], "eth1")[:2] == ("206.12.48.10", "10.1.2.3")


@pytest.mark.parametrize("name", ["docker0", "virbr0", "veth12ab", "br-0123456789ab", "cni0", "lxdbr0"])
def test_an_interface_inside_the_vm_is_never_announced(name: str) -> None:
    assert addresses([LOOPBACK, Interface(name, ("172.17.0.1",))], None) == (None, None, None)


def test_a_bridge_that_an_operator_made_may_carry_the_traffic() -> None:
    assert addresses([Interface("br-lan", ("10.9.9.9",))], None)[1] == "10.9.9.9"


def test_the_preferred_interfaces_address_comes_before_the_others() -> None:
    other = Interface("eth2", ("10.200.0.1",))
    assert addresses([other, PRIVATE], "eth0")[1] == "10.1.2.3"


def test_loopback_and_link_local_addresses_reach_nobody() -> None:
    assert addresses([LOOPBACK, Interface("eth0", ("169.254.3.4", "fe80::1%eth0"))], None) == (
        None,
        None,
        None,
    )


def test_a_global_ipv6_address_comes_before_a_local_one() -> None:
    assert addresses([Interface("eth0", ("fd00::10", "2607:f8f0:c11::10"))], None)[2] == "2607:f8f0:c11::10"


def test_a_shared_address_of_a_provider_is_a_private_one() -> None:
    assert addresses([Interface("eth0", ("100.64.3.4",))], None)[:2] == (None, "100.64.3.4")


def test_the_route_out_decides_which_interface_carries_the_traffic() -> None:
    assert carrier([LOOPBACK, PRIVATE, PUBLIC, DOCKER], ["206.12.48.10", None]) == "eth1"


def test_without_a_route_the_first_interface_with_an_address_is_taken() -> None:
    assert carrier([LOOPBACK, DOCKER, Interface("eth9", ()), PRIVATE, PUBLIC], [None, None]) == "eth0"


def test_docker0_is_not_taken_even_when_a_route_begins_there() -> None:
    assert carrier([DOCKER, PRIVATE], ["172.17.0.1"]) == "eth0"


def test_a_vm_without_a_network_has_no_carrier() -> None:
    assert carrier([LOOPBACK, DOCKER], [None]) is None


def test_looking_up_a_route_to_this_machine_gives_its_own_address() -> None:
    assert route_source("127.0.0.1") == "127.0.0.1"


def test_no_route_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    assert route_source("198.41.0.4") is None


def test_this_machines_interfaces_are_found() -> None:
    assert "127.0.0.1" in next(each.addresses for each in interfaces() if each.name == "lo")


def test_an_interface_of_1_gigabit_sends_112500_kb_a_second(tmp_path: Path) -> None:
    interface_files(tmp_path, "eth0", speed="1000\n")
    assert capacity("eth0", tmp_path) == 112500.0


@pytest.mark.parametrize("speed", ["-1\n", "65535\n", "4294967295\n", "0\n", "", "fast\n", None])
def test_an_interface_that_does_not_say_its_speed_has_no_capacity(tmp_path: Path, speed: str | None) -> None:
    interface_files(tmp_path, "eth0", speed=speed)
    assert capacity("eth0", tmp_path) is None


def test_the_bytes_sent_are_read_from_the_interfaces_counter(tmp_path: Path) -> None:
    interface_files(tmp_path, "eth0", speed=None, sent="273399\n")
    assert bytes_sent("eth0", tmp_path) == 273399


def test_an_interface_that_is_gone_has_no_counter(tmp_path: Path) -> None:
    assert bytes_sent("eth0", tmp_path) is None


def test_what_the_operator_set_is_not_guessed(tmp_path: Path) -> None:
    interface_files(tmp_path, "ens3", speed="10000\n")
    host = look("sq1.example.org", "ens3", tmp_path)
    assert (host.hostname, host.interface, host.max_load) == ("sq1.example.org", "ens3", 1125000.0)


def test_a_short_name_is_completed_from_the_hosts_file(tmp_path: Path) -> None:
    file = hosts_file(tmp_path, "127.0.0.1 localhost\n127.0.1.1 sq1.example.org sq1 # set at boot\n")
    assert own_name("sq1", file) == "sq1.example.org"


def test_another_hosts_name_is_not_taken(tmp_path: Path) -> None:
    file = hosts_file(tmp_path, "10.0.0.9 sq10.example.org sq10\n10.0.0.1 localhost.localdomain sq1\n")
    assert own_name("sq1", file) == "sq1"


def test_without_a_hosts_file_the_short_name_stays(tmp_path: Path) -> None:
    assert own_name("sq1", tmp_path / "hosts") == "sq1"


@pytest.mark.parametrize("name", ["", "12345", "my host", "a;b"])
def test_a_name_that_is_no_host_name_is_not_announced(name: str, tmp_path: Path) -> None:
    assert own_name(name, tmp_path / "hosts") is None


def test_addresses_that_are_set_win_over_those_that_are_found() -> None:
    parts = make(replace(AgentSettings(), private_ip="10.9.9.9", ipv6="2001:db8::9", metadata_url=None))
    seen = parts.look()
    assert (seen.private_ip, seen.ipv6) == ("10.9.9.9", "2001:db8::9")
