"""Announcements on the LAN, as packets and by real UDP."""

import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client import discover
from shoal_client.candidates import Candidate
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort


def heard(packet: bytes, sender: str = "10.0.0.5", service: Upstream = Upstream.CVMFS) -> str | None:
    candidate = discover.parse(packet, sender, service)
    return str(candidate.place) if candidate else None


@pytest.mark.parametrize("packet", [b"fna349fn10.0.0.5:3128", b"fna349fn10.0.0.5:3128:squid:both"])
def test_both_generations_of_announcements_are_understood(packet: bytes) -> None:
    assert heard(packet) == "10.0.0.5:3128"


def test_the_senders_address_replaces_what_its_host_name_resolves_to() -> None:
    assert heard(b"fna349fn127.0.1.1:3128") == "10.0.0.5:3128"


@pytest.mark.parametrize("packet", [b"fna349fnsq.test:3128", b"fna349fnsq.test:3128:squid:both"])
def test_the_senders_address_replaces_a_name_that_was_configured(packet: bytes) -> None:
    assert heard(packet) == "10.0.0.5:3128"


def test_nobody_can_announce_another_host() -> None:
    assert heard(b"fna349fn203.0.113.9:3128") == "10.0.0.5:3128"


def test_a_cache_for_another_service_is_none_for_this_one() -> None:
    packet = b"fna349fn10.0.0.5:6082:varnish:frontier"
    assert heard(packet) is None
    assert heard(packet, service=Upstream.FRONTIER) == "10.0.0.5:6082"


def test_a_varnish_is_known_as_one() -> None:
    packets = (b"fna349fn10.0.0.5:6081:varnish:cvmfs", b"fna349fn10.0.0.5:3128:squid:both")
    found = [discover.parse(packet, "10.0.0.5", Upstream.CVMFS) for packet in packets]
    assert [candidate.reverse for candidate in found if candidate] == [True, False]


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"fna349fn",
        b"fna350fn10.0.0.5:3128",
        b"M-SEARCH * HTTP/1.1",
        b"fna349fn10.0.0.5",
        b"fna349fn10.0.0.5:0",
        b"fna349fn10.0.0.5:3128;DIRECT",
        b"fna349fnsq test:3128",
        b"fna349fn:3128",
        b"fna349fn10.0.0.5:3128:squid:everything",
        b"fna349fn10.0.0.5:3128\xff",
        b"fna349fn10.0.0.5:3128:" + b"x" * 300 + b":both",
    ],
)
def test_a_foreign_packet_is_ignored(packet: bytes) -> None:
    assert heard(packet) is None


@given(st.binary(max_size=300))
def test_no_packet_is_anything_but_a_candidate_or_ignored(packet: bytes) -> None:
    for body in (packet, discover.PREFIX + packet):
        assert heard(body) is None or heard(body, "10.0.0.5")


def listen(port: int, seconds: float) -> tuple[list[Candidate], threading.Thread, threading.Event]:
    found: list[Candidate] = []
    stop = threading.Event()
    arguments = (discover.open_port(port), time.monotonic() + seconds, stop, Upstream.CVMFS, found.append)
    thread = threading.Thread(target=discover.listen, args=arguments)
    thread.start()
    return found, thread, stop


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        port: int = sock.getsockname()[1]
        return port


def test_a_foreign_packet_does_not_end_the_listening_and_repeats_count_once() -> None:
    port = free_udp_port()
    found, thread, stop = listen(port, 5.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for packet in (
            b"nonsense",
            b"fna349fn127.0.0.1:3128",
            b"fna349fn127.0.0.1:3128",
            b"fna349fn127.0.0.1:1",
        ):
            sock.sendto(packet, ("127.0.0.1", port))
        while len(found) < 2 and thread.is_alive():
            time.sleep(0.01)
    stop.set()
    thread.join()
    assert [candidate.place for candidate in found] == [HostPort("127.0.0.1", 3128), HostPort("127.0.0.1", 1)]


def test_listening_ends_when_told_to() -> None:
    _, thread, stop = listen(free_udp_port(), 60.0)
    stop.set()
    thread.join(5.0)
    assert not thread.is_alive()


def test_two_clients_can_listen_at_once() -> None:
    port = free_udp_port()
    with discover.open_port(port), discover.open_port(port):
        pass


def test_a_port_that_another_program_keeps_to_itself_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        with pytest.raises(Unavailable, match="Address already in use"):
            discover.open_port(sock.getsockname()[1])
