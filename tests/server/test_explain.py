"""Why this squid: the API's whole answer, and the page that shows it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.squid import Place, Reach, Verification
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, squid
from tests.server.site import STRANGER, Site
from tests.server.test_pages import HOSTILE, Page

TOKEN = "correct-horse-battery"
FAILED = Verification(Reach.FAILED, "refused the connection", checked=1.0)
LOCAL = Verification(Reach.LOCAL, "refused with 403 ERR_ACCESS_DENIED", checked=1.0)
NEAR = squid(uuid="near", hostname="near.example.org", public_ip="192.0.2.1", load=50_000.0)
FAR = squid(uuid="far", hostname="far.example.org", public_ip="198.51.100.1")
BAD = squid(FAILED, uuid="bad", hostname="bad.example.org", public_ip="198.51.100.2")
OWN = squid(LOCAL, uuid="own", hostname="own.example.org", public_ip="198.51.100.3")
NAT = squid(
    uuid="nat", hostname="nat.example.org", public_ip=None, external_ip="198.51.100.4", private_ip="10.9.9.9"
)
PLACES = {
    "192.0.2.1": VICTORIA,
    "198.51.100.1": GENEVA,
    "198.51.100.2": GENEVA,
    "198.51.100.3": GENEVA,
    "198.51.100.4": GENEVA,
    "203.0.113.7": VICTORIA,
    "203.0.113.8": GENEVA,
}


@pytest.fixture
def site() -> Site:
    return Site([NEAR, FAR, BAD, OWN, NAT], PLACES, token=TOKEN)


def ask(site: Site, query: str = "", address: str = STRANGER, **headers: str) -> Any:
    return site.get(f"/api/v1/nearest?{query}", address, **headers).get_json()


def ids(answer: Any) -> list[str]:
    return [one["id"] for group in answer["groups"] for one in group]


def test_the_terms_add_up_to_the_effective_distance(site: Site) -> None:
    for group in ask(site, "address=203.0.113.7")["groups"]:
        for one in group:
            assert sum(one["terms"].values()) == pytest.approx(one["effective_km"], abs=0.3)


def test_an_address_is_asked_about_as_if_it_asked(site: Site) -> None:
    answer = ask(site, "address=203.0.113.7")
    assert answer["requester"]["place"]["site"] == "uvic"
    assert ids(answer)[0] == "192.0.2.1:3128"
    assert ids(ask(site, "address=203.0.113.8"))[0].startswith("198.51.100.")


def test_a_mapped_address_is_its_ipv4_address(site: Site) -> None:
    assert ask(site, "address=::ffff:203.0.113.7")["requester"]["address"] == "203.0.113.7"


def test_each_squid_that_is_left_out_has_its_reason(site: Site) -> None:
    answer = ask(site, "address=203.0.113.7&explain=yes")
    assert answer["excluded"] == [
        {
            "id": "198.51.100.2:3128",
            "hostname": "bad.example.org",
            "reason": "its last check failed: refused the connection",
        }
    ]


def test_who_asks_about_another_address_learns_nothing_that_is_not_his_affair(site: Site) -> None:
    """A stranger asks about a worker of the very site whose squid is its own alone."""
    answer = site.get("/api/v1/nearest?address=203.0.113.8&explain=yes", STRANGER).get_data(as_text=True)
    assert "own.example.org" not in answer
    assert "10.9.9.9" not in answer


def test_its_own_site_sees_its_squids_and_their_inside_addresses(site: Site) -> None:
    answer = ask(site, address="203.0.113.8")
    shown = {one["id"]: one["private_address"] for group in answer["groups"] for one in group}
    assert shown["198.51.100.4:3128/10.9.9.9"] == "10.9.9.9"
    assert "198.51.100.3:3128" in shown


def test_the_operator_sees_everything(site: Site) -> None:
    answer = ask(site, "address=203.0.113.8", Authorization=f"Bearer {TOKEN}")
    assert {"198.51.100.3:3128", "198.51.100.4:3128/10.9.9.9"} <= set(ids(answer))


def test_the_count_bounds_the_answer_and_the_last_is_of_another_site(site: Site) -> None:
    answer = ask(site, "address=203.0.113.8&count=2", address="203.0.113.8")
    assert len(ids(answer)) == 2
    assert ids(answer)[1] == "192.0.2.1:3128"


def test_a_varnish_is_told_for_its_service_alone() -> None:
    varnish = squid(cache_type=CacheType.VARNISH, upstream=Upstream.CVMFS)
    assert ids(ask(Site([varnish]))) == []
    assert ids(ask(Site([varnish]), "service=cvmfs")) == ["192.0.2.1:3128"]


def test_a_zone_is_no_part_of_an_address(site: Site) -> None:
    assert ask(site, "address=fe80::1%25eth0;id")["requester"]["address"] == "fe80::1"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("address=x", "address"),
        ("address=10.0.0.0/8", "address"),
        ("service=http", "both, cvmfs, frontier"),
        ("count=0", "1 to 50"),
        ("count=51", "1 to 50"),
        ("count=-1", "1 to 50"),
        ("count=٣", "1 to 50"),
        ("explain=maybe", "none of no, yes"),
        ("adress=192.0.2.1", "address, service, count, explain"),
    ],
)
def test_a_query_that_will_not_do_says_what_would(site: Site, query: str, named: str) -> None:
    answer = site.get(f"/api/v1/nearest?{query}")
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert named in json.loads(answer.data)["detail"]
    page = site.get(f"/explain?{query}")
    assert page.status_code == 400
    assert named in page.get_data(as_text=True)


def test_the_page_tells_terms_reasons_and_strings_to_copy(site: Site) -> None:
    page = site.get("/explain?address=203.0.113.7").get_data(as_text=True)
    for words in (
        "uvic, Victoria, CA",
        "near.example.org",
        "same site",
        "50 % used",
        "its last check failed: refused the connection",
        "http://192.0.2.1:3128",
        "FindProxyForURL",
    ):
        assert words in page


def test_where_no_squid_is_known_no_reasons_are_promised() -> None:
    page = Site([OWN], PLACES).get("/explain").get_data(as_text=True)
    assert "Why no other squid" not in page
    assert "No squid: none that you may know of is heard." in page


def test_the_page_tells_who_gets_a_smaller_part_than_its_equals() -> None:
    used_more = replace(squid(), share=0.5)
    site = Site([used_more, squid(uuid="b", public_ip="192.0.2.2")], {STRANGER: GENEVA})
    told = " ".join(Page(site.get("/explain").text).text.split())
    assert told.count("of its part") == 1
    assert "50 % of its part" in told


def test_the_page_explains_the_asker_if_it_names_nobody(site: Site) -> None:
    assert "<strong>203.0.113.7</strong>" in site.get("/explain", "203.0.113.7").get_data(as_text=True)


def test_the_page_says_that_squids_are_not_shown_to_whoever_asks_about_another_worker() -> None:
    private = Site([squid(public_ip=None, private_ip="10.1.2.3")])
    hidden = "There is 1 that its own site alone sees: whether this worker is told of it is not shown here."
    assert hidden in " ".join(Page(private.get("/explain?address=10.1.2.9").text).text.split())
    assert "alone sees" not in private.get("/explain").text


def test_the_page_names_two_hundred_of_those_that_are_not_told_and_counts_the_rest() -> None:
    squids = [
        squid(FAILED if number % 2 else GOOD, uuid=f"{number}", hostname=f"n{number}", public_ip=address)
        for number in range(600)
        for address in [f"198.18.{number // 250}.{number % 250 + 1}"]
    ]
    page = Page(Site(squids).get("/explain").text)
    assert len(page.rows) == 1 + 5 + 1 + 200
    words = " ".join(page.text.split())
    assert "These are 200 of 595" in words
    assert "200 its last check failed" in words
    assert "100 it is left out too, and farther away" in words
    assert "295 it would do, but comes after those above" in words


def test_the_strings_name_the_inside_address_to_a_worker_of_the_squids_own_site(site: Site) -> None:
    """As /wpad.dat does; whoever asks from elsewhere is not told of it."""
    inside = site.get("/explain", "203.0.113.8").get_data(as_text=True)
    outside = site.get("/explain?address=203.0.113.8", STRANGER).get_data(as_text=True)
    assert "PROXY http://10.9.9.9:3128" in inside
    assert "10.9.9.9" not in outside
    assert "PROXY http://198.51.100.4:3128" in outside


MIXED = [
    squid(uuid="any", public_ip="5.2.0.1", private_ip="10.9.9.1"),
    squid(uuid="for-cvmfs", public_ip="5.2.0.2", upstream=Upstream.CVMFS),
    squid(uuid="for-frontier", public_ip="5.2.0.3", upstream=Upstream.FRONTIER),
    squid(uuid="six", public_ip=None, ipv6="2001:db8::1"),
    *(
        squid(uuid=f"v{port}", public_ip="5.2.0.9", port=port, cache_type=CacheType.VARNISH, upstream=service)
        for port, service in ((6081, Upstream.CVMFS), (6082, Upstream.FRONTIER))
    ),
    *(squid(uuid=f"more{n}", public_ip=f"5.2.1.{n}") for n in range(1, 13)),
]
IPV6_WORKER = "2001:db8::77"
SERVICES = ["both", "cvmfs", "frontier"]


def strings(site: Site, query: str, address: str = STRANGER) -> Mapping[str, str]:
    """The strings to copy; the API's and the page's are the same."""
    answer = site.get(f"/api/v1/explain?{query}", address).get_json()
    told: dict[str, str] = {name: answer[name] for name in ("cvmfs", "frontier", "pac")}
    page = Page(site.get(f"/explain?{query}", address).text).text
    assert f'CVMFS_HTTP_PROXY="{told["cvmfs"]}"' in page
    assert told["frontier"] in page
    assert told["pac"] in page
    return told


def hosts(text: str) -> set[str]:
    """Which of the squids' addresses stand in a string."""
    return {one.address for one in MIXED if f"//{one.address}:" in text or f"//[{one.address}]:" in text}


