"""What is told to the local network, where, and when."""

import socket

import pytest

from shoal_agent.announce import Announcer, announcement, places
from shoal_agent.cache import Cache
from shoal_agent.health import Health
from shoal_agent.host import Interface
from shoal_client.discover import parse
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort

FOUND = [
    Interface("lo", ("127.0.0.1",)),
    Interface("eth0", ("169.254.1.2", "10.1.2.3", "fe80::1%eth0")),
    Interface("docker0", ("172.17.0.1",)),
    Interface("eth1", ("206.12.48.10", "206.12.48.11")),
    Interface("eth2", ("2001:db8::1",)),
]
GOOD, BAD = Health(healthy=True), Health(healthy=False)


def cache(kind: CacheType = CacheType.SQUID, upstream: Upstream = Upstream.BOTH, *bound: str) -> Cache:
    return Cache(HostPort("127.0.0.1", 3128), kind, upstream, "configured", frozenset(bound))


def test_a_squid_is_told_of_in_the_form_that_every_deployed_client_reads() -> None:
    assert announcement("10.0.0.5", cache()) == (b"fna349fn10.0.0.5:3128", 50000)


@pytest.mark.parametrize(("upstream", "port"), [(Upstream.CVMFS, 50001), (Upstream.FRONTIER, 50002)])
def test_a_varnish_is_told_of_where_only_newer_clients_listen(upstream: Upstream, port: int) -> None:
    packet = f"fna349fn10.0.0.5:3128:varnish:{upstream}".encode()
    assert announcement("10.0.0.5", cache(CacheType.VARNISH, upstream)) == (packet, port)


def test_our_own_client_reads_it() -> None:
    heard = parse(announcement("10.0.0.5", cache())[0], "10.0.0.5", Upstream.CVMFS)
    assert heard is not None
    assert str(heard.place) == "10.0.0.5:3128"


def test_each_interface_is_told_its_own_address_and_docker0_none() -> None:
    assert places(FOUND, cache()) == [("eth0", "10.1.2.3"), ("eth1", "206.12.48.10")]


def test_only_an_address_at_which_the_cache_listens_is_told() -> None:
    assert places(FOUND, cache(CacheType.SQUID, Upstream.BOTH, "206.12.48.11")) == [("eth1", "206.12.48.11")]
    assert places(FOUND, cache(CacheType.SQUID, Upstream.BOTH, "127.0.0.1")) == []


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    packets: list[bytes] = []
    monkeypatch.setattr("shoal_agent.announce.broadcast", lambda *said: packets.append(said[2]))
    return packets


def test_nothing_is_told_of_a_cache_that_is_not_good(sent: list[bytes]) -> None:
    announcer = Announcer()
    for health in (Health(), BAD):
        announcer.turn(cache(), health, lambda: FOUND)
    assert sent == []


def test_a_good_cache_is_told_of_at_once_and_then_once_a_minute(
    sent: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("shoal_agent.announce.time.monotonic", lambda: clock[0])
    announcer = Announcer()
    counts = []
    for _ in range(122):
        announcer.turn(cache(), GOOD, lambda: FOUND)
        counts.append(len(sent))
        clock[0] += 1.0
    assert (counts[0], counts[59], counts[60], counts[121]) == (2, 2, 4, 6)


def test_an_interface_that_cannot_send_keeps_nobody_from_the_others(
    sent: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(interface: str, _: str, packet: bytes, __: int) -> None:
        if interface == "eth0":
            raise OSError(101, "Network is unreachable")
        sent.append(packet)

    monkeypatch.setattr("shoal_agent.announce.broadcast", broken)
    Announcer().turn(cache(), GOOD, lambda: FOUND)
    assert sent == [b"fna349fn206.12.48.10:3128"]


def test_names_of_interfaces_are_those_of_the_kernel() -> None:
    assert socket.if_nametoindex("lo") > 0
