"""A page per squid: for whoever may know it, for as long as something of it is remembered."""

import html
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from shoal_common.heartbeat import AgentState, Metrics
from shoal_server.frames import Row, pack
from shoal_server.history import Grain
from shoal_server.registry import Event, EventKind
from shoal_server.squid import Reach, Squid, Verification
from tests.fakes import GOOD, NOW, VICTORIA, squid
from tests.server.site import STRANGER, Site
from tests.server.test_pages import HOSTILE, Page

ID = "192.0.2.1:3128"
INSIDE = "203.0.113.8"
"""An address on the squid's own site."""
TOKEN = "correct-horse-battery"


def site(*squids: Squid, **options: Any) -> Site:
    places = dict.fromkeys(("192.0.2.1", INSIDE, "10.0.0.1"), VICTORIA)
    made = Site(squids, places, **options)
    made.store.now = lambda: NOW  # type: ignore[method-assign]
    return made


def nat(number: int) -> Squid:
    return squid(
        hostname=f"n{number}",
        uuid=f"{number}",
        public_ip=None,
        external_ip="192.0.2.1",
        private_ip=f"10.0.0.{number}",
    )


def happened(site: Site, squid_id: str, *events: tuple[EventKind, str]) -> None:
    for seconds, (kind, detail) in enumerate(events):
        site.store.log.append(Event(NOW - 100 + seconds, kind, squid_id, detail))


def words(site: Site, path: str, address: str = STRANGER, **headers: str) -> str:
    answer = site.get(path, address, **headers)
    assert answer.status_code == 200, path
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def test_it_tells_what_the_squid_said_and_how_it_was_checked() -> None:
    check = Verification(Reach.GLOBAL, "served the object", NOW - 60, NOW + 240, lacks=("frontier",))
    said = {"metrics": Metrics(200.0, 180.0, cpu_share=0.5), "agent": "shoal-2.0.0", "interval": 30.0}
    told = words(site(squid(check, **said)), f"/squid/{ID}")
    for part in (
        "Outcome verified",
        "Last 1 min ago served the object",
        "Next in 4 min",
        "Did not deliver frontier",
    ):
        assert part in told
    for part in (
        "Requests 200 /s",
        "Hit ratio 90 %",
        "Processor 50 % of a core",
        "Every 30 s",
        "uvic, Victoria, CA",
    ):
        assert part in told


@pytest.mark.parametrize(("seconds", "told"), [(15, True), (3600, False)])
def test_it_tells_that_two_agents_announce_the_squid_and_what_counts(seconds: float, told: bool) -> None:
    two = replace(squid(GOOD), other_seen=NOW - seconds)
    rule = "it drains if either says so, and the smaller capacity counts"
    assert (rule in words(site(two), f"/squid/{ID}")) is told


@pytest.mark.parametrize(
    ("takes", "room"),
    [
        (1.0, "all who ask"),
        (0.75, "its own place, 50 % of others"),
        (0.5, "100 % of its own"),
        (0.2, "40 % of its own"),
    ],
)
def test_whom_its_place_has_room_for_is_told(takes: float, room: str) -> None:
    assert f"Has room for {room}" in words(site(replace(squid(), takes=takes)), f"/squid/{ID}")


@pytest.mark.parametrize(("share", "part", "why"), [(0.8, "80 %", "more"), (1.2, "120 %", "less")])
def test_a_share_that_is_not_what_its_capacity_says_is_told_with_the_reason(
    share: float, part: str, why: str
) -> None:
    told = words(site(replace(squid(), share=share)), f"/squid/{ID}")
    assert f"Share {part} of what its capacity says, for it was used {why}" in told


def test_why_a_squid_that_stays_full_is_told_last_is_told() -> None:
    told = words(site(replace(squid(), share=0.02)), f"/squid/{ID}")
    assert "Share 2 % of what its capacity says, for it was full though few workers were told of it" in told


def test_a_share_that_is_what_its_capacity_says_is_left_out() -> None:
    assert "Share" not in words(site(squid()), f"/squid/{ID}")


def test_what_an_agent_does_not_say_is_left_out() -> None:
    told = words(site(squid(max_load=None)), f"/squid/{ID}")
    assert "Requests" not in told
    assert "not said; 122 MB/s assumed" in told


def test_its_events_are_told_newest_first() -> None:
    one = site(squid(), token=TOKEN)
    happened(
        one, ID, (EventKind.JOINED, "sq1"), (EventKind.FAILED, "timed out"), (EventKind.DRAINED, "ada: disk")
    )
    told = words(one, f"/squid/{ID}", Authorization=f"Bearer {TOKEN}")
    assert told.index("drained ada: disk") < told.index("failed timed out") < told.index("joined sq1")


