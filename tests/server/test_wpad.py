"""The PAC file, to the byte and as a PAC evaluator reads it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pacparser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from shoal_server.squid import Reach, Verification
from shoal_server.web.parameters import YesNo
from shoal_server.web.wpad import PLAIN, Empty, Form, Wish, pac_by_service
from tests.common.properties import PROPERTY
from tests.fakes import GENEVA, NOW, VICTORIA, squid
from tests.server.site import STRANGER, Site

HOSTILE = ['";alert(1);"', "a\nb", "\\", "</script>", "'; return 'DIRECT", "é", "a b", "x" * 70_000]
NEIGHBOUR = "203.0.113.8"


@pytest.fixture(scope="module", autouse=True)
def _evaluator() -> Iterator[None]:
    """Not pacparser.just_find_proxy: on a text that is no PAC file it ends the process."""
    pacparser.init()
    yield
    pacparser.cleanup()


def pac(proxies: Sequence[HostPort], wish: Wish = PLAIN) -> str:
    """One list for every URL."""
    return pac_by_service([proxies], wish)


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


def test_squids_behind_one_nat_are_named_once_by_its_address() -> None:
    site = Site(
        squid(public_ip=None, external_ip="192.0.2.1", private_ip=f"10.0.0.{n}", uuid=f"{n}") for n in (1, 2)
    )
    assert len(site.told("/nearest")) == 2
    assert found(site.get("/wpad.dat").text) == ["PROXY http://192.0.2.1:3128", "DIRECT"]


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


@pytest.mark.parametrize("bridge", ["172.17.0.1", "192.168.122.1"])
def test_a_squid_that_tells_the_address_of_a_bridge_inside_its_vm_is_named_by_its_public_one(
    bridge: str,
) -> None:
    places = {"192.0.2.1": VICTORIA, NEIGHBOUR: VICTORIA}
    site = Site([squid(private_ip=bridge)], places)
    assert found(site.get("/wpad.dat", NEIGHBOUR).text) == ["PROXY http://192.0.2.1:3128", "DIRECT"]
    told = site.client.get(f"/api/v1/explain?address={NEIGHBOUR}", environ_base={"REMOTE_ADDR": NEIGHBOUR})
    assert told.get_json()["cvmfs"] == "http://192.0.2.1:3128"


def test_squids_of_one_site_with_one_inside_address_are_named_by_their_public_ones() -> None:
    squids = [
        squid(public_ip=f"192.0.2.{number}", private_ip=inside, uuid=f"{number}")
        for number, inside in enumerate(["10.0.0.1", "10.0.0.1", "10.0.0.3"], start=1)
    ]
    places = dict.fromkeys(["192.0.2.1", "192.0.2.2", "192.0.2.3", NEIGHBOUR], VICTORIA)
    site = Site(squids, places)
    hosts = ["192.0.2.1", "192.0.2.2", "10.0.0.3"]
    assert {*found(site.get("/wpad.dat", NEIGHBOUR).text)} == {
        *(f"PROXY http://{host}:3128" for host in hosts),
        "DIRECT",
    }
    told = site.client.get(f"/api/v1/explain?address={NEIGHBOUR}", environ_base={"REMOTE_ADDR": NEIGHBOUR})
    assert {*told.get_json()["cvmfs"].split("|")} == {f"http://{host}:3128" for host in hosts}


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


# --- other forms ------------------------------------------------------------------------------------

CVMFS_URL = "http://s1.example.org/cvmfs/atlas.cern.ch/.cvmfspublished"
FRONTIER_URL = "http://frontier.example.org:8000/atlr"
MIXED = [
    squid(public_ip="192.0.2.1", uuid="1"),
    squid(public_ip="192.0.2.2", uuid="2", upstream=Upstream.CVMFS, load=40_000.0),
    squid(public_ip="192.0.2.3", uuid="3", upstream=Upstream.FRONTIER, load=80_000.0),
]
TOKEN = "correct-horse-battery"


@pytest.mark.parametrize("path", ["/proxy.pac", "/wpad.dat?form=browser"])
def test_browsers_get_proxies_without_a_scheme(path: str) -> None:
    answer = Site([squid()]).get(path)
    assert answer.text == (
        'function FindProxyForURL(url, host)\n{\n    return "PROXY 192.0.2.1:3128; DIRECT";\n}\n'
    )
    assert answer.headers["Content-Type"] == "application/x-ns-proxy-autoconfig"


def test_the_form_that_wlcg_clients_read_can_be_had_under_either_name() -> None:
    site = Site([squid()])
    assert site.get("/proxy.pac?form=wlcg").data == site.get("/wpad.dat").data


@pytest.mark.parametrize("path", ["/wpad.dat/{}", "/wpad.dat?service={}", "/proxy.pac/{}?form=wlcg"])
def test_a_service_gets_the_squids_that_serve_it(path: str) -> None:
    site = Site(MIXED)
    for service, numbers in (("cvmfs", "12"), ("frontier", "13")):
        text = site.get(path.format(service)).text
        assert sorted(found(text)) == ["DIRECT", *(f"PROXY http://192.0.2.{n}:3128" for n in numbers)]


def test_with_both_services_the_file_tells_their_urls_apart() -> None:
    text = Site(MIXED).get("/wpad.dat/both").text
    cvmfs, frontier = sorted(found(text, CVMFS_URL)), sorted(found(text, FRONTIER_URL))
    assert cvmfs == ["DIRECT", "PROXY http://192.0.2.1:3128", "PROXY http://192.0.2.2:3128"]
    assert frontier == ["DIRECT", "PROXY http://192.0.2.1:3128", "PROXY http://192.0.2.3:3128"]


def test_with_both_services_and_the_same_squids_there_is_one_list() -> None:
    site = Site([squid()])
    assert site.get("/wpad.dat/both").data == site.get("/wpad.dat").data


@pytest.mark.parametrize("query", ["service=cvmfs", "service=both", "", "form=browser"])
def test_a_varnish_is_never_listed(query: str) -> None:
    varnish = squid(cache_type=CacheType.VARNISH, upstream=Upstream.CVMFS)
    assert found(Site([varnish]).get(f"/wpad.dat?{query}").text, CVMFS_URL) == ["DIRECT"]


@pytest.mark.parametrize("path", ["/wpad.dat?direct=no", "/proxy.pac?direct=no&form=wlcg"])
def test_direct_can_be_left_out(path: str) -> None:
    assert found(Site([squid()]).get(path).text) == ["PROXY http://192.0.2.1:3128"]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", "DIRECT"),
        ("direct=no", "NONE"),
        ("empty=none", "NONE"),
        ("direct=no&empty=direct", "DIRECT"),
        ("direct=no&service=both", "NONE"),
    ],
)
def test_where_there_is_no_squid_the_file_says_what_was_asked_for(query: str, wanted: str) -> None:
    answer = Site().get(f"/wpad.dat?{query}")
    assert answer.status_code == 200
    assert found(answer.text) == [wanted]


def test_where_there_is_no_squid_wlcg_clients_can_be_sent_to_their_next_url() -> None:
    answer = Site().get("/wpad.dat?empty=error")
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    assert answer.text == f"Bad Request: there is no squid for {STRANGER}\n"
    assert Site([squid()]).get("/wpad.dat?empty=error").status_code == 200


def test_where_one_service_has_no_squid_the_other_is_answered() -> None:
    text = Site([MIXED[1]]).get("/wpad.dat/both?empty=error").text
    assert found(text, CVMFS_URL) == ["PROXY http://192.0.2.2:3128", "DIRECT"]
    assert found(text, FRONTIER_URL) == ["NONE"]


@pytest.mark.parametrize(
    "query", ["ip=x", "ip=1.2.3.4;", "service=http", "form=pdf", "direct=maybe", "empty=", "ip=%00"]
)
def test_what_cannot_be_meant_is_told_as_wlcg_servers_do(query: str) -> None:
    answer = Site([squid()]).get(f"/wpad.dat?{query}")
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    assert answer.text.startswith(f"Bad Request: {query.partition('=')[0]}: ")


def test_another_address_is_answered_as_if_it_asked() -> None:
    places = {"192.0.2.1": GENEVA, "192.0.2.2": VICTORIA, NEIGHBOUR: VICTORIA, STRANGER: GENEVA}
    site = Site([squid(), squid(public_ip="192.0.2.2", uuid="2")], places)
    assert found(site.get(f"/wpad.dat?ip={NEIGHBOUR}").text)[0] == "PROXY http://192.0.2.2:3128"
    assert found(site.get("/wpad.dat").text)[0] == "PROXY http://192.0.2.1:3128"


def test_who_asks_about_another_address_learns_no_inside_address() -> None:
    places = {"192.0.2.1": VICTORIA, NEIGHBOUR: VICTORIA}
    site = Site([squid(private_ip="10.0.0.1")], places, token=TOKEN)
    assert found(site.get(f"/wpad.dat?ip={NEIGHBOUR}").text)[0] == "PROXY http://192.0.2.1:3128"
    told = site.get(f"/wpad.dat?ip={NEIGHBOUR}", Authorization=f"Bearer {TOKEN}").text
    assert found(told)[0] == "PROXY http://10.0.0.1:3128"


@pytest.mark.parametrize(("path", "scheme"), [("/wpad.dat", "http://"), ("/proxy.pac", "")])
def test_a_squid_with_ipv6_alone_is_named_in_brackets_to_who_asks_by_ipv6(path: str, scheme: str) -> None:
    site = Site([squid(public_ip=None, ipv6="2001:db8::1")])
    assert found(site.get(path, "2001:db8:9::9").text) == [f"PROXY {scheme}[2001:db8::1]:3128", "DIRECT"]
    assert found(site.get(path).text) == ["DIRECT"]


def test_a_squid_with_ipv6_alone_is_named_for_another_address_if_that_is_of_ipv6() -> None:
    site = Site([squid(public_ip=None, ipv6="2001:db8::1")])
    assert found(site.get("/wpad.dat?ip=2001:db8:9::9").text)[0] == "PROXY http://[2001:db8::1]:3128"
    assert found(site.get(f"/wpad.dat?ip={NEIGHBOUR}").text) == ["DIRECT"]


def test_the_files_may_be_kept_for_a_while_by_who_asked() -> None:
    assert Site([squid()]).get("/wpad.dat").headers["Cache-Control"] == "private, max-age=60"


def test_ten_squids_are_of_two_places_where_there_are_two() -> None:
    near = [squid(public_ip=f"192.0.2.{n}", uuid=f"{n}") for n in range(1, 20)]
    far = squid(public_ip="198.51.100.1", uuid="far")
    places = {one.beat.public_ip: VICTORIA for one in near} | {"198.51.100.1": GENEVA, STRANGER: VICTORIA}
    site = Site([*near, far], {str(address): place for address, place in places.items()})
    assert "PROXY http://198.51.100.1:3128" in found(site.get("/wpad.dat").text)
    assert "PROXY http://198.51.100.1:3128" in found(site.get(f"/wpad.dat?ip={STRANGER}").text)


HOSTS = st.text(max_size=20) | st.sampled_from(
    [*HOSTILE, "192.0.2.1", "2001:db8::1", 'fe80::1%";x', "a.b", "h;DIRECT", "\u2028"]
)
WISHES = st.builds(
    Wish,
    form=st.sampled_from(Form),
    direct=st.sampled_from(YesNo),
    empty=st.sampled_from([Empty.DIRECT, Empty.NONE]),
)


@PROPERTY
@given(st.lists(HOSTS, max_size=4), st.lists(HOSTS, max_size=4), WISHES)
def test_whatever_a_host_is_called_the_file_does_nothing_but_name_proxies(
    some: list[str], others: list[str], wish: Wish
) -> None:
    lists = [[HostPort(host, 3128) for host in hosts] for hosts in (some, others)]
    text = pac_by_service(lists, wish)
    assert text.isascii()
    for url in (CVMFS_URL, FRONTIER_URL):
        for part in found(text, url):
            assert re.fullmatch(r"DIRECT|NONE|PROXY (http://)?([A-Za-z0-9._-]+|\[[0-9a-f:.]+\]):3128", part)
