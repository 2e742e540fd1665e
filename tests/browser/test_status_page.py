"""The status page in a real browser: it shows, keeps itself fresh, and asks nobody but its own server."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from shoal_common.heartbeat import AgentState, CacheType, Upstream
from shoal_server.squid import Reach, Squid, Verification
from shoal_server.stores.memory import MemoryStore
from shoal_server.stores.statefile import StateFile
from testbed.process import ROOT, Missing
from tests.fakes import beat, squid
from tests.server.process import ServerProcess, amqp_url, publish

ARTIFACTS = ROOT / "artifacts"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]
PHONE = {"width": 390, "height": 844}
LOCATIONS = """\
network,site,latitude,longitude,city,country_code
192.0.2.0/26,uvic,48.46,-123.31,Victoria,CA
192.0.2.64/26,cern,46.23,6.05,Geneva,CH
192.0.2.128/26,desy,53.57,9.88,Hamburg,DE
127.0.0.0/8,desy,53.57,9.88,Hamburg,DE
"""

# The ratio of the luminances of text and what lies behind it (WCAG 2.1, contrast ratio).
CONTRASTS = """() => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = colour => {
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.map(v => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const worst = {};
  for (const element of document.querySelectorAll("#live *")) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    if (element.closest("meter")) continue;
    const [a, b] = [numbers(getComputedStyle(element).color).slice(0, 3), behind(element)].map(luminance);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) worst[element.outerHTML.slice(0, 80)] = ratio;
  }
  return worst;
}"""


def _chromium() -> str:
    """The browser's path; without one the test is skipped, or under CI=true fails."""
    path = next((path for name in NAMES if (path := shutil.which(name))), None)
    if path:
        return path
    reason = str(Missing("chromium", "chromium"))
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = _chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


def various(now: float) -> list[Squid]:
    """One squid of each kind that the page tells apart."""
    good = Verification(Reach.GLOBAL, "served the object", now, now + 300)

    def one(n: int, name: str, check: Verification = good, **changes: Any) -> Squid:
        seen = now - n % 29
        own = {"hostname": name, "public_ip": f"192.0.2.{n}", "uuid": f"{n}", "timestamp": seen}
        return replace(squid(check, **(own | changes)), created=now - 9000 * n, seen=seen)

    failed = Verification(Reach.FAILED, "connection refused by 192.0.2.70:3128", now, now + 60, 3)
    local = Verification(Reach.LOCAL, "it refuses us: 403 ERR_ACCESS_DENIED", now, now + 300)
    varnish: dict[str, Any] = {"cache_type": CacheType.VARNISH, "upstream": Upstream.CVMFS}
    return [
        one(1, "squid-01.cloud.uvic.example.org", agent="shoal-2.0.0", load=14_000.0),
        one(2, "squid-02.cloud.uvic.example.org", agent="shoal-2.0.0", load=93_000.0),
        one(66, "ca-proxy-atlas.cern.example.org", load=51_000.0, max_load=1_250_000.0),
        one(70, "vm-7f3a.cern.example.org", failed, load=0.0),
        one(130, "cache.desy.example.org", local, load=2_500.0),
        one(131, "varnish.desy.example.org", load=30_000.0, **varnish),
        one(132, "clock.desy.example.org", timestamp=now - 3 * 3600, upstream=Upstream.FRONTIER),
        one(200, "x" * 60 + "." + "long-label." * 15 + "example.org", Verification()),
        one(201, "leaving.example.org", state=AgentState.DRAINING),
        replace(one(202, "quiet.example.org", timestamp=now - 100), seen=now - 100),
    ]


def remembering(directory: Path) -> ServerProcess:
    """A server that remembers squids of every kind."""
    directory.mkdir()
    (directory / "locations.csv").write_text(LOCATIONS)
    store = MemoryStore()
    state = StateFile(store, directory / "state")
    for one in various(time.time()):
        store.put([one], [], [])
        store.put_verification(one.id, one.verification, [])
    state.save()
    flags = ("--verify", "no", "--store", f"memory://{directory}/state")
    return ServerProcess(directory, *flags, "--locations", directory / "locations.csv")


@pytest.fixture(scope="module")
def steady(services_directory: Path) -> Iterator[ServerProcess]:
    """A server for tests that only look at it."""
    with remembering(services_directory / "steady") as process:
        yield process


