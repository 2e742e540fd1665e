"""What was: events, load over time, and who was listed at a past minute."""

from typing import Any

import pytest

from shoal_server.historian import Historian
from shoal_server.registry import Event, EventKind
from tests.fakes import NOW, squid
from tests.server.site import STRANGER, Site

TOKEN = "correct-horse-battery"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
A = squid(public_ip="192.0.2.1", uuid="a")
NAT = squid(public_ip=None, external_ip="192.0.2.4", private_ip="10.0.0.4", uuid="nat")
PRIVATE = squid(public_ip=None, private_ip="10.0.0.9", uuid="p")
EVENTS = [
    Event(NOW - 50, EventKind.JOINED, A.id, "sq1.example.org"),
    Event(NOW - 40, EventKind.JOINED, NAT.id, "nat.example.org"),
    Event(NOW - 30, EventKind.MOVED, NAT.id, "was 10.0.0.77:3128"),
    Event(NOW - 20, EventKind.JOINED, PRIVATE.id, "p.example.org"),
    Event(NOW - 10, EventKind.DRAINED, A.id, "ada: kernel update"),
    Event(NOW - 5, EventKind.LEFT, "192.0.2.99:3128", "gone.example.org"),
]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site([A, NAT, PRIVATE], token=TOKEN)
    site.store.put([], [], EVENTS)
    historian = Historian(site.keeper, site.store, site.history)
    for seconds in (0, 10, 310, 400):
        historian.look(NOW + seconds)
    monkeypatch.setattr(site.store, "now", lambda: NOW + 400)
    return site


def ask(site: Site, path: str, address: str = STRANGER, **headers: str) -> Any:
    answer = site.get(f"/api/v1{path}", address, **headers)
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def kinds(site: Site, path: str = "/events", **headers: str) -> list[str]:
    return [one["kind"] for one in ask(site, path, **headers)["events"]]


def test_operators_see_every_event_newest_first(site: Site) -> None:
    assert kinds(site, **OPERATOR) == ["left", "drained", "joined", "moved", "joined", "joined"]
    assert ask(site, "/events", **OPERATOR)["events"][1]["detail"] == "ada: kernel update"


def test_strangers_see_events_of_squids_that_they_may_know_of_without_names_and_inside_addresses(
    site: Site,
) -> None:
    assert kinds(site) == ["drained", "moved", "joined", "joined"]
    text = site.get("/api/v1/events").text
    assert "10.0.0." not in text
    assert "ada" not in text
    assert "gone.example.org" not in text


def test_events_come_in_pages(site: Site) -> None:
    path, found = "/api/v1/events?limit=1", []
    while path:
        page = site.get(path, **OPERATOR).get_json()
        found += [one["kind"] for one in page["events"]]
        path = page["next"]
    assert found == kinds(site, **OPERATOR)


def test_what_came_after_an_event_is_told_oldest_first(site: Site) -> None:
    newest = ask(site, "/events?limit=3", **OPERATOR)["events"]
    after = newest[-1]["cursor"]
    assert kinds(site, f"/events?after={after}", **OPERATOR) == ["drained", "left"]


@pytest.mark.parametrize("query", ["cursor=x", "cursor=1-1%0A", "after=1", "after=-", "limit=0", "limit=501"])
def test_a_bad_cursor_or_limit_is_refused(site: Site, query: str) -> None:
    assert site.get(f"/api/v1/events?{query}").status_code == 400


def test_one_squids_events_are_its_own(site: Site) -> None:
    assert kinds(site, "/squids/192.0.2.1:3128/events") == ["drained", "joined"]
    assert site.get("/api/v1/squids/10.0.0.9:3128/events").status_code == 404


def test_operators_see_what_happened_to_a_squid_that_is_gone(site: Site) -> None:
    assert kinds(site, "/squids/192.0.2.99:3128/events", **OPERATOR) == ["left"]
    assert site.get("/api/v1/squids/192.0.2.99:3128/events").status_code == 404


def test_load_is_told_over_time(site: Site) -> None:
    told = ask(site, "/squids/192.0.2.1:3128/history")
    assert (told["grain"], told["seconds"]) == ("fine", 300)
    assert {round(sample["load"]) for sample in told["samples"]} == {100}
    assert ask(site, "/squids/192.0.2.1:3128/history?grain=coarse")["samples"] == []


def test_the_load_of_a_squid_that_is_not_the_askers_affair_is_not_there(site: Site) -> None:
    assert site.get("/api/v1/squids/10.0.0.9:3128/history").status_code == 404


def test_who_was_listed_is_told(site: Site) -> None:
    at = "2023-11-14T22:15:00Z"
    assert [one["id"] for one in ask(site, f"/listed?at={at}")["squids"]] == ["192.0.2.1:3128"]
    everybody = ask(site, f"/listed?at={at}", **OPERATOR)
    assert [one["id"] for one in everybody["squids"]] == [PRIVATE.id, A.id, NAT.id]
    page = ask(site, f"/listed?at={at}&limit=2", **OPERATOR)
    assert (len(page["squids"]), page["total"]) == (2, 3)
    assert len(site.get(page["next"], **OPERATOR).get_json()["squids"]) == 1


@pytest.mark.parametrize("at", ["1999-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0"])
def test_of_a_time_without_a_record_nothing_is_told(site: Site, at: str) -> None:
    assert site.get(f"/api/v1/listed?at={at}").status_code == 404


@pytest.mark.parametrize(
    "at", ["", "now", "2023-11-14", "2023-11-14T22:15:00", "nan", "1e99", "99999999999999999"]
)
def test_what_is_no_time_is_refused(site: Site, at: str) -> None:
    answer = site.get(f"/api/v1/listed?at={at}")
    assert answer.status_code == 400
    assert "2026-01-31T12:00:00Z" in answer.get_json(force=True)["detail"]


def test_a_time_is_needed(site: Site) -> None:
    assert site.get("/api/v1/listed").get_json(force=True)["detail"] == "at is needed"
