"""The threads, and the service manager."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shoal_agent.supervise import Pulse, Threads
from shoal_agent.systemd import ServiceManager


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


def test_a_thread_that_may_end_leaves_the_others_at_work() -> None:
    made = threads("1000000")
    ended = made.start("ends", lambda _: None, may_end=True)
    ended.join(5)
    assert not made.stop.is_set()
    assert made.all_alive(1e12)
    made.fail()
    assert made.oversee(made.start("works", waits(made.stop, 5))) == 1


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
