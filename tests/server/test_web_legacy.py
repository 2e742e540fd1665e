"""The answers of `/nearest` and its kin, and `/all`: routes, shape, and who is told what."""

import json
from typing import Any

import pytest

from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.listing import decode
from shoal_server.squid import Reach, Squid, Verification
from shoal_server.web.backend import asker
from tests.common.oldreader import OldReader
from tests.fakes import GENEVA, NOW, VICTORIA, squid
from tests.server.site import STRANGER, Site

NEAREST = ("/nearest", "/nearestverified", "/nearestcvmfs", "/nearestconditions")
NOT_CHECKED = Verification()
FAILED = Verification(Reach.FAILED, "connection refused", checked=NOW, due=NOW + 10, failures=3)
SITE_ONLY = Verification(Reach.LOCAL, "it refuses us", checked=NOW, due=NOW + 300)
CVMFS_VARNISH = {"cache_type": CacheType.VARNISH, "upstream": Upstream.CVMFS}
FRONTIER_VARNISH = {"cache_type": CacheType.VARNISH, "upstream": Upstream.FRONTIER}


def numbered(n: int, **changes: Any) -> Squid:
    """Squid number n: its own address, name and uuid."""
    own = {"hostname": f"sq{n}.example.org", "public_ip": f"192.0.2.{n}", "uuid": f"uuid-{n}"}
    return squid(**(own | changes))


def private(n: int = 1) -> Squid:
    """A squid without a public address, which this server reaches nevertheless."""
    return numbered(n, public_ip=None, private_ip=f"10.0.0.{n}")


@pytest.fixture
def eight() -> Site:
    return Site(numbered(n, load=10_000.0 * n) for n in range(1, 9))


# --- routes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEAREST)
@pytest.mark.parametrize(
    ("rest", "count"),
    [("", 5), ("/", 5), ("/3", 3), ("/3/", 3), ("3", 3), ("3/", 3), ("/7/", 7), ("/03", 3), ("/1", 1)],
)
def test_every_form_of_the_route_is_answered(eight: Site, name: str, rest: str, count: int) -> None:
    answer = eight.get(name + rest)
    assert (answer.status_code, len(answer.get_json())) == (200, count)


@pytest.mark.parametrize("path", ["/nearest/51", "/nearest1000", "/nearestcvmfs/60?ipv6=yes"])
def test_who_asks_for_more_than_50_gets_50(path: str) -> None:
    assert len(Site(numbered(n) for n in range(1, 61)).told(path)) == 50


@pytest.mark.parametrize("rest", ["", "/", "/3", "/3/", "3", "3/", "/0"])
def test_all_tells_all_whatever_the_number(eight: Site, rest: str) -> None:
    assert len(eight.told("/all" + rest)) == 8


@pytest.mark.parametrize("name", [*NEAREST, "/all"])
@pytest.mark.parametrize(
    "rest",
    ["/x", "x", "/3x", "/-1", "/1.5", "/+1", "/1e3", "/3/3", "/%00", "/null", "/½", "/\u0663", "\u0663"],
)
def test_a_count_that_is_no_number_is_not_found(eight: Site, name: str, rest: str) -> None:
    assert eight.get(name + rest).status_code == 404


@pytest.mark.parametrize("count", [9, 10**6, 2**31, 2**64, 10**19])
def test_a_count_beyond_all_squids_tells_all(eight: Site, count: int) -> None:
    assert len(eight.told(f"/nearest/{count}")) == 8


def test_a_count_of_thousands_of_digits_is_not_found(eight: Site) -> None:
    assert eight.get("/nearest/" + "9" * 5000).status_code == 404


def test_none_wanted_is_none_told(eight: Site) -> None:
    assert eight.get("/nearest/0").data == b"null"


@pytest.mark.parametrize("path", [*NEAREST, "/all", "/nearest/7/"])
def test_nothing_found_is_null_with_200(path: str) -> None:
    answer = Site().get(path)
    assert (answer.status_code, answer.data) == (200, b"null")