@pytest.fixture
def server(new_directory: Callable[[str], Path]) -> Iterator[ServerProcess]:
    """A server of this test's own."""
    with remembering(new_directory("server")) as process:
        yield process


@dataclass
class Visit:
    """A page in the browser, and all that it complained of and asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def listen(self) -> None:
        def console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(message.text)

        def request(asked: Request) -> None:
            self.asked.add(asked.url)

        self.page.on("console", console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", request)


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Open a server's status page; the other arguments are those of a browser's context."""
    contexts = []

    def open_page(server: ServerProcess, **options: Any) -> Visit:
        context = browser.new_context(**options)
        contexts.append(context)
        made = Visit(context.new_page())
        made.listen()
        if options.get("java_script_enabled", True):
            made.page.clock.install()
        made.page.goto(server.url + "/")
        return made

    yield open_page
    for context in contexts:
        context.close()


def test_the_page_shows_the_squids_in_a_table_without_complaint(visit: Open, steady: ServerProcess) -> None:
    seen = visit(steady, viewport={"width": 1440, "height": 900})
    page = seen.page
    expect(page).to_have_title("Shoal: 10 squids")
    expect(page.get_by_role("rowheader")).to_have_count(10)
    row = page.get_by_role("row").filter(has_text="squid-01.cloud.uvic.example.org")
    for words in ("verified", "uvic, Victoria, CA", "192.0.2.1:3128", "CVMFS, Frontier"):
        expect(row).to_contain_text(words)
    expect(page.get_by_role("row").filter(has_text="vm-7f3a")).to_contain_text("connection refused")
    page.clock.run_for(11_000)
    expect(page.get_by_role("rowheader")).to_have_count(10)
    assert seen.complaints == []
    assert len(seen.asked) >= 4
    assert all(url.startswith(steady.url + "/") for url in seen.asked)


def test_a_squid_that_joins_appears_without_a_reload(visit: Open, server: ServerProcess) -> None:
    page = visit(server).page
    page.evaluate("window.loadedOnce = true")
    publish(amqp_url(server), beat(hostname="new.example.org", public_ip="192.0.2.9", uuid="new").encode())
    server.await_names(*(server.names("/all") | {"new.example.org"}), path="/all")
    page.clock.run_for(5_000)
    expect(page.get_by_role("rowheader", name="new.example.org")).to_be_visible()
    expect(page).to_have_title("Shoal: 11 squids")
    assert page.evaluate("window.loadedOnce") is True


def test_a_server_that_dies_is_told_and_one_that_comes_back_is_shown_again(
    visit: Open, server: ServerProcess
) -> None:
    page = visit(server).page
    notice = page.get_by_role("alert")
    expect(notice).to_have_count(0)
    server.kill()
    page.clock.run_for(5_000)
    expect(notice).to_contain_text("does not answer")
    expect(page.get_by_role("rowheader")).to_have_count(10)
    server.start()
    page.clock.run_for(5_000)
    expect(notice).to_have_count(0)


def test_a_server_that_hangs_is_told(visit: Open, server: ServerProcess) -> None:
    page = visit(server).page
    os.kill(server.pid, signal.SIGSTOP)
    page.clock.run_for(5_000)
    expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=12_000)
    server.resume()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_text_stands_out_from_its_background(visit: Open, steady: ServerProcess, scheme: str) -> None:
    page = visit(steady, viewport={"width": 1440, "height": 900}, color_scheme=scheme).page
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"status-{scheme}.png", full_page=True)
    assert page.evaluate(CONTRASTS) == {}


@pytest.mark.parametrize("width", [320, 390, 700, 1024])
def test_the_page_is_no_wider_than_the_screen(visit: Open, steady: ServerProcess, width: int) -> None:
    page = visit(steady, viewport=PHONE | {"width": width}).page
    if width == PHONE["width"]:
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "status-phone.png", full_page=True)
    assert page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]") == [width] * 2


def test_without_javascript_the_table_is_there(visit: Open, steady: ServerProcess) -> None:
    seen = visit(steady, java_script_enabled=False)
    expect(seen.page.get_by_role("rowheader")).to_have_count(10)
    assert seen.complaints == []
