"""What server processes say of themselves, joined."""

import threading
from types import SimpleNamespace

import pytest

from shoal_common.errors import Unavailable
from shoal_server import reports
from shoal_server.reports import BELIEVED_SECONDS, Report, Reporter
from tests.fakes import NOW


class Shelf:
    """Where reports are kept; `away` and `takes` are the test's to switch."""

    def __init__(self) -> None:
        self.kept: dict[str, Report] = {}
        self.away = False
        self.takes = True

    def now(self) -> float:
        return NOW

    def put_report(self, report: Report) -> None:
        if self.away or not self.takes:
            raise Unavailable("away")
        self.kept[report.server] = report

    def reports(self) -> list[Report]:
        if self.away:
            raise Unavailable("away")
        return list(self.kept.values())


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def web(shelf: Shelf) -> Reporter:
    """A process that only answers."""
    return Reporter(shelf, lambda now: Report("web", now))


def test_a_process_that_only_answers_speaks_for_one_that_hears(shelf: Shelf) -> None:
    shelf.put_report(Report("intake", NOW, connected=True, held=True, heartbeats={"accepted": 3}))
    reporter = web(shelf)
    assert (reporter.connected, reporter.held) == (False, False)
    reporter.exchange(NOW)
    assert (reporter.connected, reporter.held, reporter.heartbeats) == (True, True, {"accepted": 3})


def test_every_process_reports(shelf: Shelf) -> None:
    web(shelf).exchange(NOW)
    assert set(shelf.kept) == {"web"}


def test_a_process_does_not_count_its_own_report_twice(shelf: Shelf) -> None:
    reporter = Reporter(shelf, lambda now: Report("one", now, heartbeats={"accepted": 3}))
    reporter.exchange(NOW)
    reporter.exchange(NOW)
    assert reporter.heartbeats == {"accepted": 3}
    assert [report.server for report in reporter.all] == ["one"]


def test_a_process_that_has_died_is_not_believed(shelf: Shelf) -> None:
    shelf.put_report(Report("intake", NOW, connected=True))
    reporter = web(shelf)
    reporter.exchange(NOW + BELIEVED_SECONDS)
    assert not reporter.connected


def test_while_the_store_is_away_the_last_reports_count(shelf: Shelf) -> None:
    shelf.put_report(Report("intake", NOW, connected=True))
    reporter = web(shelf)
    reporter.exchange(NOW)
    shelf.away = True
    reporter.exchange(NOW + 60)
    assert reporter.connected


def test_a_store_that_answers_and_takes_no_reports_makes_all_deaf(shelf: Shelf) -> None:
    shelf.put_report(Report("intake", NOW, connected=True))
    reporter = web(shelf)
    reporter.exchange(NOW)
    shelf.takes = False
    reporter.exchange(NOW + BELIEVED_SECONDS)
    assert not reporter.connected


def test_when_the_store_last_took_a_report_is_known(shelf: Shelf) -> None:
    reporter = web(shelf)
    reporter.exchange(NOW)
    shelf.away = True
    reporter.exchange(NOW + 60)
    assert reporter.written == NOW


def test_a_clockwork_that_runs_late_is_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "REPORT_SECONDS", 0.01)
    ticks = iter([100.0, 100.01 + 0.75, 200.0])
    monkeypatch.setattr(reports, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    stop, reporter = Twice(), web(shelf)
    reporter.run(stop)
    assert reporter.all[-1].late_seconds == pytest.approx(0.75)


class Twice(threading.Event):
    """An event that is set at the second wait."""

    waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        if self.waits == 2:
            self.set()
        return self.is_set()