@pytest.mark.parametrize("path", [*NEAREST, "/all", "/nearest/3"])
def test_head_is_get_without_the_body(eight: Site, path: str) -> None:
    head, get = eight.get(path, method="HEAD"), eight.get(path)
    assert (head.status_code, head.data) == (200, b"")
    assert dict(head.headers) == dict(get.headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_but_reading_is_allowed(eight: Site, method: str) -> None:
    assert eight.get("/nearest", method=method).status_code == 405


def test_what_stands_in_the_query_is_ignored(eight: Site) -> None:
    assert eight.get("/nearest?ip=192.0.2.8&count=x").data == eight.get("/nearest").data


# --- headers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*NEAREST, "/all"])
def test_the_type_is_json_without_a_character_set(eight: Site, path: str) -> None:
    answer = eight.get(path)
    assert answer.headers["Content-Type"] == "application/json"
    assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_the_unit_of_distances_is_told(eight: Site) -> None:
    assert eight.get("/nearest").headers["X-Shoal-Distance"] == "km"


def test_a_server_that_lacks_nothing_says_ok(eight: Site) -> None:
    assert eight.get("/nearest").headers["X-Shoal-State"] == "ok"


def test_a_server_that_lacks_something_says_what(eight: Site) -> None:
    eight.connected, eight.held, eight.store.away = False, True, True
    eight.keeper.refresh(NOW)
    answer = eight.get("/nearest")
    assert answer.headers["X-Shoal-State"] == "deaf,stale,held"
    assert len(answer.get_json()) == 5


def test_a_server_whose_list_has_just_begun_says_so() -> None:
    site = Site()
    site.store.put([squid()], [], [])
    site.keeper.refresh(NOW)
    assert site.get("/nearest").headers["X-Shoal-State"] == "filling"


# --- shape ------------------------------------------------------------------------------------------


def test_a_squid_is_told_in_the_legacy_shape_to_the_letter() -> None:
    site = Site([squid(load=0.0, max_load=None)], {"192.0.2.1": VICTORIA, STRANGER: VICTORIA})
    assert site.get("/nearest").data == (
        b'{"0": {"created": 1700000000.0, "last_active": 1700000000.0, "hostname": "sq1.example.org", '
        b'"squid_port": 3128, "public_ip": "192.0.2.1", "private_ip": null, "external_ip": null, '
        b'"load": 0.0, '
        b'"geo_data": {"city": "Victoria", "region_code": null, "time_zone": null, "metro_code": null, '
        b'"latitude": 48.46, "longitude": -123.31, "postal_code": null, "country_code": "CA", '
        b'"country_name": "Canada", "continent": null}, "verified": true, '
        b'"global_access": true, "max_load": 122000, "local": true, "cache_type": "squid", '
        b'"upstream": "both", "distance": 0.0}}'
    )


@pytest.mark.parametrize("path", ["/nearest/20", "/all", "/nearestcvmfs/20"])
def test_deployed_clients_read_as_many_caches_as_there_are(path: str) -> None:
    """One of every kind, so that a key that any of them lacked would shift the others' values."""
    squids = [
        numbered(1),
        numbered(2, public_ip=None, external_ip="192.0.2.2", private_ip="10.0.0.2"),
        private(3),
        numbered(4, hostname="null.example.org", max_load=None),
        numbered(5, private_ip="10.0.0.5", agent="shoal-2"),
    ]
    site = Site(squids, {f"192.0.2.{n}": VICTORIA for n in (1, 2)} | {"10.9.9.9": VICTORIA})
    text = site.get(path, "10.9.9.9").text
    reader = OldReader(text)
    entries = list(json.loads(text).values())
    assert reader.count == len(entries) == 5
    for index, entry in enumerate(entries):
        for key in ("hostname", "public_ip", "private_ip", "external_ip"):
            assert reader.scalar(key, index) == entry[key]
        assert reader.scalar("squid_port", index) == "3128"
        assert reader.scalar("local", index) == ("true" if entry["local"] else None)


def test_what_a_server_writes_a_client_reads() -> None:
    listing = decode(Site([numbered(1), numbered(2, max_load=None)]).get("/nearest").data)
    assert (len(listing.caches), listing.refused) == (2, ())


def test_an_address_of_a_nat_is_the_public_address_too() -> None:
    (entry,) = Site([numbered(1, public_ip=None, external_ip="192.0.2.1", private_ip="10.0.0.1")]).told(
        "/nearest"
    )
    assert (entry["public_ip"], entry["external_ip"], entry["private_ip"]) == ("192.0.2.1", "192.0.2.1", None)


def test_all_has_no_distances(eight: Site) -> None:
    assert "distance" not in eight.get("/all").text


def test_a_distance_is_the_rank_in_kilometres() -> None:
    site = Site([numbered(1, load=0.0)], {"192.0.2.1": GENEVA, STRANGER: VICTORIA})
    (entry,) = site.told("/nearest")
    assert entry["distance"] == pytest.approx(8400 + 100, abs=20)


# --- which squids -----------------------------------------------------------------------------------


def test_the_nearest_comes_first() -> None:
    places = {"192.0.2.1": GENEVA, "192.0.2.2": VICTORIA, STRANGER: VICTORIA, "203.0.113.8": GENEVA}
    site = Site([numbered(1), numbered(2)], places)
    assert site.names("/nearest") == ["sq2.example.org", "sq1.example.org"]
    assert site.names("/nearest/1", "203.0.113.8") == ["sq1.example.org"]


@pytest.mark.parametrize("verification", [NOT_CHECKED, FAILED])
def test_squids_that_did_not_prove_themselves_are_not_told(verification: Verification) -> None:
    site = Site([numbered(1, verification=verification), numbered(2)])
    assert site.names("/nearest") == ["sq2.example.org"]


def test_all_tells_of_them_and_that_they_are_not_verified() -> None:
    site = Site([numbered(1, verification=FAILED), numbered(2, verification=NOT_CHECKED), numbered(3)])
    verified = {entry["hostname"]: (entry["verified"], entry["global_access"]) for entry in site.told("/all")}
    assert verified == {
        "sq1.example.org": (False, False),
        "sq2.example.org": (False, False),
        "sq3.example.org": (True, True),
    }


def test_without_verification_whatever_is_heard_is_told() -> None:
    assert Site([numbered(1, verification=NOT_CHECKED)], verify=False).names("/nearest") == [
        "sq1.example.org"
    ]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/nearest", {"sq1", "sq2", "sq3"}),
        ("/nearestverified", {"sq1", "sq2", "sq3"}),
        ("/nearestcvmfs", {"sq1", "sq2", "sq4"}),
        ("/nearestconditions", {"sq1", "sq3", "sq5"}),
        ("/all", {"sq1", "sq2", "sq3", "sq4", "sq5"}),
    ],
)
def test_each_service_is_told_the_caches_that_serve_it(path: str, names: set[str]) -> None:
    site = Site(
        [
            numbered(1),
            numbered(2, upstream=Upstream.CVMFS),
            numbered(3, upstream=Upstream.FRONTIER),
            numbered(4, **CVMFS_VARNISH),
            numbered(5, **FRONTIER_VARNISH),
        ]
    )
    assert {name.partition(".")[0] for name in site.names(path)} == names


