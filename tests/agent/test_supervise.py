"""The threads, the service manager, and the calls for help."""

import logging
import os
import smtplib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal_agent.cache import Cache, Wanted
from shoal_agent.finder import Finder
from shoal_agent.health import Health
from shoal_agent.supervise import Pulse, Threads
from shoal_agent.systemd import ServiceManager
from shoal_agent.trouble import Help, Trouble
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from testbed.ports import free_port

CACHE = Cache(HostPort("127.0.0.1", 3128), CacheType.SQUID, Upstream.BOTH, "configured")
GOOD, BAD = Health(healthy=True), Health(healthy=False, reason="it hangs")


class Manager:
    """Hears what systemd would."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self._socket.settimeout(5.0)

    def hear(self) -> str:
        return self._socket.recv(1024).decode()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Manager]]:
    path = str(tmp_path / "notify") if request.param == "path" else f"@shoal-{os.getpid()}-{id(request)}"
    made = Manager(path)
    yield path, made
    made.close()


def test_the_service_manager_hears_of_readiness_life_and_status(manager: tuple[str, Manager]) -> None:
    path, heard = manager
    told = ServiceManager({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"})
    told.ready()
    told.alive()
    told.status("fine\nreally")
    told.status("fine\nreally")
    told.stopping()
    assert [heard.hear() for _ in range(4)] == ["READY=1", "WATCHDOG=1", "STATUS=fine really", "STOPPING=1"]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nonexistent/socket"}])
def test_without_a_service_manager_nothing_is_said(environ: dict[str, str]) -> None:
    ServiceManager(environ).ready()


@pytest.mark.parametrize(("text", "seconds"), [("300000000", 300.0), ("0", None), ("x", None), ("", None)])
def test_the_watchdogs_time_is_read(text: str, seconds: float | None) -> None:
    assert ServiceManager({"WATCHDOG_USEC": text}).watchdog_seconds == seconds


def threads(watchdog: str = "") -> Threads:
    return Threads(threading.Event(), ServiceManager({"WATCHDOG_USEC": watchdog}))


def waits(event: threading.Event, seconds: float) -> Callable[[Pulse], None]:
    def task(_: Pulse) -> None:
        event.wait(seconds)

    return task


def test_a_thread_that_gives_no_sign_is_not_alive() -> None:
    made = threads("10000000")
    done = threading.Event()
    made.start("hangs", waits(done, 10))
    assert made.all_alive(made._pulses["hangs"] + 9.0)
    assert not made.all_alive(made._pulses["hangs"] + 11.0)
    done.set()
    assert made.oversee(made.start("ends", lambda _: None)) == 0


def test_the_end_of_any_thread_is_the_end_of_all() -> None:
    made = threads()
    waiting = made.start("waits", waits(made.stop, 10))
    made.start("ends", lambda _: None)
    assert made.oversee(waiting) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_crash_is_told_by_the_exit_code() -> None:
    def crash(_: Pulse) -> None:
        raise ArithmeticError

    made = threads()
    assert made.oversee(made.start("crashes", crash)) == 1


def test_the_turns_are_taken_while_the_threads_work() -> None:
    made = threads()
    turns: list[int] = []
    assert made.oversee(made.start("works", waits(made.stop, 0.4)), [lambda: turns.append(1)]) == 0
    assert turns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("shoal_agent.trouble.time.monotonic", lambda: now[0])
    return now


def calls(help_: Help, clock: list[float], *states: tuple[float, Health]) -> list[bool]:
    """Whether somebody was called at each of the times (seconds after the start)."""
    trouble, result, began = Trouble(help_, "sq1.example.org"), [], clock[0]
    for at, health in states:
        clock[0] = began + at
        thread = trouble.turn(CACHE, health)
        result.append(thread is not None)
        if thread is not None:
            thread.join(10)
    return result


COMMAND = Help(f"{sys.executable} -c pass")


def test_a_good_cache_that_turns_bad_calls_at_once_and_once_a_day(clock: list[float]) -> None:
    day = 86400.0
    times = [(0.0, GOOD), (1.0, BAD), (2.0, BAD), (3.0, GOOD), (4.0, BAD), (day, BAD), (day + 2.0, BAD)]
    assert calls(COMMAND, clock, *times) == [False, True, False, False, False, False, True]


def test_a_cache_that_was_never_good_is_given_ten_minutes(clock: list[float]) -> None:
    assert calls(COMMAND, clock, (0.0, BAD), (599.0, BAD), (600.0, BAD)) == [False, False, True]


def test_nobody_is_called_unless_somebody_is_named(clock: list[float]) -> None:
    assert calls(Help(), clock, (0.0, GOOD), (1.0, BAD)) == [False, False]


def test_the_command_learns_what_is_wrong(clock: list[float], tmp_path: Path) -> None:
    file = tmp_path / "said"
    code = (
        f"import os; open({str(file)!r}, 'w').write(os.environ['SHOAL_CACHE'] + os.environ['SHOAL_REASON'])"
    )
    calls(Help(f'{sys.executable} -c "{code}"'), clock, (0.0, GOOD), (1.0, BAD))
    assert file.read_text() == "127.0.0.1:3128it hangs"


@pytest.mark.parametrize(
    "command", ["/nonexistent/program", f"{sys.executable} -c 'import time; time.sleep(9)'"]
)
def test_a_command_that_fails_or_hangs_is_one_line_in_the_log(
    command: str, clock: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_agent.trouble.COMMAND_SECONDS", 0.2)
    calls(Help(command), clock, (0.0, GOOD), (1.0, BAD))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["on_unhealthy failed"]


def test_mail_is_sent(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Smtp:
        def __init__(self, *where: object, **_: object) -> None:
            sent.append(where)

        def __enter__(self) -> "Smtp":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def send_message(self, message: Any) -> None:
            sent.append((message["To"], message["From"], message.get_content().splitlines()[0]))

    monkeypatch.setattr(smtplib, "SMTP", Smtp)
    calls(Help("", ("ops@example.org",), HostPort("mail", 25)), clock, (0.0, GOOD), (1.0, BAD))
    told = "The squid at 127.0.0.1:3128 is bad: it hangs"
    assert sent == [("mail", 25), ("ops@example.org", "shoal-agent@sq1.example.org", told)]


def test_a_missing_mail_server_is_one_line_in_the_log(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    nowhere = Help("", ("ops@example.org",), HostPort("127.0.0.1", free_port()))
    calls(nowhere, clock, (0.0, GOOD), (1.0, BAD))
    assert ["mail to ops@example.org failed" in record.getMessage() for record in caplog.records] == [True]


def finder(*caches: Cache, ask: Callable[[Cache], Upstream | None] | None = None) -> Finder:
    left = list(caches)
    return Finder(Wanted(), ask, lambda _: left.pop(0))


def at(port: int, *bound: str, kind: CacheType = CacheType.SQUID, purpose: str = "configured") -> Cache:
    place = HostPort("127.0.0.1", port)
    return Cache(place, kind, Upstream.BOTH, "found", frozenset(bound), 7, None, purpose)


def test_while_no_cache_runs_it_is_awaited_where_it_was() -> None:
    find = finder(at(3128), at(3129, "::"), at(3128), at(3130, "::"))
    assert [find().place.port for _ in range(4)] == [3128, 3129, 3129, 3130]


def test_a_varnish_is_asked_for_its_purpose_until_it_tells() -> None:
    answers = [None, Upstream.FRONTIER]
    varnish = at(8080, "::", kind=CacheType.VARNISH, purpose="not known yet")
    find = finder(varnish, varnish, varnish, ask=lambda _: answers.pop(0))
    assert [find().upstream for _ in range(3)] == [Upstream.BOTH, Upstream.FRONTIER, Upstream.FRONTIER]
