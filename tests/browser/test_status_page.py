"""The status page in a real browser: it shows, sorts, narrows and keeps itself fresh."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from playwright.sync_api import Locator, Page, expect

from shoal_server.squid import Reach, Squid, Verification
from tests.browser import world
from tests.browser.conftest import Open, Visits
from tests.fakes import NOW
from tests.server.site import Site

ALL = 40
"""Of forty-two squids two serve their own sites alone, and a stranger does not see them."""
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">\"'</svg><script>alert(1)</script>"

FIRST_SEEN = """() => {
  const first = [...document.querySelectorAll("tbody tr")].find(row => row.getBoundingClientRect().top > 0);
  return [first.dataset.key, Math.round(first.getBoundingClientRect().top)];
}"""


def names(page: Page) -> Locator:
    return page.locator("tbody th a")


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has_text=name)


def test_the_page_tells_at_a_glance_whether_the_world_is_well(visit: Open, steady: str) -> None:
    page = visit(steady)
    expect(page).to_have_title("Shoal: 40 squids")
    expect(page.locator(".verdict")).to_have_text("All is well: 36 of 40 squids serve; 2 fail or are silent.")
    facts = page.get_by_role("region", name="40 squids")
    for words in ("36 verified", "1 failed", "1 silent", "connected", "working", "normal", "9 d old"):
        expect(facts).to_contain_text(words)
    expect(facts.get_by_role("list", name="Squids to look at")).to_contain_text("connection refused")
    expect(page.get_by_role("link", name="DB-IP")).to_be_visible()


def test_a_row_tells_all_that_is_known_of_a_squid(visit: Open, steady: str) -> None:
    cells = row(visit(steady), "squid-02.cloud.example").get_by_role("cell")
    expect(cells).to_have_count(11)
    told = " ".join(cells.all_inner_texts())
    for words in (
        "verified",
        "AWS",
        "Ashburn",
        "US",
        "AS14618",
        "CVMFS, Frontier",
        "93 %",
        "122 MB/s",
        "right",
    ):
        assert words in told


def test_a_click_on_a_heading_sorts_and_a_second_turns_it_round(visit: Open, steady: str) -> None:
    page = visit(steady)
    page.evaluate("window.loadedOnce = true")
    page.get_by_role("link", name="Load", exact=True).click()
    expect(page.get_by_role("columnheader", name="Load")).to_have_attribute("aria-sort", "descending")
    expect(names(page).first).to_have_text("squid-02.cloud.example")
    page.get_by_role("link", name="Load", exact=True).click()
    expect(page.get_by_role("columnheader", name="Load")).to_have_attribute("aria-sort", "ascending")
    expect(names(page).last).to_have_text("squid-02.cloud.example")
    page.go_back()
    expect(names(page).first).to_have_text("squid-02.cloud.example")
    assert page.evaluate("window.loadedOnce") is True


def test_what_is_typed_narrows_the_table_and_the_map_at_once(visit: Open, steady: str) -> None:
    page = visit(steady)
    search = page.get_by_role("searchbox", name="Search")
    search.press_sequentially("triumf")
    page.clock.run_for(1_000)
    expect(names(page)).to_have_text(["squid-01.triumf.example", "squid-02.triumf.example"])
    expect(page.locator(".bar").get_by_role("status")).to_contain_text("2 of 40 shown")
    expect(page.locator(".mark")).to_have_count(1)
    expect(search).to_be_focused()
    expect(search).to_have_value("triumf")
    assert page.url == f"{steady}/?q=triumf&sort=name"
    page.get_by_role("link", name="show all").click()
    expect(names(page)).to_have_count(ALL)
    expect(search).to_have_value("")


@pytest.mark.parametrize(
    ("field", "choice", "found"),
    [
        ("state", "failed or silent", ["squid-02.ral.example", "squid-03.cloud.example"]),
        ("country", "Japan (2)", ["squid-01.icepp.example", "squid-02.icepp.example"]),
        ("type", "Varnish", ["squid-02.icepp.example"]),
    ],
)
def test_a_choice_narrows_the_table(
    visit: Open, steady: str, field: str, choice: str, found: list[str]
) -> None:
    page = visit(steady)
    page.locator(f"select[name={field}]").select_option(label=choice)
    page.clock.run_for(100)
    expect(names(page)).to_have_text(found)


def test_a_table_of_many_is_paged(visit: Open, steady: str) -> None:
    page = visit(steady, "/15")
    expect(names(page)).to_have_count(15)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="3").click()
    expect(names(page)).to_have_count(ALL - 30)
    expect(page.get_by_role("navigation", name="Pages").locator("[aria-current]")).to_have_text("3")


# --- live ----------------------------------------------------------------------------------------


def moving(changed: Squid, all_: list[Squid]) -> list[Squid]:
    return [changed if one.id == changed.id else one for one in all_]


def test_an_update_keeps_order_filter_place_and_focus(visit: Open, start: Callable[[Site], str]) -> None:
    squids = world.squids(NOW)
    site = world.site(squids, NOW)
    page = visit(start(site), "/?q=squid&sort=-load", viewport={"width": 1000, "height": 500})
    link = page.get_by_role("link", name="squid-01.unimelb.example").last
    link.focus()
    seen = page.evaluate(FIRST_SEEN)
    assert page.evaluate("scrollY") > 0
    last = next(one for one in squids if one.beat.hostname == "squid-01.unimelb.example")
    site.show([replace(last, load=last.max_load)])
    page.clock.run_for(5_000)
    expect(names(page).first).to_have_text("squid-01.unimelb.example")
    expect(row(page, "squid-01.unimelb.example")).to_contain_text("100 %")
    expect(link).to_be_focused()
    assert page.evaluate(FIRST_SEEN) == seen
    assert page.url.endswith("/?q=squid&sort=-load")


def test_a_squid_that_fails_and_goes_is_followed_on_map_and_table(
    visit: Open, start: Callable[[Site], str]
) -> None:
    squids = world.squids(NOW)
    site = world.site(squids, NOW)
    page = visit(start(site))
    one = next(one for one in squids if one.beat.hostname == "squid-01.tifr.example")
    mark = page.locator(".mark[aria-label*='squid-01.tifr.example']")
    expect(mark.locator("circle.verified")).to_have_count(1)
    site.show([one.with_verification(Verification(Reach.FAILED, "timed out", NOW, NOW + 9))])
    page.clock.run_for(5_000)
    expect(mark.locator("circle.failed")).to_have_count(1)
    expect(row(page, one.beat.hostname)).to_contain_text("timed out")
    site.store.put([], [one.id], [])
    site.keeper.refresh(NOW)
    page.clock.run_for(5_000)
    expect(mark).to_have_count(0)
    expect(row(page, one.beat.hostname)).to_have_count(0)
    expect(page).to_have_title("Shoal: 39 squids")


def test_a_hidden_page_asks_nothing_and_one_that_is_seen_again_asks_at_once(
    visits: Visits, steady: str
) -> None:
    visit = visits(steady)
    page = visit.page
    show = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    show += "document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(show, True)
    asked = len(visit.asked)
    page.clock.run_for(60_000)
    assert len(visit.asked) == asked
    with page.expect_response(steady + "/"):
        page.evaluate(show, False)


def test_a_paused_page_asks_nothing_until_it_goes_on(visits: Visits, steady: str) -> None:
    visit = visits(steady)
    page = visit.page
    page.get_by_role("button", name="Pause").click()
    asked = len(visit.asked)
    page.clock.run_for(60_000)
    assert len(visit.asked) == asked
    with page.expect_response(steady + "/"):
        page.get_by_role("button", name="Paused").click()


# --- the map -------------------------------------------------------------------------------------


def test_since_when_the_server_is_silent_is_told_in_utc_like_all_other_times(
    visits: Visits, steady: str
) -> None:
    page = visits(steady, lossy=True, timezone_id="America/Vancouver", locale="en-US").page
    page.route("**", lambda route: route.abort())
    page.clock.run_for(5_000)
    words = page.get_by_role("alert").inner_text()
    found = re.fullmatch(r"The server has not answered since (.+) UTC\. This is the last it said\.", words)
    assert found, words
    since = datetime.fromisoformat(f"{found[1]}+00:00").timestamp()
    assert 0 <= page.evaluate("Date.now()") / 1000 - since < 60


def test_every_point_is_at_its_place(visit: Open, steady: str) -> None:
    page = visit(steady)
    for name in ("squid-01.tifr.example", "squid-01.slac.example", "squid-01.chpc.example"):
        latitude, longitude = next(centre.place for one, centre in world.names() if one == name)
        circle = page.locator(f".mark[aria-label*='{name}'] circle").first
        assert float(circle.get_attribute("cx") or "") == pytest.approx(
            (longitude + 180) / 360 * 1000, abs=0.06
        )
        assert float(circle.get_attribute("cy") or "") == pytest.approx((90 - latitude) / 180 * 500, abs=0.06)


def test_the_points_lie_on_the_land_that_is_drawn(visit: Open, steady: str) -> None:
    """Were land and points of different projections, inland cities would lie in the sea."""
    page = visit(steady, "/static/world.svg", lossy=True)  # nobody has an icon for it
    inside = """([x, y]) => document.getElementById("land").isPointInFill(new DOMPoint(x, y))"""
    inland = {
        "Geneva": (46.2, 6.1),
        "Denver": (39.7, -105.0),
        "Alice Springs": (-23.7, 133.9),
        "Omsk": (55, 73),
    }
    oceans = {"Atlantic": (30.0, -40.0), "Pacific": (0.0, -150.0), "Indian": (-20.0, 80.0)}
    for places, wanted in ((inland, True), (oceans, False)):
        for name, (latitude, longitude) in places.items():
            spot = [(longitude + 180) / 360 * 1000, (90 - latitude) / 180 * 500]
            assert page.evaluate(inside, spot) is wanted, name


def test_squids_near_each_other_share_a_point_with_their_number(visit: Open, steady: str) -> None:
    page = visit(steady)
    vancouver = page.locator(".mark[aria-label^='TRIUMF']")
    expect(vancouver.locator("text")).to_have_text("5")
    expect(vancouver).to_have_attribute("aria-label", re.compile("5 squids: 4 verified, 1 draining"))
    vancouver.click()
    expect(names(page)).to_have_count(5)


def test_a_part_of_the_map_tells_apart_what_is_one_on_the_whole(visit: Open, steady: str) -> None:
    page = visit(steady)
    geneva = page.locator(".mark[aria-label^='CERN'] text")
    expect(geneva).to_have_text("7")
    page.get_by_role("link", name="Europe").click()
    expect(geneva).to_have_text("4")
    expect(page.locator(".mark[aria-label*='in2p3']")).to_have_count(1)
    expect(page.locator(".mark[aria-label*='tifr']")).to_have_count(0)


def test_a_filter_keeps_the_part_of_the_map_and_the_point_that_is_looked_at(visit: Open, steady: str) -> None:
    page = visit(steady, "/?map=europe")
    page.locator(".mark[aria-label^='CERN']").click()
    expect(names(page)).to_have_count(4)
    page.locator("select[name=type]").select_option("squid")
    page.clock.run_for(100)
    expect(page).to_have_url(re.compile("type=squid"))
    expect(names(page)).to_have_count(4)
    expect(page.get_by_role("link", name="Europe")).to_have_attribute("aria-current", "true")


def test_a_filter_finds_a_squid_of_a_point_that_stood_at_another_ones_place(visit: Open, steady: str) -> None:
    page = visit(steady)
    page.locator(".mark[aria-label^='CERN']").click()
    expect(names(page)).to_have_count(7)
    page.get_by_label("Search").fill("in2p3")
    page.clock.run_for(1000)
    expect(names(page)).to_have_text(["squid-01.in2p3.example"])


def test_a_point_leads_to_its_squid(visit: Open, steady: str) -> None:
    page = visit(steady)
    page.locator(".mark[aria-label*='squid-01.tifr.example']").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("squid-01.tifr.example")


# --- for everybody -------------------------------------------------------------------------------


def test_without_javascript_links_and_form_do_the_same(visit: Open, steady: str) -> None:
    page = visit(steady, java_script_enabled=False)
    expect(names(page)).to_have_count(ALL)
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    page.get_by_role("link", name="Load", exact=True).click()
    expect(names(page).first).to_have_text("squid-02.cloud.example")
    page.get_by_label("Search").fill("germany")
    page.get_by_role("button", name="Show").click()
    expect(names(page)).to_have_text([re.compile(r"desy|kit")] * 3)
    expect(page.get_by_label("Order")).to_have_value("-load")


def test_the_keyboard_reaches_everything(visit: Open, steady: str) -> None:
    page = visit(steady)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.get_by_role("link", name="Skip the map").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('.mark')")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    heading = page.get_by_role("link", name="Hits")
    heading.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("columnheader", name="Hits")).to_have_attribute("aria-sort", "ascending")
    expect(heading).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_hostile_names_and_reasons_are_shown_and_do_nothing(
    visit: Open, start: Callable[[Site], str]
) -> None:
    """None of it gets past the heartbeat; the pages do not count on that."""
    squids = world.squids(NOW)
    first = squids[0]
    beat = replace(first.beat, hostname=HOSTILE, agent=HOSTILE)
    check = Verification(Reach.FAILED, HOSTILE, NOW, NOW + 9)
    site = world.site([replace(first, beat=beat, verification=check), *squids[1:]], NOW)
    site.locator.places[world.address(0)] = replace(world.CENTRES[0].location, site=HOSTILE, city=HOSTILE)
    site.locator.generation = 1
    site.keeper.refresh(NOW)
    url = start(site)
    for path in ("/?sort=-state", "/squid/192.0.2.10:3128", "/explain?address=192.0.2.10"):
        page = visit(url, path)
        expect(page.get_by_text(HOSTILE).first).to_be_attached()
        expect(page.locator("img[onerror]")).to_have_count(0)
        assert "hacked" not in page.title().replace(HOSTILE, "")
        if path != "/explain?address=192.0.2.10":
            page.clock.run_for(6_000)
            expect(page.locator("img[onerror]")).to_have_count(0)
