"""The headline of the status page: whether the world is well, in one sentence."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shoal_server.squid import Reach, Squid, Verification
from shoal_server.web import rows
from shoal_server.web.headline import shares
from shoal_server.web.rows import State
from tests.fakes import GOOD, NOW, squid
from tests.server.site import Site
from tests.server.test_pages import Page

UNCHECKABLE = Verification(Reach.UNVERIFIED, "no origin could be reached to check it by", NOW, NOW)
FAILED = Verification(Reach.FAILED, "connection refused", NOW, NOW)


def world(good: int, failed: int) -> Iterator[Squid]:
    for number in range(good + failed):
        check = GOOD if number < good else FAILED
        own = {"uuid": f"{number}", "hostname": f"n{number}", "public_ip": f"198.18.0.{number + 1}"}
        yield replace(squid(check, interval=30.0, **own), seen=NOW)


def site(good: int = 10, failed: int = 0) -> Site:
    made = Site()
    made.store.now = lambda: NOW  # type: ignore[method-assign]
    made.show(world(good, failed))
    return made


def verdict(site: Site) -> tuple[str, str]:
    """The colour of the verdict, and the page's words."""
    page = Page(site.get("/").text)
    classes = [attributes.get("class") or "" for attributes in page.all("div")]
    (mood,) = [name.removeprefix("verdict ") for name in classes if name.startswith("verdict ")]
    return mood, " ".join(page.text.split())


@pytest.mark.parametrize(
    ("good", "failed", "mood", "words"),
    [
        (10, 0, "good", "All is well: 10 of 10 squids serve."),
        (1, 0, "good", "All is well: 1 of 1 squid serves."),
        (19, 1, "good", "All is well: 19 of 20 squids serve; 1 fails or is silent."),
        (8, 2, "warn", "8 of 10 squids serve; 2 fail or are silent."),
        (5, 5, "bad", "5 of 10 squids serve; 5 fail or are silent."),
    ],
)
def test_the_verdict_grows_with_the_share_that_fails(good: int, failed: int, mood: str, words: str) -> None:
    told = verdict(site(good, failed))
    assert told[0] == mood
    assert words in told[1]


def own_site(number: int) -> Squid:
    """A squid that its own site alone may know of."""
    return squid(hostname=f"p{number}", uuid=f"p{number}", public_ip=None, private_ip=f"10.0.0.{number}")


@pytest.mark.parametrize(
    ("good", "unseen", "words"),
    [
        (3, 1, "3 heard, and 1 that its own site alone sees"),
        (3, 2, "3 heard, and 2 that their own sites alone see"),
        (0, 1, "No squid is heard but 1 squid that its own site alone sees."),
        (0, 2, "No squid is heard but 2 squids that their own sites alone see."),
    ],
)
def test_squids_that_are_not_shown_are_counted_as_health_and_metrics_do(
    good: int, unseen: int, words: str
) -> None:
    made = site(good)
    made.show([own_site(number) for number in range(1, unseen + 1)])
    assert made.get("/healthz").get_json()["squids"] == good + unseen
    told = verdict(made)[1]
    assert words in told
    assert ("No squid that you may see is heard at the moment." in told) is (good == 0)


def test_where_nothing_is_checked_a_squid_serves_unchecked() -> None:
    trusting = Site(verify=False)
    trusting.store.now = lambda: NOW  # type: ignore[method-assign]
    trusting.show([replace(one, verification=Verification()) for one in world(3, 0)])
    assert "All is well: 3 of 3 squids serve." in verdict(trusting)[1]


@pytest.mark.parametrize(
    ("why", "squids"),
    [
        ("all are draining", [replace(one, drained=True) for one in world(4, 0)]),
        ("none is checked yet", [one.with_verification(Verification()) for one in world(4, 0)]),
        ("some drain, the others fail", [replace(one, drained=True) for one in world(3, 1)]),
    ],
)
def test_nothing_is_well_while_no_worker_is_told_of_any_squid(why: str, squids: list[Squid]) -> None:
    empty = site(0)
    for one in squids:
        empty.store.put([one], [], [])
        empty.store.put_drained(one.id, one.drained, [])
    empty.show(squids)
    assert empty.told("/nearest") == [], why
    mood, words = verdict(empty)
    assert (mood, "All is well" in words) == ("bad", False), why
    assert "0 of 4 squids serve" in words


def test_squids_serve_that_no_origin_could_be_reached_to_check_by_and_the_page_says_so() -> None:
    away = site(0)
    away.show(one.with_verification(UNCHECKABLE) for one in world(4, 0))
    assert len(away.told("/nearest")) == 4
    mood, words = verdict(away)
    assert mood == "warn"
    assert "4 of 4 squids serve, 4 of which could not be checked." in words
    assert "no origin could be reached to check it by" in words
    assert "4 not checked yet" not in words


