"""`/api/v1/squids` and `/api/v1/status`: who is told what, in which order, on how many pages."""

from typing import Any
from urllib.parse import quote

import pytest

from shoal_common.heartbeat import AgentState, CacheType, Metrics, Upstream
from shoal_server.squid import Reach, Verification
from tests.fakes import GENEVA, NOW, VICTORIA, squid
from tests.server.site import STRANGER, Site

TOKEN = "correct-horse-battery"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
NEIGHBOUR = "203.0.113.8"
FAILED = Verification(Reach.FAILED, "connection refused", checked=NOW, due=NOW + 10, failures=3)
LOCAL = Verification(Reach.LOCAL, "it refuses us", checked=NOW, due=NOW + 300)
A = squid(hostname="a.example.org", public_ip="192.0.2.1", uuid="a", load=300.0, agent="shoal-2.0.0")
B = squid(
    FAILED, hostname="b.example.org", public_ip="192.0.2.2", uuid="b", upstream=Upstream.CVMFS, load=100.0
)
C = squid(
    hostname="c.example.org",
    public_ip="192.0.2.3",
    uuid="c",
    cache_type=CacheType.VARNISH,
    upstream=Upstream.FRONTIER,
    load=200.0,
    state=AgentState.DRAINING,
    metrics=Metrics(requests_per_s=40.0, hits_per_s=30.0),
)
NAT = squid(
    hostname="nat.example.org", public_ip=None, external_ip="192.0.2.4", private_ip="10.0.0.4", uuid="nat"
)
TWIN = squid(
    hostname="twin.example.org", public_ip=None, external_ip="192.0.2.4", private_ip="10.0.0.5", uuid="twin"
)
INSIDE = squid(LOCAL, hostname="inside.example.org", public_ip="192.0.2.6", uuid="in")
PLACES = {"192.0.2.1": GENEVA, "192.0.2.4": VICTORIA, "192.0.2.6": VICTORIA, NEIGHBOUR: VICTORIA}


@pytest.fixture
def site() -> Site:
    return Site([A, B, C, NAT, TWIN, INSIDE], PLACES, token=TOKEN)


def ask(site: Site, path: str, address: str = STRANGER, **headers: str) -> Any:
    answer = site.get(f"/api/v1{path}", address, **headers)
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def names(site: Site, query: str = "", address: str = STRANGER, **headers: str) -> list[str]:
    told = ask(site, f"/squids?{query}", address, **headers)["squids"]
    return [one["hostname"].partition(".")[0] for one in told]


# --- the list ---------------------------------------------------------------------------------------


def test_strangers_are_told_all_but_what_is_its_own_sites_affair(site: Site) -> None:
    assert names(site) == ["a", "b", "c", "nat", "twin"]
    assert b"10.0.0." not in site.get("/api/v1/squids").data


def test_its_own_site_and_operators_are_told_everything(site: Site) -> None:
    assert names(site, address=NEIGHBOUR) == ["a", "b", "c", "inside", "nat", "twin"]
    for asker in ({"address": NEIGHBOUR}, OPERATOR):
        (nat,) = ask(site, "/squids?text=nat.example", **asker)["squids"]
        assert (nat["id"], nat["private_address"]) == ("192.0.2.4:3128/10.0.0.4", "10.0.0.4")


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("state=dead", "a b c nat twin"),
        ("state=alive", ""),
        ("reach=failed", "b"),
        ("reach=global&type=squid", "a nat twin"),
        ("service=cvmfs", "a b nat twin"),
        ("service=both", "a nat twin"),
        ("type=varnish", "c"),
        ("draining=yes", "c"),
        ("site=uvic", "nat twin"),
        ("country=ca", "nat twin"),
        ("country=switzerland", "a"),
        ("text=SHOAL-2", "a"),
        ("text=192.0.2.2:", "b"),
        ("text=geneva", "a"),
        ("text=10.0.0.4", ""),
        ("sort=load", "b nat twin c a"),
        ("sort=load&order=descending", "a c twin nat b"),
        ("sort=hit_ratio&order=descending&limit=1", "c"),
        ("sort=country&limit=1&type=varnish", "c"),
    ],
)
def test_the_list_is_filtered_and_sorted(site: Site, query: str, wanted: str) -> None:
    assert sorted(names(site, query)) == sorted(wanted.split())
    if "sort" in query:
        assert names(site, query) == wanted.split()