def test_a_varnish_says_that_it_is_one() -> None:
    (entry,) = Site([numbered(1, **CVMFS_VARNISH)]).told("/nearestcvmfs")
    assert (entry["cache_type"], entry["upstream"]) == ("varnish", "cvmfs")


# --- what strangers are not told --------------------------------------------------------------------


@pytest.mark.parametrize("path", [*NEAREST, "/all"])
def test_strangers_are_told_no_private_squid(path: str) -> None:
    assert Site([private()]).get(path).data == b"null"


@pytest.mark.parametrize("path", [*NEAREST, "/all", "/", "/wpad.dat"])
def test_no_answer_to_strangers_holds_a_private_address(path: str) -> None:
    site = Site([private(1), numbered(2, private_ip="10.0.0.2"), numbered(3, ipv6="2001:db8::3")])
    assert b"10.0.0." not in site.get(path).data


@pytest.mark.parametrize("path", ["/nearest", "/all"])
def test_strangers_are_told_no_squid_that_serves_its_own_site_alone(path: str) -> None:
    site = Site([numbered(1, verification=SITE_ONLY)], {"192.0.2.1": VICTORIA, "203.0.113.8": VICTORIA})
    assert site.get(path).data == b"null"
    assert site.names(path, "203.0.113.8") == ["sq1.example.org"]