@pytest.mark.parametrize("service", SERVICES)
def test_a_varnish_is_in_the_table_of_its_service_but_in_no_string_to_copy(service: str) -> None:
    site = Site(MIXED)
    told = strings(site, f"service={service}&count=50")
    assert not any("5.2.0.9" in text or "608" in text for text in told.values())
    listed = ids(ask(site, f"service={service}&count=50"))
    port = {"cvmfs": ["5.2.0.9:6081"], "frontier": ["5.2.0.9:6082"], "both": []}[service]
    assert [one for one in listed if one.startswith("5.2.0.9:")] == port


@pytest.mark.parametrize("service", SERVICES)
def test_the_string_of_each_client_names_only_squids_that_serve_it(service: str) -> None:
    told = strings(Site(MIXED), f"service={service}&count=50&address={IPV6_WORKER}")
    every = {one.address for one in MIXED} - {"5.2.0.9"}
    assert hosts(told["cvmfs"]) == every - {"5.2.0.3"}
    assert hosts(told["frontier"]) == every - {"5.2.0.2"}


def test_squids_farther_away_stand_in_the_strings_where_varnishes_fill_the_table() -> None:
    varnishes = [
        squid(uuid=f"{n}", public_ip=f"192.0.2.{n}", cache_type=CacheType.VARNISH, upstream=Upstream.CVMFS)
        for n in range(1, 9)
    ]
    places = {**{one.address: VICTORIA for one in varnishes}, "198.51.100.1": GENEVA, STRANGER: VICTORIA}
    site = Site([*varnishes, FAR], places)
    assert "198.51.100.1:3128" not in ids(ask(site, "service=cvmfs&count=3"))[:2]
    assert strings(site, "service=cvmfs&count=3")["cvmfs"] == "http://198.51.100.1:3128"


