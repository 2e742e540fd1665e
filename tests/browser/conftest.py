"""A browser, pages in it, and the servers that it visits."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from shoal_common.hosts import HostPort
from shoal_server.web.serving import HttpServer
from testbed.process import ROOT, Missing
from tests.browser import world
from tests.fakes import NOW
from tests.server.site import Site

SCREENSHOTS = ROOT / "build" / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]
DESKTOP = {"width": 1440, "height": 900}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests of this process; where there is none they are skipped, or under CI=true fail."""
    path = next((path for name in NAMES if (path := shutil.which(name))), None)
    if path is None:
        reason = str(Missing("chromium", "chromium"))
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def serving(site: Site) -> Iterator[str]:
    """The site on a port of this machine; yields its URL."""
    server, stop = HttpServer(site.client.application, HostPort("127.0.0.1", 0)), threading.Event()
    thread = threading.Thread(target=server.serve, args=[stop])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="session")
def steady() -> Iterator[str]:
    """The URL of a server of forty squids whose clock stands still: for tests that only look at it."""
    with serving(world.site(world.squids(NOW), NOW)) as url:
        yield url


@pytest.fixture
def start() -> Iterator[Callable[[Site], str]]:
    """Serve a site of this test's own; returns its URL."""
    opened = []

    def serve(site: Site) -> str:
        opened.append(serving(site))
        return opened[-1].__enter__()

    yield serve
    for one in opened:
        one.__exit__(None, None, None)


@dataclass
class Visit:
    """A page in the browser, and all that it complained of and asked for."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def listen(self) -> None:
        def console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(message.text)

        def request(asked: Request) -> None:
            self.asked.append(asked.url)

        self.page.on("console", console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", request)

    def picture(self, name: str, *, whole: bool = False) -> None:
        """Keep what is seen as an artefact of the run."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole)


Visits = Callable[..., Visit]
Open = Callable[..., Page]


@pytest.fixture
def visits(browser: Browser) -> Iterator[Visits]:
    """Open a page of a server; the other arguments are those of a browser's context.

    Its time is the test's to let pass, but without `clock`. With `lossy` the page may complain that it
    cannot reach its server. Whatever a test does, a page asks nobody but its own server, and has nothing
    else to complain of.
    """
    contexts: list[BrowserContext] = []
    made: list[tuple[Visit, bool]] = []

    def open_page(
        url: str, path: str = "/", *, lossy: bool = False, clock: bool = True, **options: Any
    ) -> Visit:
        context = browser.new_context(**({"viewport": DESKTOP} | options))
        contexts.append(context)
        visit = Visit(context.new_page(), url)
        visit.listen()
        made.append((visit, lossy))
        if clock and options.get("java_script_enabled", True):
            visit.page.clock.install()
        visit.page.goto(url + path)
        return visit

    yield open_page
    for context in contexts:
        context.close()
    for visit, lossy in made:
        assert [asked for asked in visit.asked if not asked.startswith(visit.url + "/")] == []
        lost = [text for text in visit.complaints if lossy and text.startswith("Failed to load resource")]
        assert [text for text in visit.complaints if text not in lost] == []


@pytest.fixture
def visit(visits: Visits) -> Open:
    """As `visits`, for tests that need nothing but the page."""
    return lambda *args, **options: visits(*args, **options).page