@pytest.mark.parametrize("path", ["/nearest", "/all"])
def test_a_private_squid_and_its_address_are_told_to_its_own_site(path: str) -> None:
    site = Site([private()], {"10.0.0.1": VICTORIA, STRANGER: VICTORIA})
    (entry,) = site.told(path)
    assert (entry["public_ip"], entry["private_ip"], entry["local"]) == (None, "10.0.0.1", True)


@pytest.mark.parametrize("path", ["/nearest", "/all"])
def test_the_private_address_of_a_public_squid_is_told_to_its_own_site_alone(path: str) -> None:
    site = Site([numbered(1, private_ip="10.0.0.1")], {"192.0.2.1": VICTORIA, "203.0.113.8": VICTORIA})
    told = [
        (entry["private_ip"], entry["local"]) for entry in site.told(path) + site.told(path, "203.0.113.8")
    ]
    assert told == [(None, None), ("10.0.0.1", True)]


def test_a_requester_behind_the_squids_own_nat_is_local() -> None:
    site = Site([numbered(1, public_ip=None, external_ip="192.0.2.1", private_ip="10.0.0.1")])
    (entry,) = site.told("/nearest", "192.0.2.1")
    assert (entry["private_ip"], entry["local"]) == ("10.0.0.1", True)


# --- IPv6 -------------------------------------------------------------------------------------------

SIX = {"public_ip": None, "ipv6": "2001:db8::1"}


@pytest.mark.parametrize("path", [*NEAREST, "/all"])
def test_a_squid_with_ipv6_alone_is_not_told(path: str) -> None:
    assert Site([numbered(1, **SIX)]).get(path).data == b"null"


@pytest.mark.parametrize("path", ["/nearest", "/all"])
def test_a_squid_with_ipv6_and_a_private_address_is_told_where_that_address_works(path: str) -> None:
    site = Site([numbered(1, private_ip="10.0.0.1", **SIX)], {"10.0.0.1": VICTORIA, "203.0.113.8": VICTORIA})
    assert site.get(path).data == b"null"
    assert [entry["private_ip"] for entry in site.told(path, "203.0.113.8")] == ["10.0.0.1"]


def test_squids_that_cannot_be_told_do_not_use_up_the_count() -> None:
    site = Site([numbered(1, load=0.0, **SIX), numbered(2, load=90_000.0)])
    assert site.names("/nearest/1") == ["sq2.example.org"]


@pytest.mark.parametrize("path", ["/nearest", "/all"])
def test_no_ipv6_address_stands_in_an_answer(path: str) -> None:
    assert "2001:" not in Site([numbered(1, ipv6="2001:db8::1")]).get(path).text


@pytest.mark.parametrize("path", NEAREST)
def test_who_asks_for_ipv6_is_told_of_it(path: str) -> None:
    site = Site([numbered(1, **SIX), numbered(2, ipv6="2001:db8::2"), numbered(3)])
    told = {entry["hostname"]: entry.get("ipv6") for entry in site.told(f"{path}?ipv6=yes")}
    assert told == {
        "sq1.example.org": "2001:db8::1",
        "sq2.example.org": "2001:db8::2",
        "sq3.example.org": None,
    }


@pytest.mark.parametrize("asker", [STRANGER, "2001:db8:9::9"])
def test_all_names_no_ipv6_address_whoever_asks(asker: str) -> None:
    places = {"2001:db8::1": VICTORIA, "2001:db8:9::9": VICTORIA}
    assert Site([numbered(1, **SIX)], places).get("/all?ipv6=yes", asker).data == b"null"


@pytest.mark.parametrize("address", ["2001:db8::7", "::1", "::ffff:203.0.113.7", "fe80::1%eth0"])
def test_requesters_with_ipv6_are_answered(address: str) -> None:
    assert len(Site([numbered(1)]).told("/nearest", address)) == 1


# --- who asks ---------------------------------------------------------------------------------------