@pytest.mark.parametrize("sort", ["id", "hostname", "load", "seen", "site", "hit_ratio", "created"])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_the_pages_of_a_list_hold_each_squid_once_in_order(site: Site, sort: str, order: str) -> None:
    whole = ask(site, f"/squids?sort={sort}&order={order}", **OPERATOR)
    path, found = f"/api/v1/squids?sort={sort}&order={order}&limit=1", []
    while path:
        answer = site.get(path, **OPERATOR)
        page = answer.get_json()
        assert (len(page["squids"]), page["total"]) == (1, 6)
        assert answer.headers.get("Link") == (f'<{page["next"]}>; rel="next"' if page["next"] else None)
        found += page["squids"]
        path = page["next"]
    assert found == whole["squids"]
    assert whole["next"] is None


def test_a_page_follows_the_one_before_though_squids_have_gone_and_come_between(site: Site) -> None:
    first = ask(site, "/squids?limit=2")
    assert [one["hostname"][0] for one in first["squids"]] == ["a", "b"]
    site.store.put([squid(hostname="a2.example.org", public_ip="192.0.2.9", uuid="9")], [A.id], [])
    site.show([])
    assert names(site, first["next"].partition("?")[2]) == ["c", "nat"]


@pytest.mark.parametrize("cursor", ["x", "WzFd", "////", "é", "WyJsb2FkIGFzY2VuZGluZyIsWyJ4Il1d", "=" * 50])
def test_a_cursor_of_another_answer_is_refused(site: Site, cursor: str) -> None:
    answer = site.get(f"/api/v1/squids?cursor={quote(cursor)}")
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert answer.get_json(force=True)["detail"].startswith("cursor:")


# --- one squid --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["192.0.2.4:3128/10.0.0.4", "192.0.2.4:3128%2F10.0.0.4"])
def test_a_squid_is_found_by_the_id_that_the_list_says(site: Site, path: str) -> None:
    found = ask(site, f"/squids/{path}", NEIGHBOUR)
    assert found["advertised"]["private_ip"] == "10.0.0.4"
    assert found["advertised"]["uuid"] == "nat"


def test_strangers_see_a_squid_without_what_is_its_sites_affair(site: Site) -> None:
    answer = site.get("/api/v1/squids/192.0.2.4:3128")
    assert "10.0.0." not in answer.text
    assert answer.get_json()["advertised"]["uuid"] == ""


def test_squids_behind_one_nat_are_told_apart_by_name(site: Site) -> None:
    found = ask(site, "/squids/192.0.2.4:3128?hostname=twin.example.org")
    assert found["hostname"] == "twin.example.org"


@pytest.mark.parametrize("path", ["192.0.2.99:3128", "192.0.2.6:3128", "192.0.2.4:3128/10.0.0.4", "%22;--"])
def test_a_squid_that_the_asker_may_not_know_of_is_not_there(site: Site, path: str) -> None:
    answer = site.get(f"/api/v1/squids/{path}")
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_a_squid_tells_how_its_checks_ended_and_when_it_is_tried_next(site: Site) -> None:
    assert ask(site, "/squids/192.0.2.2:3128")["verification"] == {
        "reach": "failed",
        "reason": "connection refused",
        "checked": NOW,
        "next": NOW + 10,
        "failures": 3,
        "lacks": [],
    }


# --- status -----------------------------------------------------------------------------------------


def test_the_status_counts_all_squids(site: Site) -> None:
    told = ask(site, "/status")
    assert told["squids"]["total"] == 6
    assert told["squids"]["by_state"] == {"alive": 0, "suspect": 0, "dead": 6}
    assert told["squids"]["by_reach"] == {"unverified": 0, "global": 4, "local": 1, "failed": 1}
    assert told["squids"]["draining"] == 1
    assert (told["state"], told["intake"], told["hold"], told["stale_since"]) == ("ok", True, False, None)


def test_the_status_tells_what_the_server_lacks(site: Site) -> None:
    site.connected, site.held, site.store.away = False, True, True
    site.keeper.refresh(NOW + 5)
    told = ask(site, "/status")
    assert (told["state"], told["intake"], told["hold"]) == ("deaf,stale,held", False, True)
    assert told["stale_since"] == NOW + 5


def test_the_status_tells_heartbeats_by_outcome_and_how_many_came_of_late(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.store, "now", lambda: NOW + 1)
    site.heartbeats = {"accepted": 7, "load": 2}
    assert ask(site, "/status")["heartbeats"] == {"accepted": 7, "refused": {"load": 2}, "per_second": 0.6}


def test_operators_alone_are_told_the_names_of_the_servers(site: Site) -> None:
    assert (ask(site, "/status")["servers"], ask(site, "/status")["processes"]) == (1, [])
    (process,) = ask(site, "/status", **OPERATOR)["processes"]
    assert process["server"] == "here"
