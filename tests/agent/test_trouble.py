"""The calls for help: when, whom, how often."""

import logging
import smtplib
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from shoal_agent import parts
from shoal_agent.cache import Cache
from shoal_agent.duties import duties
from shoal_agent.gauge import Gauge
from shoal_agent.health import Finding, Health, HealthRules
from shoal_agent.instance import Instance
from shoal_agent.reminder import Reminder
from shoal_agent.settings import AgentSettings
from shoal_agent.supervise import Threads
from shoal_agent.systemd import ServiceManager
from shoal_agent.trouble import A_DAY, Help, Trouble
from shoal_agent.watch import Pace, Seen, Watch
from shoal_common.amqp import Broker, Tls
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from testbed.ports import free_port
from testbed.process import wait_until

GOOD, BAD = Health(healthy=True), Health(healthy=False, reason="it hangs")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("shoal_agent.trouble.time.monotonic", lambda: now[0])
    return now


class Stub(Instance):
    """A cache that is as it is told to be."""

    def __init__(self, health: Health, port: int = 3128) -> None:
        cache = Cache(HostPort("127.0.0.1", port), CacheType.SQUID, Upstream.BOTH, "configured")
        pace, rules = Pace(60.0, 10.0, 15.0), HealthRules(2, 3)
        super().__init__(Watch(cache, lambda _: Finding(True, "fine"), rules, pace), Gauge(1.0))
        self.become(health)

    def become(self, health: Health) -> None:
        self.watch.seen = Seen(self.watch.seen.cache, health)


def calls(
    help_: Help, clock: list[float], *states: tuple[float, Health], directory: Path | None = None
) -> list[bool]:
    """Whether somebody was called at each of the times (seconds after the start)."""
    trouble, result, began = Trouble(help_, "sq1.example.org", Reminder(directory)), [], clock[0]
    cache = Stub(GOOD)
    for at, health in states:
        clock[0] = began + at
        cache.become(health)
        thread = trouble.turn([cache])
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


def said(clock: list[float], directory: Path | None, file: Path) -> bool:
    """Whether an agent that starts now, and whose cache turns bad, runs its command."""
    file.unlink(missing_ok=True)
    command = f"{sys.executable} -c \"open({str(file)!r}, 'w')\""
    calls(Help(command), clock, (0.0, GOOD), (1.0, BAD), directory=directory)
    return file.exists()


def test_an_agent_that_starts_again_and_again_calls_once_a_day(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "said"
    assert [said(clock, tmp_path, file) for _ in range(3)] == [True, False, False]
    day_later = time.time() + A_DAY
    monkeypatch.setattr("shoal_agent.trouble.time.time", lambda: day_later)
    assert said(clock, tmp_path, file)


def test_the_day_goes_on_where_the_last_run_of_the_agent_left_it(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_agent.trouble.time.time", lambda: 1e9 + clock[0])
    Reminder(tmp_path).write(time.time() - A_DAY + 60.0)
    file = tmp_path / "said"
    command = f"{sys.executable} -c \"open({str(file)!r}, 'w')\""
    trouble, cache = Trouble(Help(command), "sq1.example.org", Reminder(tmp_path)), Stub(GOOD)
    trouble.turn([cache])
    cache.become(BAD)
    for at, called in ((1.0, False), (59.0, False), (62.0, True)):
        clock[0] = 1000.0 + at
        if thread := trouble.turn([cache]):
            thread.join(10)
        assert file.exists() is called


@pytest.mark.parametrize("text", ["", "soon", "9e15", "nan", "\xff"])
def test_a_reminder_that_cannot_be_read_is_none(clock: list[float], tmp_path: Path, text: str) -> None:
    (tmp_path / "called-for-help").write_text(text, encoding="latin-1")
    assert said(clock, tmp_path, tmp_path / "said")


def test_a_state_directory_that_cannot_be_used_is_one_line_in_the_log(
    clock: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(clock, tmp_path / "gone", tmp_path / "said")
    assert ["remembered until the agent's end only" in record.getMessage() for record in caplog.records] == [
        True
    ]


def test_of_several_caches_each_bad_one_is_named_in_one_mail(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    mails: list[str] = []
    monkeypatch.setattr("shoal_agent.trouble._mail", lambda *what: mails.append(what[2]))
    caches = [Stub(GOOD, 3128), Stub(GOOD, 3129), Stub(GOOD, 3130)]
    trouble = Trouble(Help("", ("ops@example.org",)), "sq1.example.org", Reminder(None))
    trouble.turn(caches)
    for cache in caches[1:]:
        cache.become(BAD)
    thread = trouble.turn(caches)
    assert thread is not None
    thread.join(10)
    assert mails == [
        "The squid at 127.0.0.1:3129 is bad: it hangs\nThe squid at 127.0.0.1:3130 is bad: it hangs"
    ]


@pytest.mark.parametrize("configured", [True, False])
def test_it_is_remembered_in_the_directory_that_systemd_or_the_operator_names(
    tmp_path: Path, configured: bool
) -> None:
    by_systemd, by_operator = tmp_path / "systemd", tmp_path / "operator"
    for directory in (by_systemd, by_operator):
        directory.mkdir()
    settings = AgentSettings(
        cache_port=free_port(),
        metadata_url=None,
        announce=False,
        on_unhealthy=f"{sys.executable} -c pass",
        state_directory=by_operator if configured else None,
    )
    made, threads = parts.make(settings), Threads(threading.Event(), ServiceManager({}))
    environ = {"STATE_DIRECTORY": f"{by_systemd}:/var/lib/another"}
    agent = made.agent(Broker.parse("amqp://broker/", Tls()))
    turns = duties(settings, made, agent, threads, environ)
    (instance,) = made.roster.instances
    for health in (GOOD, BAD):
        instance.watch.seen = Seen(instance.cache, health)
        for turn in turns:
            turn()
    used = by_operator if configured else by_systemd
    wait_until((used / "called-for-help").exists, 10, "the note of the call")
    assert len(list(tmp_path.rglob("called-for-help"))) == 1