@pytest.mark.parametrize("count", [1, 5, 50])
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("worker", [STRANGER, "203.0.113.8", IPV6_WORKER])
def test_the_pac_text_is_what_wpad_dat_answers_that_worker(worker: str, service: str, count: int) -> None:
    site = Site(MIXED, {"5.2.0.1": GENEVA, "203.0.113.8": GENEVA})
    own = strings(site, f"service={service}&count={count}", worker)["pac"]
    assert own == site.get(f"/wpad.dat?service={service}", worker).text
    asked = strings(site, f"service={service}&count={count}&address={worker}", "203.0.113.9")["pac"]
    assert asked == site.get(f"/wpad.dat?service={service}&ip={worker}", "203.0.113.9").text


def test_only_a_worker_of_ipv6_finds_a_squid_of_ipv6_alone_in_his_strings() -> None:
    site = Site(MIXED)
    for name in ("cvmfs", "frontier", "pac"):
        assert "2001:db8::1" not in strings(site, "count=50")[name]
        assert "http://[2001:db8::1]:3128" in strings(site, f"count=50&address={IPV6_WORKER}")[name]


def test_the_pac_text_names_ten_squids() -> None:
    six = squid(uuid="six", public_ip=None, ipv6="2001:db8::1")
    site = Site([six, *MIXED[-12:]], {"2001:db8::1": VICTORIA, STRANGER: VICTORIA, IPV6_WORKER: VICTORIA})
    assert strings(site, "count=2")["pac"].count("PROXY ") == 10


