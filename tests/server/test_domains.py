"""Registered domains by reverse DNS, from a name server on loopback."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from shoal_common.errors import SettingsError
from shoal_common.hosts import HostPort
from shoal_server.domains import MOST_NAMES, MOST_WAITING, ReverseDomains
from testbed.process import wait_until

ZONE: Mapping[tuple[str, str], str | Sequence[str]] = {
    ("7.2.0.192.in-addr.arpa.", "PTR"): "vm7.cloud.uvic.ca.",
    ("vm7.cloud.uvic.ca.", "A"): "192.0.2.7",
    ("8.2.0.192.in-addr.arpa.", "PTR"): "www.cern.ch.",
    ("www.cern.ch.", "A"): "198.51.100.1",
    ("9.2.0.192.in-addr.arpa.", "PTR"): "evil`id`.example.",
    ("10.2.0.192.in-addr.arpa.", "PTR"): "ec2-192-0-2-10.compute-1.amazonaws.com.",
    ("ec2-192-0-2-10.compute-1.amazonaws.com.", "A"): "192.0.2.10",
    ("11.2.0.192.in-addr.arpa.", "PTR"): [f"vm{number}.hostile.example." for number in range(100)],
}


class NameServer(threading.Thread):
    """Answers from ZONE, and counts the questions."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.place = HostPort(*self._socket.getsockname())
        self.questions = 0

    def run(self) -> None:
        with suppress(OSError):
            while True:
                body, peer = self._socket.recvfrom(4096)
                self.questions += 1
                self._socket.sendto(_answer(body), peer)

    def close(self) -> None:
        self._socket.close()


def _answer(body: bytes) -> bytes:
    question = dns.message.from_wire(body)
    answer = dns.message.make_response(question)
    asked = question.question[0]
    kind = dns.rdatatype.to_text(asked.rdtype)
    if found := ZONE.get((asked.name.to_text(), kind)):
        texts = [found] if isinstance(found, str) else found
        answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", kind, *texts))
    else:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    return answer.to_wire()


@pytest.fixture
def server() -> Iterator[NameServer]:
    thread = NameServer()
    thread.start()
    yield thread
    thread.close()


@pytest.fixture
def domains(server: NameServer) -> Iterator[ReverseDomains]:
    made = ReverseDomains([server.place])
    stop = threading.Event()
    thread = threading.Thread(target=made.run, args=[stop])
    thread.start()
    yield made
    stop.set()
    thread.join()


def settled(domains: ReverseDomains, address: str) -> str | None:
    """What is known of the address once its question has been worked through."""
    domains.of(address)
    domains.of("192.0.2.7")  # asked for later and answered later, so when this is known the other is done
    wait_until(lambda: domains.of("192.0.2.7") is not None, 10.0, "both were resolved")
    return domains.of(address)


def test_the_registered_domain_of_a_confirmed_name_is_found(domains: ReverseDomains) -> None:
    assert settled(domains, "192.0.2.7") == "uvic.ca"


def test_the_confirmed_name_is_known_with_its_domain(domains: ReverseDomains) -> None:
    settled(domains, "192.0.2.10")
    assert domains.name("192.0.2.7") == "vm7.cloud.uvic.ca"
    assert domains.name("192.0.2.10") == "ec2-192-0-2-10.compute-1.amazonaws.com"


def test_a_name_that_is_not_believed_is_no_name(domains: ReverseDomains) -> None:
    settled(domains, "192.0.2.8")
    settled(domains, "192.0.2.9")
    assert domains.name("192.0.2.8") is domains.name("192.0.2.9") is None


def test_a_name_that_does_not_lead_back_is_not_believed(domains: ReverseDomains) -> None:
    assert settled(domains, "192.0.2.8") is None


def test_a_name_that_is_no_host_name_is_not_believed(domains: ReverseDomains) -> None:
    assert settled(domains, "192.0.2.9") is None


def test_of_hundreds_of_names_in_a_hostile_zone_a_few_are_followed(
    domains: ReverseDomains, server: NameServer
) -> None:
    assert settled(domains, "192.0.2.11") is None
    both_of_the_other, pointers = 2, 1
    assert server.questions <= both_of_the_other + pointers + MOST_NAMES


def test_tenants_of_one_cloud_are_not_one_domain(domains: ReverseDomains) -> None:
    """`compute-1.amazonaws.com` is a public suffix: all tenants have names under it."""
    assert settled(domains, "192.0.2.10") != "amazonaws.com"


def test_a_question_never_waits(server: NameServer) -> None:
    """Nobody resolves here, as if every name server were dead."""
    idle = ReverseDomains([server.place])
    began = time.monotonic()
    for number in range(5 * MOST_WAITING):
        assert idle.of(f"10.0.{number // 250}.{number % 250}") is None
    assert time.monotonic() - began < 5.0


def test_a_known_domain_is_not_asked_for_again(domains: ReverseDomains, server: NameServer) -> None:
    settled(domains, "192.0.2.7")
    before = server.questions
    assert {domains.of("192.0.2.7") for _ in range(100)} == {"uvic.ca"}
    domains.of("192.0.2.8")
    wait_until(lambda: server.questions >= before + 2, 10.0, "the pointer and the name of the second")
    assert server.questions == before + 2


def test_a_name_server_that_is_told_by_its_name_is_a_mistake() -> None:
    places = ["dns.example.org:53", "192.0.2.53:53", "localhost:5353", "[2001:db8::53]:53"]
    with pytest.raises(SettingsError) as caught:
        ReverseDomains([HostPort.parse(place) for place in places])
    assert caught.value.mistakes == (
        "[geo] name_servers: dns.example.org:53 is no IP address and port",
        "[geo] name_servers: localhost:5353 is no IP address and port",
    )


def test_name_servers_are_told_by_addresses_of_either_family() -> None:
    stop = threading.Event()
    stop.set()
    ReverseDomains([HostPort("192.0.2.53", 53), HostPort("2001:db8::53", 53)]).run(stop)
