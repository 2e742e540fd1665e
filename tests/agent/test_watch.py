"""When the cache is tested, and what its state becomes."""

import logging
import threading
from dataclasses import replace

import pytest

from shoal_agent.cache import Cache
from shoal_agent.counters import Access, Reading
from shoal_agent.health import Finding, HealthRules
from shoal_agent.watch import Pace, Watch
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from testbed.process import wait_until


def cache_at(port: int) -> Cache:
    bound = frozenset(["127.0.0.1"])
    return Cache(HostPort("127.0.0.1", port), CacheType.SQUID, Upstream.BOTH, "configured", bound)


class Script:
    """Findings to be given one after the other, the last one for ever; counts the tests."""

    def __init__(self, *findings: bool) -> None:
        self._findings = list(findings)
        self.tests = 0

    def examine(self, _: Cache) -> Finding:
        self.tests += 1
        good = self._findings.pop(0) if len(self._findings) > 1 else self._findings[0]
        return Finding(good, "as written")


def watch(script: Script, *, every: float = 3600, retry: float = 3600) -> Watch:
    rules, pace = HealthRules(rise=2, fall=2), Pace(every, retry, 3600)
    return Watch(cache_at(1), script.examine, rules, pace)


def test_the_first_look_tests() -> None:
    watched = watch(Script(True))
    watched.look()
    assert watched.seen.health.healthy is True


def test_a_settled_cache_is_not_tested_before_its_time() -> None:
    script = Script(True)
    watched = watch(script)
    for _ in range(3):
        watched.look()
    assert script.tests == 1


def test_a_contradicting_finding_is_checked_soon() -> None:
    script = Script(True, False)
    watched = watch(script, every=0, retry=3600)
    watched.look()
    watched.look()
    watched.look()
    assert script.tests == 2


def test_the_end_of_the_caches_port_is_a_reason_to_test_at_once() -> None:
    script = Script(True)
    watched = watch(script)
    watched.look()
    watched.follow(replace(cache_at(1), bound=frozenset()))
    watched.look()
    watched.look()
    assert script.tests == 2


def test_a_restart_of_the_cache_is_a_reason_to_test_at_once() -> None:
    script = Script(True)
    watched = watch(script)
    for pid in (7, 7, 8):
        watched.follow(replace(cache_at(1), pid=pid))
        watched.look()
    assert script.tests == 2


def test_what_changed_during_a_test_is_a_reason_for_another() -> None:
    tested: list[Cache] = []

    def examine(cache: Cache) -> Finding:
        tested.append(cache)
        watched.follow(cache_at(2))
        return Finding(True, "as it was")

    watched = Watch(cache_at(1), examine, HealthRules(2, 2), Pace(3600, 3600, 3600))
    for _ in range(3):
        watched.look()
    assert [cache.place.port for cache in tested] == [1, 2]


def test_a_change_wakes_the_watch() -> None:
    script = Script(True)
    stop = threading.Event()
    watched = watch(script)
    thread = threading.Thread(target=watched.run, args=(stop,))
    thread.start()
    wait_until(lambda: script.tests > 0)
    watched.follow(cache_at(2))
    wait_until(lambda: script.tests > 1, 3)
    watched.end()
    thread.join(3)
    assert not thread.is_alive()


def test_a_cache_found_elsewhere_starts_anew() -> None:
    watched = watch(Script(False, True))
    assert watched.test().healthy is False
    watched.follow(cache_at(2))
    assert watched.test().healthy is True
    assert watched.seen.cache.place.port == 2


def test_a_cache_that_ceases_or_begins_to_answer_is_tested_at_once() -> None:
    answers = [Access.OPEN, Access.DOWN, Access.DOWN, Access.DENIED, Access.OPEN]
    script = Script(True)
    pace = Pace(3600, 3600, 0)
    rules = HealthRules(2, 2)
    watched = Watch(
        cache_at(1), script.examine, rules, pace, lambda _: Reading(0.0, answers.pop(0), "as written")
    )
    counts = []
    watched.look()
    while answers:
        watched.look()
        counts.append(script.tests)
    assert counts == [1, 2, 2, 3, 3]


def test_a_change_of_state_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watched = watch(Script(True, True, False, False, False, True, True, True))
    for _ in range(8):
        watched.test()
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]


def test_it_ends_when_told_to() -> None:
    script = Script(True)
    stop = threading.Event()
    thread = threading.Thread(target=watch(script, retry=0.05).run, args=(stop,))
    thread.start()
    wait_until(lambda: script.tests > 0)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