def test_a_client_that_no_squid_serves_is_told_so_and_gets_no_empty_string_to_copy() -> None:
    site = Site([MIXED[2], MIXED[4]])
    page = Page(site.get("/explain?service=cvmfs").text)
    told = site.get("/api/v1/explain?service=cvmfs").get_json()
    assert (told["cvmfs"], told["frontier"]) == ("", "(proxyurl=http://5.2.0.3:3128)")
    assert "No squid: none that would do serves CVMFS." in page.text
    assert "CVMFS_HTTP_PROXY" not in page.text
    assert [one["data-copy"] for one in page.all("button") if "data-copy" in one] == ["frontier", "pac"]
    assert told["pac"] == site.get("/wpad.dat/cvmfs").text
    assert "No squid: none that would do serves Frontier." in Site([MIXED[1]]).get("/explain").text


def test_who_reads_an_explanation_is_not_counted_as_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(MIXED)
    noted: list[str] = []
    monkeypatch.setattr(site.keeper, "note", lambda address, *_: noted.append(address))
    strings(site, "")
    assert noted == []
    site.get("/wpad.dat")
    assert noted == [STRANGER]


def test_the_apis_strings_name_the_inside_address_to_its_own_site_alone(site: Site) -> None:
    query = "address=203.0.113.8"
    inside, outside = strings(site, query, "203.0.113.8"), strings(site, query)
    assert all("http://10.9.9.9:3128" in text for text in inside.values())
    assert not any("10.9.9.9" in text for text in outside.values())


def test_a_squid_and_a_worker_whose_places_are_unknown_are_explained_too() -> None:
    page = Site([NEAR, FAR]).get("/explain").get_data(as_text=True)
    assert "whose place is unknown (there is no GeoIP database, and" in page
    assert "assumed" in page


@pytest.mark.parametrize(
    ("address", "built", "why"),
    [
        ("10.1.2.3", NOW, "it is a private address"),
        ("203.0.113.7", None, "there is no GeoIP database"),
        ("203.0.113.7", NOW, "no GeoIP database knows it"),
    ],
)
def test_why_a_place_is_unknown_is_told(address: str, built: float | None, why: str) -> None:
    site = Site([NEAR])
    site.built = built
    requester = site.get("/api/v1/nearest", address).get_json()["requester"]
    told = f"{why}, and the location table does not hold it; distances are assumed"
    assert (requester["place"], requester["unplaced"]) == (None, told)


def test_of_a_known_place_no_reason_is_told(site: Site) -> None:
    requester = site.get("/api/v1/nearest?address=203.0.113.8").get_json()["requester"]
    assert requester["place"]
    assert requester["unplaced"] is None


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_not_obeyed(text: str) -> None:
    """None of it gets past the heartbeat or the operator's table; the page does not count on that."""

    def elements(words: str) -> list[tuple[str, list[str]]]:
        bad = Verification(Reach.FAILED, words, checked=1.0)
        place = Place(0.0, 0.0, site=words, city=words, country_code=words)
        both = [replace(one, beat=replace(one.beat, hostname=words)) for one in (NEAR, FAR)]
        shown = Site([both[0], both[1].with_verification(bad)], {"192.0.2.1": place, STRANGER: place})
        page = Page(shown.get("/explain", STRANGER).text)
        assert words in page.text
        return [(tag, sorted(attributes)) for tag, attributes in page.elements]

    assert elements(text) == elements("harmless")


def test_nothing_hostile_survives_on_the_page(site: Site) -> None:
    page = site.get('/explain?address="><script>alert(1)</script>').get_data(as_text=True)
    assert "<script>alert" not in page
