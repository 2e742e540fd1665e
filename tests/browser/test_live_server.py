"""The status page of a real server: squids join and die, and so does the server."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.fakes import beat
from tests.server.process import ServerProcess, amqp_url, publish

PERIOD_MS = 5_000
SQUIDS = [f"squid-{n}.example.org" for n in range(6)]


def send(server: ServerProcess, *names: str) -> None:
    said = [
        beat(hostname=name, uuid=name, public_ip=f"192.0.2.{1 + SQUIDS.index(name)}", timestamp=time.time())
        for name in names
    ]
    publish(amqp_url(server), *(one.encode() for one in said))


@pytest.fixture
def server(new_directory: Callable[[str], Path]) -> Iterator[ServerProcess]:
    """A server that hears of five squids."""
    flags = ("--verify", "no", "--suspect-after", "2", "--dead-after", "4")
    with ServerProcess(new_directory("server"), *flags) as process:
        send(process, *SQUIDS[:5])
        process.await_names(*SQUIDS[:5], path="/all")
        yield process


def until(page: Page, step: Callable[[], None], there: Callable[[], bool]) -> None:
    """Let the page's time pass until it shows something."""
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline, page.locator("main").inner_text()
        step()
        page.clock.run_for(PERIOD_MS)


def rows(page: Page) -> int:
    return page.locator("tbody th").count()


def test_a_squid_that_joins_appears_and_one_that_dies_vanishes_without_a_reload(
    visit: Open, server: ServerProcess
) -> None:
    page = visit(server.url)
    page.evaluate("window.loadedOnce = true")
    until(page, lambda: send(server, *SQUIDS), lambda: rows(page) == 6)
    until(page, lambda: send(server, *SQUIDS[1:]), lambda: rows(page) == 5)
    expect(page.get_by_role("rowheader", name=SQUIDS[0])).to_have_count(0)
    expect(page).to_have_title("Shoal: 5 squids")
    assert page.evaluate("window.loadedOnce") is True


def test_a_server_that_dies_is_told_and_one_that_comes_back_is_shown_again(
    visit: Open, server: ServerProcess
) -> None:
    page = visit(server.url, lossy=True)
    shown = rows(page)
    notice = page.get_by_role("alert")
    expect(notice).to_have_count(0)
    server.kill()
    page.clock.run_for(PERIOD_MS)
    expect(notice).to_contain_text("has not answered since")
    assert rows(page) == shown
    server.start()
    page.clock.run_for(PERIOD_MS)
    expect(notice).to_have_count(0)


def test_a_server_that_hangs_is_told(visit: Open, server: ServerProcess) -> None:
    page = visit(server.url, lossy=True)
    os.kill(server.pid, signal.SIGSTOP)
    page.clock.run_for(PERIOD_MS)
    expect(page.get_by_role("alert")).to_contain_text("has not answered since", timeout=12_000)
    server.resume()