def test_who_drains_it_is_told() -> None:
    assert "Draining by its agent" in words(site(squid(state=AgentState.DRAINING)), f"/squid/{ID}")


def test_its_day_is_drawn_with_gaps_where_it_was_not_listed() -> None:
    one = site(squid())
    last = Grain.FINE.slot(NOW)
    for slot in (last - 9, last - 8, last - 3):
        sample = Row(50_000.0, 60_000.0, 0.5, 0.8, 10, Reach.GLOBAL, draining=False)
        one.history.put_frames(Grain.FINE, slot, pack(slot, {ID: sample}))
    answer = one.get(f"/squid/{ID}").text
    (line,) = [part.split('"')[0] for part in answer.split('<path class="line" d="')[1:2]]
    assert (line.count("M"), line.count("H")) == (2, 3)
    assert "mean 50 MB/s, at most 60 MB/s" in answer
    assert "mean 80 %" in answer
    assert "times in UTC" in answer


def test_a_squid_without_history_says_so() -> None:
    told = words(site(squid()), f"/squid/{ID}")
    assert "Load nothing recorded" in told
    assert "Hit ratio nothing recorded" in told


@pytest.mark.parametrize(("requests", "now"), [(0.0, "nobody asks"), (None, "not said")])
def test_an_agent_that_counts_is_not_said_to_be_silent_while_nobody_asks(
    requests: float | None, now: str
) -> None:
    one = site(squid(metrics=Metrics(requests_per_s=requests, hits_per_s=requests)))
    slot, sample = Grain.FINE.slot(NOW) - 3, Row(0.0, 0.0, 0.0, None, 10, Reach.GLOBAL, draining=False)
    one.history.put_frames(Grain.FINE, slot, pack(slot, {ID: sample}))
    told = words(one, f"/squid/{ID}")
    assert f"Hit ratio {now}" in told
    assert "Hit ratio nobody asked, or the agent does not say" in told


def test_a_store_that_is_away_costs_the_past_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    one = site(squid())
    one.store.away = True
    monkeypatch.setattr(one.history, "frames", lambda *_: one.store.squids())
    told = words(one, f"/squid/{ID}")
    assert "cannot be shown for the moment" in told
    assert "Outcome verified" in told
    assert "recorded" not in told, "what cannot be read may well be recorded"


def test_of_a_squid_that_is_not_listed_nothing_is_claimed_while_the_store_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = site()
    one.store.away = True
    monkeypatch.setattr(one.history, "frames", lambda *_: one.store.squids())
    answer = one.get(f"/squid/{ID}")
    assert answer.status_code == 503
    assert answer.text.count('class="note"') == 1
    assert "No squid is known" not in answer.text


def test_a_squid_that_is_gone_has_its_page_while_it_is_remembered() -> None:
    one = site()
    happened(one, ID, (EventKind.JOINED, "sq1.example.org"), (EventKind.EXPIRED, "sq1.example.org"))
    told = words(one, f"/squid/{ID}")
    assert "not listed any more" in told
    assert "expired sq1.example.org" in told


@pytest.mark.parametrize("path", ["192.0.2.99:3128", "nonsense", "a/b/c", "%00", "[::1]:1", "x" * 3000])
def test_nobody_knows_a_squid_that_never_was(path: str) -> None:
    answer = site().get(f"/squid/{path}")
    assert answer.status_code == 404
    assert "No squid is known here by this address and port" in answer.text


# --- what strangers are not told --------------------------------------------------------------------


def test_a_private_squid_has_a_page_for_its_own_site_and_the_operator_alone() -> None:
    one = site(squid(public_ip=None, private_ip="10.0.0.1", hostname="sq1"), token=TOKEN)
    happened(one, "10.0.0.1:3128/sq1", (EventKind.JOINED, "secret"))
    answer = one.get("/squid/10.0.0.1:3128/sq1")
    assert (answer.status_code, "secret" in answer.text) == (404, False)
    assert "Private address 10.0.0.1" in words(one, "/squid/10.0.0.1:3128/sq1", INSIDE)


def test_a_private_squid_that_is_gone_is_for_the_operator_alone() -> None:
    one = site(token=TOKEN)
    happened(one, "10.0.0.1:3128", (EventKind.JOINED, "secret"))
    for address in (STRANGER, INSIDE):
        answer = one.get("/squid/10.0.0.1:3128", address)
        assert answer.status_code == 404
        assert "joined" not in answer.text
    assert "joined secret" in words(one, "/squid/10.0.0.1:3128", Authorization=f"Bearer {TOKEN}")


def test_a_squid_of_its_own_site_that_is_gone_is_no_strangers_affair() -> None:
    one = site()
    happened(
        one, ID, (EventKind.JOINED, "secret"), (EventKind.LOCAL, "refuses us"), (EventKind.EXPIRED, "secret")
    )
    assert one.get(f"/squid/{ID}").status_code == 404
    assert "secret" not in one.get(f"/squid/{ID}").text


