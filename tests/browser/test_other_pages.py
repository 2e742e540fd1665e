"""The page of a squid and the explain page in a real browser."""

import re
from collections.abc import Callable

from playwright.sync_api import expect

from shoal_server.registry import Event, EventKind
from tests.browser import world
from tests.browser.conftest import Open, Visits
from tests.fakes import NOW
from tests.server.site import Site

SQUID = "192.0.2.10:3128"


def test_a_squid_has_a_page_with_its_day_and_what_it_said(visit: Open, steady: str) -> None:
    page = visit(steady, "/?q=cern")
    page.get_by_role("link", name="squid-01.cern.example").last.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("squid-01.cern.example")
    load = page.get_by_role("img", name=re.compile("^Load: mean .* MB.s, at most .*B.s"))
    expect(load.locator(".line")).to_have_attribute("d", re.compile(r"^M[\d.]+,[\d.]+(V[\d.]+H[\d.]+){3}"))
    expect(page.get_by_role("img", name="Hit ratio: mean 90 %")).to_be_visible()
    said = page.get_by_role("region", name="What it says of itself")
    expect(said).to_contain_text("192.0.2.10")
    expect(page.get_by_role("region", name="What happened").get_by_role("listitem")).to_contain_text(
        ["served the object", "squid-01.cern.example"]
    )


def test_a_squids_page_follows_what_happens_to_it(visit: Open, start: Callable[[Site], str]) -> None:
    site = world.site(world.squids(NOW), NOW)
    page = visit(start(site), f"/squid/{SQUID}")
    site.store.log.append(Event(NOW, EventKind.FAILED, SQUID, "timed out"))
    page.clock.run_for(5_000)
    expect(page.get_by_role("region", name="What happened")).to_contain_text("timed out")
    site.store.put([], [SQUID], [])
    site.keeper.refresh(NOW)
    page.clock.run_for(5_000)
    expect(page.get_by_text("This squid is not listed any more")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Load"))).to_be_visible()


def test_the_last_thirty_days_are_a_link_away(visit: Open, steady: str) -> None:
    page = visit(steady, f"/squid/{SQUID}")
    page.get_by_role("link", name="last 30 days").click()
    expect(page.get_by_role("heading", name="The last 30 days")).to_be_visible()
    page.get_by_role("link", name="last day").click()
    expect(page.get_by_role("heading", name="The last day")).to_be_visible()


def test_an_address_is_explained_term_by_term(visit: Open, steady: str) -> None:
    page = visit(steady, "/explain")
    page.get_by_label("Address of a worker").fill("192.0.2.16")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_contain_text("192.0.2.16 in UVic, Victoria, CA is told of 5 squids")
    told = page.get_by_role("region", name="What it is told").get_by_role("table")
    expect(told.get_by_role("rowheader")).to_have_count(5)
    cells = told.get_by_role("row").last.locator(".km").all()
    first = "cell => (cell.querySelector('strong') || cell).firstChild.textContent"
    numbers = [int(re.sub(r"\D", "", cell.evaluate(first))) for cell in cells]
    assert sum(numbers[:4]) - numbers[4] in range(-2, 3)
    others = page.get_by_role("region", name="Why no other squid").first
    expect(others).to_contain_text("its last check failed: connection refused by 203.0.113.11:3128")


def test_the_explained_worker_and_its_squids_are_on_the_map(visit: Open, steady: str) -> None:
    page = visit(steady, "/explain?address=192.0.2.16")
    picture = page.get_by_role("group", name="On the map")
    expect(picture.locator(".worker")).to_have_count(1)
    expect(picture.locator(".ways path")).to_have_count(2)
    expect(picture.get_by_role("link")).to_have_count(3)


def test_an_address_that_is_none_is_refused_in_words(visits: Visits, steady: str) -> None:
    page = visits(steady, "/explain?address=nobody", lossy=True).page
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    expect(page.get_by_label("Address of a worker")).to_have_value("nobody")


def test_strings_are_copied_at_a_click(visit: Open, steady: str) -> None:
    page = visit(steady, "/explain?address=192.0.2.16", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#cvmfs").inner_text()
    assert re.fullmatch(r'CVMFS_HTTP_PROXY="(http://[\d.]+:3128[|;]?){5}"', copied)


def test_without_javascript_there_is_no_button_that_does_nothing(visit: Open, steady: str) -> None:
    page = visit(steady, "/explain?address=192.0.2.16", java_script_enabled=False)
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    expect(page.locator("#pac")).to_contain_text("FindProxyForURL")
