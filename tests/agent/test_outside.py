"""The public address behind a floating IP or NAT, and the notice that a VM is taken away."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from shoal_agent.host import Host
from shoal_agent.metadata import Found, Metadata
from shoal_agent.outside import Outside
from shoal_agent.stun import mapped_address, parse
from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort
from testbed.ports import free_port
from testbed.process import wait_until
from tests.agent.fakes import Clouds, StunServer

EC2 = "/latest/meta-data"
GOOGLE = "/computeMetadata/v1/instance"
BEHIND = Host("sq1", "eth0", None, "10.1.2.3", None, None)
PUBLIC = Host("sq1", "eth0", "198.51.100.7", None, None, None)


@pytest.fixture
def clouds() -> Iterator[Clouds]:
    with Clouds() as service:
        yield service


def test_an_openstack_vm_learns_its_floating_ip(clouds: Clouds) -> None:
    clouds.pages[f"{EC2}/public-ipv4"] = "206.12.48.10"
    assert Metadata(clouds.url).public_address() == Found("206.12.48.10", f"metadata service at {clouds.url}")


def test_an_openstack_vm_without_a_floating_ip_has_none(clouds: Clouds) -> None:
    clouds.pages[f"{EC2}/public-ipv4"] = ""
    assert Metadata(clouds.url).public_address() is None


def test_ec2_is_asked_with_a_token() -> None:
    with Clouds(tokens=True) as ec2:
        ec2.pages[f"{EC2}/public-ipv4"] = "206.12.48.10"
        metadata = Metadata(ec2.url)
        assert [metadata.public_address() is not None for _ in range(2)] == [True, True]
        assert ec2.asked.count("PUT /latest/api/token") == 1


def test_a_token_that_expired_is_replaced() -> None:
    with Clouds(tokens=True) as ec2:
        ec2.pages[f"{EC2}/public-ipv4"] = "206.12.48.10"
        metadata = Metadata(ec2.url)
        metadata.public_address()
        ec2.token = "another"
        assert metadata.public_address() is not None


def test_google_is_asked_as_it_wants_to_be(clouds: Clouds) -> None:
    clouds.pages[f"{GOOGLE}/network-interfaces/0/access-configs/0/external-ip"] = "206.12.48.10"
    found = Metadata(clouds.url).public_address()
    assert found == Found("206.12.48.10", f"Google's metadata service at {clouds.url}")


@pytest.mark.parametrize("nonsense", ["<html>log in</html>", "$(reboot)", "::1", "0.0.0.0", "1.2.3.4 5.6.7"])
def test_an_answer_that_is_no_address_is_none(clouds: Clouds, nonsense: str) -> None:
    clouds.pages[f"{EC2}/public-ipv4"] = nonsense
    assert Metadata(clouds.url).public_address() is None


def test_no_metadata_service_is_told() -> None:
    with pytest.raises(Unavailable, match="no metadata service answers"):
        Metadata(f"http://127.0.0.1:{free_port()}").public_address()


def test_a_metadata_service_that_hangs_costs_a_second() -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as hung, pytest.raises(Unavailable):
        Metadata(f"http://127.0.0.1:{hung.getsockname()[1]}").public_address()
    assert time.monotonic() - began < 1.8


def test_the_metadata_service_is_never_asked_through_a_proxy(
    clouds: Clouds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    clouds.pages[f"{EC2}/public-ipv4"] = "206.12.48.10"
    assert Metadata(clouds.url).public_address() is not None


@pytest.mark.parametrize(
    ("kind", "page", "notice"),
    [
        (f"{EC2}/instance-life-cycle", f"{EC2}/spot/instance-action", '{"action": "terminate", "time": "…"}'),
        (f"{GOOGLE}/scheduling/preemptible", f"{GOOGLE}/preempted", "TRUE"),
    ],
)
def test_a_notice_of_preemption_is_seen(clouds: Clouds, kind: str, page: str, notice: str) -> None:
    clouds.pages[kind] = "spot" if kind.startswith(EC2) else "TRUE"
    metadata = Metadata(clouds.url)
    assert metadata.can_be_preempted()
    assert metadata.preemption() is None
    clouds.pages[page] = notice
    assert metadata.preemption() is not None


def test_an_ordinary_vm_is_not_taken_away(clouds: Clouds) -> None:
    clouds.pages[f"{EC2}/instance-life-cycle"] = "on-demand"
    assert not Metadata(clouds.url).can_be_preempted()


def test_a_notice_begins_the_draining(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.outside.NOTICE_SECONDS", 0.05)
    clouds.pages |= {f"{EC2}/instance-life-cycle": "spot"}
    stop, draining = threading.Event(), threading.Event()
    outside = Outside(Metadata(clouds.url), None, configured=True)
    thread = threading.Thread(target=outside.run, args=(stop, lambda: BEHIND, draining))
    thread.start()
    wait_until(lambda: any("instance-action" in path for path in clouds.asked))
    assert not draining.is_set()
    clouds.pages[f"{EC2}/spot/instance-action"] = '{"action": "stop"}'
    wait_until(draining.is_set)
    stop.set()
    thread.join()


@pytest.mark.parametrize("old", [False, True])
def test_a_stun_server_tells_our_address(old: bool) -> None:
    with StunServer(old=old) as server:
        assert mapped_address(HostPort("127.0.0.1", server.port)) == "206.12.48.10"


def test_a_lost_packet_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.stun.TRY_SECONDS", 0.2)
    with StunServer(deaf=2) as server:
        assert mapped_address(HostPort("127.0.0.1", server.port)) == "206.12.48.10"


@pytest.mark.parametrize("deaf", [0, 9])
def test_a_stun_server_that_is_away_or_silent_is_told(deaf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.stun.TRY_SECONDS", 0.05)
    with StunServer(deaf=deaf) as server, pytest.raises(Unavailable, match="STUN server"):
        mapped_address(HostPort("127.0.0.1", server.port if deaf else free_port()))


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_a_packet_that_is_cut_off_is_no_answer(cut: int) -> None:
    with StunServer() as server:
        request = b"\0\1\0\0\x21\x12\xa4\x42" + b"t" * 12
        answer = server.answer(request)
    assert parse(answer, b"t" * 12) == "206.12.48.10"
    assert parse(answer[:cut], b"t" * 12) is None
    assert parse(answer, b"u" * 12) is None


def outside(clouds: Clouds | None = None, stun: HostPort | None = None, configured: bool = False) -> Outside:
    return Outside(Metadata(clouds.url) if clouds else None, stun, configured=configured)


def test_the_stun_server_is_asked_when_the_cloud_does_not_tell(clouds: Clouds) -> None:
    with StunServer("206.12.48.99") as server:
        stun = HostPort("127.0.0.1", server.port)
        asking = outside(clouds, stun)
        asking.turn(BEHIND)
        assert asking.found == Found("206.12.48.99", f"STUN server {stun}")


def test_nobody_is_asked_when_the_address_is_known(clouds: Clouds) -> None:
    outside(clouds).turn(PUBLIC)
    outside(clouds, configured=True).turn(BEHIND)
    assert clouds.asked == []


def test_our_own_address_is_no_external_one() -> None:
    with StunServer("10.1.2.3") as server:
        asking = outside(stun=HostPort("127.0.0.1", server.port))
        asking.turn(BEHIND)
        assert asking.found is None


def test_it_is_asked_again_when_an_address_changes_and_not_before_its_time(clouds: Clouds) -> None:
    asking = outside(clouds)
    clouds.pages[f"{EC2}/public-ipv4"] = "206.12.48.10"
    asking.turn(BEHIND)
    clouds.pages[f"{EC2}/public-ipv4"] = "206.12.48.11"
    asking.turn(BEHIND)
    assert asking.found is not None
    assert asking.found.address == "206.12.48.10"
    asking.turn(Host("sq1", "eth0", None, "10.1.2.4", None, None))
    assert asking.found.address == "206.12.48.11"


def test_a_floating_ip_that_is_taken_away_is_forgotten_but_not_for_a_silence(
    clouds: Clouds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_agent.outside.AGAIN_SECONDS", 0.0)
    asking = outside(clouds)
    clouds.pages[f"{EC2}/public-ipv4"] = "206.12.48.10"
    asking.turn(BEHIND)
    port, asking._metadata._port = asking._metadata._port, free_port()  # type: ignore[union-attr]
    asking.turn(BEHIND)
    assert asking.found is not None
    asking._metadata._port = port  # type: ignore[union-attr]
    del clouds.pages[f"{EC2}/public-ipv4"]
    asking.turn(BEHIND)
    assert asking.found is None