def test_a_squid_that_is_told_unchecked_is_one_of_those_that_serve() -> None:
    mixed = site(19)
    mixed.show([next(world(1, 0)).with_verification(UNCHECKABLE)])
    assert "All is well: 19 of 19 squids serve, 1 of which could not be checked." in verdict(mixed)[1]


def test_every_state_has_a_colour_of_its_own() -> None:
    style = Path(rows.__file__).with_name("static").joinpath("style.css").read_text()
    for state in State:
        assert f".{state.token} {{ fill: " in style
        assert style.count(f"  --{state.token}: #") == 2, "light and dark"


def test_no_squid_at_all_is_worth_a_warning() -> None:
    assert verdict(site(0))[0] == "warn"


def test_nothing_is_well_while_heartbeats_do_not_arrive() -> None:
    deaf = site()
    deaf.connected = False
    mood, words = verdict(deaf)
    assert mood == "bad"
    assert "All is well" not in words
    assert "so no squid expires" in words


def test_a_store_that_is_away_is_told_with_for_how_long() -> None:
    stale = site()
    stale.store.away = True
    stale.keeper.refresh(NOW - 120)
    mood, words = verdict(stale)
    assert mood == "bad"
    assert "has not answered for 2 min" in words


def test_a_hold_is_a_warning_and_says_what_it_means() -> None:
    held = site()
    held.held = True
    mood, words = verdict(held)
    assert mood == "warn"
    assert "Workers are still told of them, while each is tried directly." in words


@pytest.mark.parametrize(
    ("lame", "words"),
    [
        (False, ["Intake connected", "Store working", "Expiry normal"]),
        (True, ["Intake away", "Store away for 2 min", "Expiry held"]),
    ],
)
def test_each_part_of_the_server_has_a_figure_that_says_whether_it_works(
    lame: bool, words: list[str]
) -> None:
    one = site()
    one.connected, one.held, one.store.away = not lame, lame, lame
    one.keeper.refresh(NOW - 120 if lame else NOW)
    told = verdict(one)[1].replace(" ", "")
    assert all(word.replace(" ", "") in told for word in words)


def test_the_parts_of_the_bar_follow_each_other_and_fill_it() -> None:
    bar = shares({State.FAILED: 1, State.VERIFIED: 5, State.LOCAL: 2})
    assert [(one.begin, one.length) for one in bar] == [(0.0, 62.5), (62.5, 25.0), (87.5, 12.5)]


def test_heartbeats_are_told_as_a_rate_and_in_all() -> None:
    busy = site(20)
    busy.heartbeats = {"accepted": 4711, "load": 2, "public_ip": 1}
    words = verdict(busy)[1]
    assert "2.0 /s 4\u202f711 taken, 3 refused".replace("\u202f", " ") in words.replace("\u202f", " ")


@pytest.mark.parametrize(("days", "words"), [(None, "no database"), (9, "9 d old"), (90, "90 d old")])
def test_the_age_of_the_geoip_database_is_told(days: int | None, words: str) -> None:
    aged = site()
    aged.built = None if days is None else NOW - days * 86400
    page = aged.get("/").text
    assert words in page
    assert ('class="warn"' in page) is (days == 90)


def test_the_worst_squids_are_named_with_their_reasons_and_no_more_than_three() -> None:
    page = site(10, 7).get("/").text
    begin = page.index("Squids to look at")
    named = page[begin : page.index("</ul>", begin)]
    assert named.count("<li>") == 3
    assert "connection refused" in named


def test_the_databases_licences_are_satisfied_at_the_foot_of_every_page() -> None:
    attributed = site()
    attributed.attributions = ["IP Geolocation by DB-IP, https://db-ip.com", "Another"]
    for path in ("/", "/explain", "/squid/198.18.0.1:3128"):
        page = attributed.get(path).text
        assert (
            '<a href="https://db-ip.com" rel="noreferrer">IP Geolocation by DB-IP, https://db-ip.com</a>'
            in page
        )
        assert "Another" in page


def test_of_a_list_that_has_just_begun_the_page_says_that_squids_may_be_missing() -> None:
    made = Site()
    made.store.now = lambda: NOW  # type: ignore[method-assign]
    for one in world(good=3, failed=0):
        made.store.put([one], [], [])
        made.store.put_verification(one.id, one.verification, [])
    made.keeper.refresh(NOW)
    text = made.get("/").text
    assert "All is well: 3 of 3 squids serve." in text
    assert "squids may not have announced themselves yet" in text