NEAR_1, NEAR_2 = "203.0.113.1", "203.0.113.2"
PROXY, SECOND_PROXY = "198.51.100.1", "198.51.100.2"


@pytest.fixture
def behind_proxies() -> Site:
    places = {"192.0.2.1": VICTORIA, NEAR_1: VICTORIA, "192.0.2.2": GENEVA, NEAR_2: GENEVA}
    return Site([numbered(1), numbered(2)], places, trusted=[PROXY, "198.51.100.2/31", "2001:db8:1::/64"])


def first(site: Site, address: str, forwarded: str) -> str:
    """Near which of the two places the server takes the requester to be."""
    return site.names("/nearest", address, X_Forwarded_For=forwarded)[0].partition(".")[0]


@pytest.mark.parametrize("proxy", [PROXY, SECOND_PROXY, "2001:db8:1::7", f"::ffff:{PROXY}"])
def test_a_trusted_proxy_is_believed_for_whom_it_asks(behind_proxies: Site, proxy: str) -> None:
    assert [first(behind_proxies, proxy, near) for near in (NEAR_1, NEAR_2)] == ["sq1", "sq2"]


def test_nobody_else_is_believed(behind_proxies: Site) -> None:
    assert first(behind_proxies, NEAR_2, NEAR_1) == "sq2"


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.5:4444", "203.0.113.5"),
        ("[2001:db8::1]:4444", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_proxy_that_writes_ports_too_is_understood(hop: str, address: str) -> None:
    assert asker(PROXY, hop, [PROXY]) == (address, False)


@pytest.mark.parametrize("hop", ["unknown", "203.0.113.5:", ":4444", "[2001:db8::1", "203.0.113.5:4444:1"])
def test_of_a_proxy_that_tells_no_address_the_log_says_so_once(
    hop: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = f"198.51.{len(hop)}.{ord(hop[0])}"
    for _ in range(3):
        assert asker(proxy, hop, [proxy]) == (proxy, True)
    assert [proxy in record.message for record in caplog.records] == [True]


def test_a_proxy_that_asks_for_itself_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    assert asker(PROXY, "", [PROXY]) == (PROXY, True)
    assert caplog.records == []


def test_without_trusted_proxies_nobody_is_believed() -> None:
    site = Site([numbered(1), numbered(2)], {"192.0.2.1": VICTORIA, "192.0.2.2": GENEVA, NEAR_2: GENEVA})
    assert first(site, NEAR_2, NEAR_1) == "sq2"


@pytest.mark.parametrize(
    "forwarded",
    [
        f"{NEAR_1}, {NEAR_2}",
        f"{PROXY}, {NEAR_2}",
        f"{NEAR_1},{NEAR_2},{SECOND_PROXY}",
        f"nonsense, {NEAR_2}, {PROXY}",
        f"{NEAR_1}, ::ffff:{NEAR_2}",
    ],
)
def test_what_the_requester_himself_put_in_front_is_ignored(behind_proxies: Site, forwarded: str) -> None:
    assert first(behind_proxies, PROXY, forwarded) == "sq2"


@pytest.mark.parametrize(
    "forwarded", ["", " ", ",", "unknown", "10.1.2", "<script>", "1.2.3.4:80", f"{NEAR_1},"]
)
def test_a_header_that_names_nobody_leaves_the_proxy_as_the_requester(
    behind_proxies: Site, forwarded: str
) -> None:
    plain = behind_proxies.get("/nearest", PROXY).data
    assert behind_proxies.get("/nearest", PROXY, X_Forwarded_For=forwarded).data == plain


def test_a_private_squid_stays_hidden_from_who_claims_its_address() -> None:
    site = Site([private()], {"10.0.0.1": VICTORIA})
    assert site.told("/all", STRANGER, X_Forwarded_For="10.0.0.1") == []


def test_the_old_openness_can_be_had_back() -> None:
    private = squid(public_ip=None, private_ip="10.1.2.3")
    assert Site([private]).get("/all").data == b"null"
    assert b'"10.1.2.3"' in Site([private], open_all=True).get("/all").data
    assert Site([private], open_all=True).get("/nearest").data == b"null"
