"""The PAC file, to the byte and as a PAC evaluator reads it."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pacparser
import pytest

from shoal_common.heartbeat import CacheType
from shoal_common.hosts import HostPort
from shoal_server.squid import Reach, Verification
from shoal_server.web.wpad import pac
from tests.fakes import NOW, VICTORIA, squid
from tests.server.site import STRANGER, Site

HOSTILE = ['";alert(1);"', "a\nb", "\\", "</script>", "'; return 'DIRECT", "é", "a b", "x" * 70_000]
NEIGHBOUR = "203.0.113.8"


@pytest.fixture(scope="module", autouse=True)
def _evaluator() -> Iterator[None]:
    """Not pacparser.just_find_proxy: on a text that is no PAC file it ends the process."""
    pacparser.init()
    yield
    pacparser.cleanup()


def found(text: str, url: str = "http://cvmfs-stratum-one.cern.ch/x") -> list[str]:
    """What an evaluator makes of a PAC file."""
    pacparser.parse_pac_string(text)
    return [part.strip() for part in pacparser.find_proxy(url, "cvmfs-stratum-one.cern.ch").split(";")]


def test_the_text_is_that_of_deployed_servers_to_the_byte() -> None:
    site = Site(squid(hostname=f"h{n}", public_ip=f"192.0.2.{n}", uuid=f"{n}", port=3127 + n) for n in (1, 2))
    assert sorted(re.findall(rb"PROXY http://[0-9.:]+;", site.get("/wpad.dat").data)) == [
        b"PROXY http://192.0.2.1:3128;",
        b"PROXY http://192.0.2.2:3129;",
    ]
    one = Site([squid()]).get("/wpad.dat").data
    assert one == (
        b'function FindProxyForURL(url, host)\n{\n    return "PROXY http://192.0.2.1:3128; DIRECT";\n}\n'
    )
    assert pac([HostPort("192.0.2.1", 1), HostPort("192.0.2.2", 2)]) == (
        "function FindProxyForURL(url, host)\n{\n"
        '    return "PROXY http://192.0.2.1:1;PROXY http://192.0.2.2:2; DIRECT";\n'
        "}\n"
    )


def test_without_squids_everything_goes_direct() -> None:
    text = Site().get("/wpad.dat").text
    assert text == 'function FindProxyForURL(url, host)\n{\n    return "DIRECT";\n}\n'
    assert found(text) == ["DIRECT"]


def test_an_evaluator_finds_the_squids_in_the_servers_order_and_then_direct() -> None:
    squids = [
        squid(hostname=f"sq{n}", public_ip=f"192.0.2.{n}", uuid=f"{n}", load=9_000.0 * n) for n in range(1, 8)
    ]
    site = Site(squids)
    order = [f"PROXY http://{entry['public_ip']}:3128" for entry in site.told("/nearest/10")]
    assert found(site.get("/wpad.dat").text) == [*order, "DIRECT"]


@pytest.mark.parametrize("url", ["http://frontier.cern.ch/", "https://h/", "http://[::1]/", "ftp://h/a?b"])
def test_the_answer_is_the_same_for_every_url(url: str) -> None:
    assert found(Site([squid()]).get("/wpad.dat").text, url) == ["PROXY http://192.0.2.1:3128", "DIRECT"]


def test_it_names_ten_squids_at_most() -> None:
    site = Site(squid(public_ip=f"192.0.2.{n}", uuid=f"{n}") for n in range(1, 31))
    assert len(found(site.get("/wpad.dat").text)) == 11


def test_the_headers_are_those_of_a_pac_file() -> None:
    answer = Site([squid()]).get("/wpad.dat")
    assert answer.headers["Content-Type"] == "application/x-ns-proxy-autoconfig"
    assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_head_is_get_without_the_body() -> None:
    site = Site([squid()])
    head = site.get("/wpad.dat", method="HEAD")
    assert (head.data, dict(head.headers)) == (b"", dict(site.get("/wpad.dat").headers))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_reaches_no_pac_file_even_if_it_got_past_the_heartbeat(text: str) -> None:
    plain = squid()
    odd = replace(plain, beat=replace(plain.beat, hostname=text, agent=text))
    assert Site([odd]).get("/wpad.dat").data == Site([plain]).get("/wpad.dat").data


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_requester_says_reaches_the_pac_file(text: str) -> None:
    site = Site([squid()])
    plain = site.get("/wpad.dat").data
    said = text.encode("ascii", "replace").decode().replace("\n", " ")[:1000]
    assert site.client.get("/wpad.dat", query_string={"host": text[:1000]}).data == plain
    assert site.get("/wpad.dat", Host="h", X_Forwarded_For=said, User_Agent=said).data == plain


def test_a_squid_of_the_requesters_own_site_is_named_by_its_inside_address() -> None:
    site = Site([squid(private_ip="10.0.0.1")], {"192.0.2.1": VICTORIA, NEIGHBOUR: VICTORIA})
    assert found(site.get("/wpad.dat", NEIGHBOUR).text) == ["PROXY http://10.0.0.1:3128", "DIRECT"]
    assert found(site.get("/wpad.dat", STRANGER).text) == ["PROXY http://192.0.2.1:3128", "DIRECT"]


def test_a_squid_of_the_own_site_without_an_inside_address_is_named_by_its_public_one() -> None:
    site = Site([squid()], {"192.0.2.1": VICTORIA, NEIGHBOUR: VICTORIA})
    assert found(site.get("/wpad.dat", NEIGHBOUR).text) == ["PROXY http://192.0.2.1:3128", "DIRECT"]


@pytest.mark.parametrize(
    "changes",
    [
        {"verification": Verification(Reach.FAILED, "refused", NOW, NOW)},
        {"verification": Verification()},
        {"verification": Verification(Reach.LOCAL, "it refuses us", NOW, NOW)},
        {"cache_type": CacheType.VARNISH},
        {"public_ip": None, "private_ip": "10.0.0.1"},
        {"public_ip": None, "ipv6": "2001:db8::1"},
        {"public_ip": None, "ipv6": "2001:db8::1", "private_ip": "10.0.0.1"},
    ],
    ids=["failed", "unchecked", "site only", "varnish", "private", "IPv6", "IPv6 and private"],
)
def test_squids_that_a_stranger_cannot_use_are_not_named(changes: dict[str, object]) -> None:
    site = Site([squid(**changes)])  # type: ignore[arg-type]
    assert found(site.get("/wpad.dat").text) == ["DIRECT"]
