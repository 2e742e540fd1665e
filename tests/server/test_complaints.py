"""Log lines about what others cause are bounded, and what was left out is counted."""

import threading

import pytest

from shoal_server.intake import complaints
from shoal_server.intake.complaints import Complaints


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == complaints.log.name]


def test_so_many_lines_a_minute_are_logged_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    bounded = Complaints(3)
    for number in range(10):
        bounded.make("problem %d", number)
    assert said(caplog) == ["problem 0", "problem 1", "problem 2"]


def test_what_was_left_out_is_told_with_the_first_line_after(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complaints, "WINDOW_SECONDS", 0.0)
    bounded = Complaints(0)
    bounded.make("first")
    bounded.make("second")
    assert said(caplog) == ["1 more such problems were not logged"]


def test_each_who_complains_has_a_budget_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    for bounded in (Complaints(1), Complaints(1)):
        bounded.make("x")
    assert len(said(caplog)) == 2


def test_threads_together_get_no_more_lines_than_one(caplog: pytest.LogCaptureFixture) -> None:
    bounded = Complaints(50)

    def complain() -> None:
        for _ in range(500):
            bounded.make("x")

    threads = [threading.Thread(target=complain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said(caplog)) == 50
