"""The public address behind a floating IP or NAT, and the notice that a VM is taken away."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from shoal_agent.host import Host
from shoal_agent.metadata import Found, Metadata
from shoal_agent.outside import Outside, pause_after
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


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_cloud_may_refuse_the_pages_of_another_in_any_way(clouds: Clouds, status: int) -> None:
    clouds.refusals["/latest"] = status
    assert Metadata(clouds.url).public_address() is None
    clouds.pages[f"{GOOGLE}/network-interfaces/0/access-configs/0/external-ip"] = "206.12.48.10"
    assert Metadata(clouds.url).public_address() is not None


def test_a_cloud_that_tells_of_no_floating_ip_is_not_asked_in_another_dialect(clouds: Clouds) -> None:
    clouds.pages[f"{EC2}/public-ipv4"] = ""
    clouds.refusals["/computeMetadata"] = 500
    assert Metadata(clouds.url).public_address() is None


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_metadata_service_that_cannot_tell_now_has_not_said_no(clouds: Clouds, status: int) -> None:
    clouds.refusals["/latest/meta-data"] = status
    for question in (Metadata.public_address, Metadata.can_be_preempted, Metadata.preemption):
        with pytest.raises(Unavailable, match=f"cannot tell now: it answers {status}"):
            question(Metadata(clouds.url))


def test_an_ec2_that_gives_no_token_has_not_said_no() -> None:
    with Clouds(tokens=True) as ec2:
        ec2.refusals["/latest/api/token"] = 503
        with pytest.raises(Unavailable, match="cannot tell now"):
            Metadata(ec2.url).public_address()


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


def test_a_hiccup_at_the_first_question_hides_no_notice(
    clouds: Clouds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_agent.outside.NOTICE_SECONDS", 0.05)
    monkeypatch.setattr("shoal_agent.outside.RETRY_SECONDS", 0.05)
    clouds.pages |= {
        f"{EC2}/instance-life-cycle": "spot",
        f"{EC2}/spot/instance-action": '{"action": "stop"}',
    }
    clouds.refusals["/latest"] = 503
    stop, draining = threading.Event(), threading.Event()
    looking = Outside(Metadata(clouds.url), None, configured=True)
    thread = threading.Thread(target=looking.run, args=(stop, lambda: BEHIND, draining), daemon=True)
    thread.start()
    wait_until(lambda: any("instance-life-cycle" in path for path in clouds.asked))
    clouds.refusals.clear()
    wait_until(draining.is_set)
    stop.set()
    thread.join()


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


@pytest.fixture
def asking(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> Outside:
    """One that has found a floating IP and asks at each turn."""
    monkeypatch.setattr("shoal_agent.outside.AGAIN_SECONDS", 0.0)
    clouds.pages[f"{EC2}/public-ipv4"] = "206.12.48.10"
    asking = outside(clouds)
    asking.turn(BEHIND)
    assert asking.found is not None
    return asking


def test_a_floating_ip_that_is_taken_away_is_forgotten_and_that_is_told(
    clouds: Clouds, asking: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    del clouds.pages[f"{EC2}/public-ipv4"]
    for _ in range(3):
        asking.turn(BEHIND)
    assert asking.found is None
    assert [record.getMessage() for record in caplog.records] == [
        "the outside no longer sees this host as 206.12.48.10: nobody tells of such an address now"
    ]


def test_a_floating_ip_is_not_forgotten_for_a_silence(asking: Outside) -> None:
    asking._metadata._port = free_port()  # type: ignore[union-attr]
    asking.turn(BEHIND)
    assert asking.found is not None


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_floating_ip_is_not_forgotten_for_a_hiccup(clouds: Clouds, asking: Outside, status: int) -> None:
    clouds.refusals["/"] = status
    asking.turn(BEHIND)
    assert asking.found is not None


def test_a_floating_ip_is_not_forgotten_when_ipv6_comes_while_nobody_can_tell(
    clouds: Clouds, asking: Outside
) -> None:
    clouds.refusals["/"] = 503
    asking.turn(replace(BEHIND, ipv6="2001:db8::7"))
    assert asking.found is not None


def test_a_floating_ip_of_an_address_that_is_gone_is_forgotten_and_that_is_told(
    clouds: Clouds, asking: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    clouds.refusals["/"] = 503
    asking.turn(replace(BEHIND, private_ip="10.1.2.4"))
    assert asking.found is None
    assert "no longer sees this host as 206.12.48.10: the metadata service" in caplog.text


def test_what_a_stun_server_sees_replaces_no_floating_ip_while_the_cloud_cannot_tell(clouds: Clouds) -> None:
    clouds.pages[f"{EC2}/public-ipv4"] = "206.12.48.10"
    with StunServer("198.51.100.9") as server:
        asking = outside(clouds, HostPort("127.0.0.1", server.port))
        asking.turn(BEHIND)
        clouds.refusals["/"] = 503
        asking.turn(replace(BEHIND, ipv6="2001:db8::7"))
    assert asking.found is not None
    assert asking.found.address == "206.12.48.10"


def test_who_could_not_tell_is_asked_again_soon_and_then_ever_more_seldom(
    clouds: Clouds, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("shoal_agent.outside.time.monotonic", lambda: clock[0])
    clouds.refusals["/"] = 503
    asking, times = outside(clouds), []
    for _ in range(700):
        asked = len(clouds.asked)
        asking.turn(BEHIND)
        if len(clouds.asked) > asked:
            times.append(clock[0] - 1000.0)
        clock[0] += 1.0
    assert times == [0.0, 10.0, 30.0, 70.0, 150.0, 310.0, 610.0]


def test_once_the_cloud_has_told_it_is_asked_every_five_minutes() -> None:
    assert pause_after(0) == 300.0
    assert pause_after(1) == 10.0
    assert pause_after(10_000) == 300.0