def test_squids_behind_one_nat_are_told_apart_by_name_without_their_inside_addresses() -> None:
    one = site(nat(1), nat(2))
    links = [link["href"] or "" for link in Page(one.get("/").text).all("a")]
    pages = sorted({link for link in links if link.startswith("/squid/")})
    assert pages == [f"/squid/{ID}?name=n1", f"/squid/{ID}?name=n2"]
    for number, path in enumerate(pages, 1):
        told = words(one, path)
        assert f"Host name n{number}" in told
        assert "10.0.0." not in one.get(path).text
    assert "Private address 10.0.0.2" in words(one, f"/squid/{ID}/10.0.0.2", INSIDE)


@pytest.mark.parametrize("former", ["192.0.2.77:3128", "10.0.0.9:3128"])
def test_where_a_squid_came_from_is_its_own_sites_affair(former: str) -> None:
    one = site(squid())
    happened(one, ID, (EventKind.MOVED, f"was {former}"))
    assert former not in words(one, f"/squid/{ID}")
    assert f"was {former}" in words(one, f"/squid/{ID}", INSIDE)


@pytest.mark.parametrize("path", [f"/squid/{ID}", f"/api/v1/squids/{ID}", f"/api/v1/squids/{ID}/events"])
def test_the_agents_id_by_which_others_could_speak_in_its_name_is_for_its_own_site(path: str) -> None:
    one = site(squid(uuid="deadbeef01"))
    happened(one, ID, (EventKind.RESTARTED, "agent deadbeef02"))
    assert "deadbeef" not in one.get(path).text
    assert "deadbeef" in one.get(path, INSIDE).text


@pytest.mark.parametrize("path", [f"/squid/{ID}", f"/api/v1/squids/{ID}/events"])
@pytest.mark.parametrize("kind", [EventKind.DRAINED, EventKind.UNDRAINED, EventKind.FORGOTTEN])
def test_who_changed_what_and_why_is_for_operators_alone(path: str, kind: EventKind) -> None:
    one = site(squid(), token=TOKEN)
    happened(one, ID, (kind, "ada: stolen disk"))
    for address in (STRANGER, INSIDE):
        told = one.get(path, address).text
        assert kind.value in told
        assert "ada" not in told
    assert "ada: stolen disk" in one.get(path, Authorization=f"Bearer {TOKEN}").text


def test_of_a_squid_that_is_gone_strangers_are_not_told_who_forgot_it() -> None:
    one = site()
    happened(one, ID, (EventKind.JOINED, "sq1.example.org"), (EventKind.FORGOTTEN, "ada: stolen disk"))
    told = words(one, f"/squid/{ID}")
    assert "forgotten" in told
    assert "ada" not in told


@pytest.mark.parametrize("kind", EventKind)
def test_page_and_api_hide_the_same_details(kind: EventKind) -> None:
    one = site(squid(), token=TOKEN)
    happened(one, ID, (kind, "a detail"))
    for address, headers in ((STRANGER, {}), (INSIDE, {}), (STRANGER, {"Authorization": f"Bearer {TOKEN}"})):
        (event,) = one.get(f"/api/v1/squids/{ID}/events", address, **headers).get_json()["events"]
        assert ("a detail" in words(one, f"/squid/{ID}", address, **headers)) is bool(event["detail"])


# --- hostile ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_not_obeyed(text: str) -> None:
    def elements(detail: str) -> list[tuple[str, list[str]]]:
        one = site(squid(Verification(Reach.FAILED, detail, NOW, NOW), agent="shoal"), token=TOKEN)
        happened(one, ID, (EventKind.FAILED, detail), (EventKind.DRAINED, detail))
        shown = Page(one.get(f"/squid/{ID}", Authorization=f"Bearer {TOKEN}").text)
        assert detail in shown.text
        return [(tag, sorted(attributes)) for tag, attributes in shown.elements]

    assert elements(text) == elements("harmless")


@pytest.mark.parametrize(
    "path", [f"/squid/{ID}?over=<script>", f"/squid/{ID}?over=month&name=sq1.example.org"]
)
def test_odd_queries_are_answered(path: str) -> None:
    assert "<script>" not in site(squid()).get(path).text.replace("<script src", "")


@pytest.mark.parametrize(
    "query", [{"name": "<img src=x>"}, {"name": '"><b>'}, {"over": "day", "name": "nobody"}]
)
def test_a_name_that_nobody_has_is_nobody(query: Mapping[str, str]) -> None:
    answer = site(squid()).client.get(f"/squid/{ID}", query_string=query)
    assert answer.status_code == 404
    assert "<img" not in answer.text.replace('<img src="/static', "")
