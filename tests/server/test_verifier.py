"""What checks make of squids: the conclusions, and the verifier with real squids and a real origin."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shoal_common.heartbeat import AgentState, Upstream
from shoal_common.hosts import HostPort
from shoal_common.probe import Outcome, Service, Target, Verdict
from shoal_server.registry import EventKind, Registry
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules, Reach, Squid, Verification
from shoal_server.verifier import NO_SERVLET, CheckRules, Origins, Verifier, conclude
from testbed.origin import Fault, Origin
from testbed.process import wait_until
from tests.conftest import StartSquid
from tests.fakes import GOOD, NOW, FlakyStore, Places, beat

RULES = CheckRules(interval=300, retry=10, failures=3, timeout=5)
QUICK = CheckRules(timeout=1.0)
FRESH = Verification()
LOCAL = Verification(Reach.LOCAL, "refused", checked=NOW, due=NOW)
FAILED = Verification(Reach.FAILED, "did not answer", checked=NOW, due=NOW, failures=3)
MANIFEST = "/cvmfs/atlas.cern.ch/.cvmfspublished"
AGAINST = (Outcome.UNREACHABLE, Outcome.UPSTREAM, Outcome.WRONG)

# --- conclusions ------------------------------------------------------------------------------------


def after(before: Verification, outcome: Outcome | None, *, private_only: bool = False) -> Verification:
    verdict = Verdict(outcome, f"it was {outcome.value}", 0.1) if outcome else None
    return conclude(before, verdict, RULES, private_only=private_only, now=NOW + 300)


@pytest.mark.parametrize("before", [FRESH, GOOD, LOCAL, FAILED])
def test_one_object_delivered_makes_any_squid_good(before: Verification) -> None:
    assert after(before, Outcome.GOOD) == Verification(Reach.GLOBAL, "it was good", NOW + 300, NOW + 600)


@pytest.mark.parametrize("before", [FRESH, GOOD, LOCAL, FAILED])
def test_a_squid_that_refuses_us_is_local(before: Verification) -> None:
    assert after(before, Outcome.DENIED) == Verification(Reach.LOCAL, "it was denied", NOW + 300, NOW + 600)


@pytest.mark.parametrize("before", [GOOD, LOCAL, FAILED])
def test_where_no_origin_can_judge_nothing_changes_and_the_next_try_is_soon(before: Verification) -> None:
    result = after(before, None)
    assert (result.reach, result.reason, result.due) == (before.reach, before.reason, NOW + 310)


def test_what_was_found_out_outlasts_an_origins_outage() -> None:
    before = Verification(Reach.GLOBAL, "served", NOW, NOW, failures=2, lacks=("frontier",))
    result = after(before, None)
    assert (result.failures, result.lacks) == (2, ("frontier",))


def test_a_squid_that_nobody_can_judge_stays_unverified_and_says_why() -> None:
    result = after(FRESH, None)
    assert (result.reach, result.checked) == (Reach.UNVERIFIED, NOW + 300)
    assert result.reason == "no origin could be reached to check it by"


@pytest.mark.parametrize("outcome", AGAINST)
def test_a_squid_that_never_was_good_fails_at_once(outcome: Outcome) -> None:
    result = after(FRESH, outcome)
    assert (result.reach, result.failures, result.reason) == (Reach.FAILED, 1, f"it was {outcome.value}")


@pytest.mark.parametrize("outcome", AGAINST)
@pytest.mark.parametrize("before", [GOOD, LOCAL])
def test_a_good_squid_fails_at_the_third_failure_in_a_row(before: Verification, outcome: Outcome) -> None:
    states = [before]
    for _ in range(3):
        states.append(after(states[-1], outcome))
    assert [state.reach for state in states[1:]] == [before.reach, before.reach, Reach.FAILED]
    assert [state.failures for state in states[1:]] == [1, 2, 3]


def test_a_success_between_failures_starts_the_count_anew() -> None:
    state = after(after(after(GOOD, Outcome.UPSTREAM), Outcome.GOOD), Outcome.UPSTREAM)
    assert (state.reach, state.failures) == (Reach.GLOBAL, 1)


def test_a_failing_squid_is_tried_ever_more_rarely_but_never_given_up() -> None:
    state, waits = FRESH, []
    for _ in range(8):
        state = after(state, Outcome.UNREACHABLE)
        waits.append(state.due - (NOW + 300))
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_after_a_thousand_failures_the_next_try_still_has_a_time() -> None:
    state = after(Verification(Reach.FAILED, "gone", NOW, NOW, failures=5000), Outcome.UNREACHABLE)
    assert state.due == NOW + 600


@pytest.mark.parametrize("before", [FRESH, LOCAL])
def test_a_private_squid_that_we_cannot_reach_may_serve_its_own_site(before: Verification) -> None:
    assert after(before, Outcome.UNREACHABLE, private_only=True).reach is Reach.LOCAL


@pytest.mark.parametrize("outcome", [Outcome.UPSTREAM, Outcome.WRONG])
def test_a_private_squid_that_we_reach_is_judged_like_any_other(outcome: Outcome) -> None:
    assert after(FRESH, outcome, private_only=True).reach is Reach.FAILED


def test_a_private_squid_that_we_could_reach_once_is_judged_like_any_other() -> None:
    state = GOOD
    for _ in range(3):
        state = after(state, Outcome.UNREACHABLE, private_only=True)
    assert state.reach is Reach.FAILED


# --- a verifier over parts of the test's own --------------------------------------------------------


class Stage:
    """A verifier over a store; squids are looked up as they are now."""

    def __init__(
        self, *urls: str, frontier: tuple[str, ...] = (), rules: CheckRules = QUICK, **more: Any
    ) -> None:
        self.store: FlakyStore = more.pop("store", FlakyStore())
        self.registry = Registry(self.store, LivenessRules())
        self.keeper = SnapshotKeeper(self.registry, Places())
        origins = Origins(
            cvmfs=tuple(Target.cvmfs(url + MANIFEST) for url in urls),
            frontier=tuple(Target.frontier(url + "/atlr") for url in frontier),
        )
        self.verifier = Verifier(self.keeper, self.registry, origins, rules, workers=4, **more)

    def hear(self, port: int, address: str = "127.0.0.1", **more: Any) -> str:
        """A heartbeat from that squid; returns its id."""
        self.registry.hear(
            [beat(uuid=f"u{address}-{port}", public_ip=address, port=port, **more)], time.time()
        )
        return f"{address}:{port}"

    def squid(self, squid_id: str) -> Squid:
        return self.store.get([squid_id])[squid_id]

    def check(self, squid_id: str) -> Verification:
        self.verifier.check(self.squid(squid_id))
        return self.squid(squid_id).verification

    def reach(self, squid_id: str) -> Reach:
        return self.squid(squid_id).verification.reach

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=loop.run, args=[stop]) for loop in (self.keeper, self.verifier)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(5.0)


class Oracle:
    """A probe that says what it is told to; `calls` are the proxies it was asked for."""

    def __init__(self, outcome: Outcome = Outcome.GOOD) -> None:
        self.outcome = outcome
        self.calls: list[HostPort | None] = []
        self.before: Callable[[HostPort | None], None] = lambda proxy: None

    def __call__(
        self, proxy: HostPort | None, target: Target, *, timeout: float, fresh: bool = False
    ) -> Verdict:
        self.calls.append(proxy)
        self.before(proxy)
        return Verdict(self.outcome if proxy else Outcome.GOOD, "so says the oracle", 0.0)


def test_checks_are_counted_by_what_they_found() -> None:
    oracle = Oracle()
    stage = Stage("http://origin.test", probe=oracle)
    key = stage.hear(3128)
    for oracle.outcome in (Outcome.GOOD, Outcome.GOOD, Outcome.DENIED, Outcome.UNREACHABLE):
        stage.check(key)
    assert stage.verifier.counts == {"good": 2, "denied": 1, "unreachable": 1}


def test_a_check_that_no_origin_could_be_used_for_is_counted_as_unjudged() -> None:
    stage = Stage("http://origin.test", probe=lambda *_, **__: Verdict(Outcome.UNREACHABLE, "down", 0.0))
    stage.check(stage.hear(3128))
    assert stage.verifier.counts == {"unjudged": 1}


# --- real squids ------------------------------------------------------------------------------------


def test_a_squid_that_joins_is_verified_by_itself(start_squid: StartSquid, origin: Origin) -> None:
    squid, stage = start_squid(), Stage(origin.url, rules=CheckRules())
    with stage.running():
        key = stage.hear(squid.port)
        wait_until(lambda: stage.reach(key) is Reach.GLOBAL, 5.0, "the squid is verified")
    assert stage.store.events(1)[0].kind is EventKind.VERIFIED
    assert any(request.via for request in origin.requests)


def test_a_check_tests_the_squids_way_to_the_origin_each_time(
    start_squid: StartSquid, origin: Origin
) -> None:
    squid, stage = start_squid(), Stage(origin.url)
    key = stage.hear(squid.port)
    assert [stage.check(key).reach, stage.check(key).reach] == [Reach.GLOBAL, Reach.GLOBAL]
    assert origin.count(MANIFEST) == 2


@pytest.mark.parametrize(
    "fault", [Fault.DOWN, Fault.ERROR, Fault.FORBIDDEN, Fault.SLOW, Fault.CAPTIVE, Fault.FOREIGN]
)
@pytest.mark.parametrize("before", [FRESH, GOOD])
def test_a_broken_origin_changes_no_squids_state(
    start_squid: StartSquid, origin: Origin, fault: Fault, before: Verification
) -> None:
    squid, stage = start_squid(), Stage(origin.url, rules=CheckRules(timeout=0.5))
    key = stage.hear(squid.port)
    stage.store.put_verification(key, before, [])
    origin.set_fault(fault)
    for _ in range(4):
        assert stage.check(key).reach is before.reach
    assert stage.store.events(1)[0].kind is EventKind.JOINED


def test_an_origin_that_refuses_connections_changes_no_squids_state(
    start_squid: StartSquid, origin: Origin
) -> None:
    squid, stage = start_squid(), Stage(origin.url)
    key = stage.hear(squid.port)
    assert stage.check(key).reach is Reach.GLOBAL
    origin.stop()
    assert stage.check(key).reach is Reach.GLOBAL
    origin.start()


def test_one_origin_of_two_is_enough(start_squid: StartSquid, origin: Origin) -> None:
    squid = start_squid()
    with Origin() as broken:
        broken.set_fault(Fault.FORBIDDEN)
        stage = Stage(broken.url, origin.url)
        key = stage.hear(squid.port)
        assert {stage.check(key).reach for _ in range(6)} == {Reach.GLOBAL}


def test_a_squid_that_refuses_us_is_found_to_be_local(start_squid: StartSquid, origin: Origin) -> None:
    squid, stage = start_squid(clients=("192.0.2.0/24",)), Stage(origin.url)
    found = stage.check(stage.hear(squid.port))
    assert found.reach is Reach.LOCAL
    assert "ERR_ACCESS_DENIED" in found.reason


def test_a_squid_that_may_go_to_one_of_the_origins_alone_is_good(
    start_squid: StartSquid, origin: Origin
) -> None:
    squid = start_squid(origins=("127.0.0.1",))
    elsewhere = origin.url.replace("127.0.0.1", "localhost")
    stage = Stage(origin.url, elsewhere)
    key = stage.hear(squid.port)
    assert {stage.check(key).reach for _ in range(6)} == {Reach.GLOBAL}


def test_a_squid_that_dies_stays_listed_for_two_failures_and_comes_back_by_itself(
    start_squid: StartSquid, origin: Origin
) -> None:
    squid, stage = start_squid(), Stage(origin.url)
    key = stage.hear(squid.port)
    stage.check(key)
    squid.kill()
    assert [stage.check(key).reach for _ in range(3)] == [Reach.GLOBAL, Reach.GLOBAL, Reach.FAILED]
    squid.start()
    assert stage.check(key).reach is Reach.GLOBAL
    kinds = [event.kind for event in stage.store.events(10)]
    assert kinds == [EventKind.VERIFIED, EventKind.FAILED, EventKind.VERIFIED, EventKind.JOINED]


def test_a_squid_that_hangs_fails_within_the_time_of_a_fetch(start_squid: StartSquid, origin: Origin) -> None:
    squid, stage = start_squid(), Stage(origin.url, rules=CheckRules(timeout=0.3))
    key = stage.hear(squid.port)
    squid.pause()
    try:
        found = stage.check(key)
    finally:
        squid.resume()
    assert found.reach is Reach.FAILED
    assert "did not answer within 0.3 s" in found.reason


def test_the_origin_itself_is_no_squid(origin: Origin) -> None:
    stage = Stage(origin.url)
    found = stage.check(stage.hear(origin.port))
    assert (found.reach, "no sign of a cache" in found.reason) == (Reach.FAILED, True)


def test_a_proxy_that_answers_with_something_else_fails(origin: Origin) -> None:
    class Liar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Via", "1.1 liar (squid/5.7)")
            self.end_headers()
            self.wfile.write(b"<html>Please log in</html>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as liar:
        thread = threading.Thread(target=liar.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        stage = Stage(origin.url)
        found = stage.check(stage.hear(liar.server_port))
        liar.shutdown()
        thread.join()
    assert (found.reach, found.reason) == (
        Reach.FAILED,
        "the answer is no .cvmfspublished of atlas.cern.ch",
    )


def test_a_frontier_cache_is_tried_with_a_frontier_query(start_squid: StartSquid, origin: Origin) -> None:
    squid, stage = start_squid(), Stage(origin.url, frontier=(origin.url,))
    found = stage.check(stage.hear(squid.port, upstream=Upstream.FRONTIER))
    assert found.reach is Reach.GLOBAL
    assert [request.path.partition("type=")[0] for request in origin.requests] == ["/atlr/Frontier/"]


def test_a_cache_for_both_that_fails_frontier_is_good_for_cvmfs_alone(
    start_squid: StartSquid, origin: Origin
) -> None:
    squid = start_squid(extra=["acl servlet urlpath_regex ^/atlr", "http_access deny servlet"])
    stage = Stage(origin.url, frontier=(origin.url,))
    found = stage.check(stage.hear(squid.port))
    assert (found.reach, found.lacks) == (Reach.GLOBAL, ("frontier",))
    assert "not frontier: refused with 403" in found.reason


def test_a_cache_for_both_is_good_for_both_if_it_delivers_both(
    start_squid: StartSquid, origin: Origin
) -> None:
    squid, stage = start_squid(), Stage(origin.url, frontier=(origin.url,))
    found = stage.check(stage.hear(squid.port))
    assert (found.reach, found.lacks) == (Reach.GLOBAL, ())


def judged(before: Verification, frontier: Outcome | None, cvmfs: Outcome) -> Verification:
    """What a check makes of a squid for both services; `frontier` None: its origin is down."""

    def probe(proxy: HostPort | None, target: Target, **_: Any) -> Verdict:
        servlet = target.service is Service.FRONTIER
        outcome = (frontier or Outcome.UNREACHABLE) if servlet else cvmfs
        return Verdict(outcome if proxy or (servlet and not frontier) else Outcome.GOOD, "seen", 0.0)

    stage = Stage("http://origin.test", frontier=("http://servlet.test",), probe=probe)
    key = stage.hear(3128)
    stage.store.put_verification(key, before, [])
    return stage.check(key)


LACKING = Verification(Reach.GLOBAL, "served; not frontier: refused", NOW, NOW, lacks=("frontier",))


@pytest.mark.parametrize(
    ("frontier", "cvmfs", "lacks"),
    [
        (None, Outcome.GOOD, ("frontier",)),
        (Outcome.UPSTREAM, Outcome.UPSTREAM, ("frontier",)),
        (Outcome.GOOD, Outcome.GOOD, ()),
        (Outcome.GOOD, Outcome.UPSTREAM, ("cvmfs",)),
    ],
)
def test_a_service_that_a_squid_did_not_deliver_is_lacking_until_it_does(
    frontier: Outcome | None, cvmfs: Outcome, lacks: tuple[str, ...]
) -> None:
    assert judged(LACKING, frontier, cvmfs).lacks == lacks


def test_a_service_that_cannot_be_judged_now_is_lacking_for_the_reason_that_it_was_before() -> None:
    found = judged(LACKING, None, Outcome.GOOD)
    assert found.reason == "seen; not frontier: it did not before, and its origin cannot be reached now"
    assert judged(GOOD, None, Outcome.GOOD).lacks == ()


def test_a_frontier_cache_without_a_servlet_to_try_it_by_stays_unverified_and_says_why() -> None:
    stage = Stage("http://127.0.0.1:1")
    found = stage.check(stage.hear(1, upstream=Upstream.FRONTIER))
    assert (found.reach, found.reason) == (Reach.UNVERIFIED, NO_SERVLET)


def test_a_cache_that_nothing_can_be_fetched_for_is_looked_at_as_rarely_as_a_good_one() -> None:
    stage = Stage("http://127.0.0.1:1", rules=RULES)
    found = stage.check(stage.hear(1, upstream=Upstream.FRONTIER))
    assert found.checked is not None
    assert found.due - found.checked >= 0.9 * RULES.interval


# --- which and when ---------------------------------------------------------------------------------


def test_a_check_that_is_not_due_is_not_made() -> None:
    oracle = Oracle()
    stage = Stage("http://origin.test", probe=oracle)
    key = stage.hear(3128)
    later = Verification(Reach.GLOBAL, "served", time.time(), time.time() + 300)
    stage.store.put_verification(key, later, [])
    with stage.running():
        other = stage.hear(3129)
        wait_until(lambda: stage.reach(other) is Reach.GLOBAL, 5.0, "the other squid is verified")
    assert {proxy.port for proxy in oracle.calls if proxy} == {3129}


class Hanging(Oracle):
    """Squids of 198.51.100.0/24 keep whoever tries them waiting until `release` lets one go."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Semaphore(0)
        self.before = self._wait

    def _wait(self, proxy: HostPort | None) -> None:
        if proxy and proxy.host.startswith("198.51.100."):
            self.release.acquire(timeout=30.0)

    @property
    def held(self) -> int:
        """How many were tried that hang."""
        return sum(1 for proxy in self.calls if proxy and proxy.host.startswith("198.51.100."))


def hanging(stage: Stage, before: Verification) -> None:
    """Twenty squids that hang, of whom this was found before."""
    for number in range(20):
        key = stage.hear(3128, f"198.51.100.{number}")
        stage.store.put_verification(key, before, [])


@pytest.mark.parametrize("before", [FRESH, FAILED])
def test_squids_that_do_not_answer_do_not_hold_up_the_check_of_one_that_was_good(
    before: Verification,
) -> None:
    oracle = Hanging()
    stage = Stage("http://origin.test", probe=oracle)
    hanging(stage, before)
    key = stage.hear(3128)
    stage.store.put_verification(key, GOOD, [])
    with stage.running():
        wait_until(lambda: oracle.held == 4, 5.0, "all workers of their lane are busy")
        wait_until(lambda: stage.squid(key).verification != GOOD, 5.0, "the other is checked")
        oracle.release.release(20)


def test_squids_that_failed_before_do_not_hold_up_one_that_joins() -> None:
    oracle = Hanging()
    stage = Stage("http://origin.test", probe=oracle)
    hanging(stage, FAILED)
    with stage.running():
        wait_until(lambda: oracle.held == 4, 5.0, "all workers of their lane are busy")
        key = stage.hear(3128)
        wait_until(lambda: stage.reach(key) is Reach.GLOBAL, 5.0, "the other is checked")
        oracle.release.release(20)


def test_of_squids_that_were_never_checked_the_one_that_joined_last_is_next() -> None:
    oracle = Hanging()
    stage = Stage("http://origin.test", probe=oracle)
    hanging(stage, FRESH)
    with stage.running():
        wait_until(lambda: oracle.held == 4, 5.0, "all workers of their lane are busy")
        key = stage.hear(3128)
        wait_until(
            lambda: key in {listed.squid.id for listed in stage.keeper.current.listed}, 5.0, "it is seen"
        )
        stage.verifier.queue_due(time.time())
        oracle.release.release()
        wait_until(lambda: stage.reach(key) is Reach.GLOBAL, 5.0, "it is checked")
        assert oracle.held < 8
        oracle.release.release(20)


def test_checks_made_together_are_spread_afterwards() -> None:
    stage = Stage("http://origin.test", probe=Oracle(), rules=CheckRules(interval=300))
    waits = []
    for port in range(1, 41):
        check = stage.check(stage.hear(port))
        waits.append(check.due - (check.checked or 0.0))
    assert all(269 <= wait <= 300 for wait in waits)
    assert max(waits) - min(waits) > 5


def test_of_two_servers_one_checks_a_squid() -> None:
    store, oracle = FlakyStore(), Oracle()
    one, two = (Stage("http://origin.test", store=store, probe=oracle) for _ in range(2))
    with one.running(), two.running():
        keys = [one.hear(port) for port in range(1, 21)]
        wait_until(lambda: all(one.reach(key) is Reach.GLOBAL for key in keys), 10.0, "all are verified")
    assert len(oracle.calls) == 20


def test_a_squid_that_left_and_came_back_is_checked_without_delay() -> None:
    stage = Stage("http://origin.test", probe=Oracle(), rules=CheckRules(timeout=60))
    with stage.running():
        key = stage.hear(3128)
        wait_until(lambda: stage.reach(key) is Reach.GLOBAL, 5.0, "the squid is verified")
        stage.hear(3128, state=AgentState.LEAVING)
        stage.hear(3128)
        wait_until(lambda: stage.reach(key) is Reach.GLOBAL, 5.0, "the squid is verified again")


def test_a_defect_met_by_one_squid_ends_no_check_of_the_others() -> None:
    oracle = Oracle()

    def stumble(proxy: HostPort | None) -> None:
        if proxy and proxy.port <= 8:
            raise ZeroDivisionError

    oracle.before = stumble
    stage = Stage("http://origin.test", probe=oracle)
    with stage.running():
        keys = [stage.hear(port) for port in range(1, 17)]
        wait_until(lambda: all(stage.reach(key) is Reach.GLOBAL for key in keys[8:]), 5.0, "the others")
    assert {stage.reach(key) for key in keys[:8]} == {Reach.UNVERIFIED}


def test_a_slow_squid_holds_up_no_other() -> None:
    oracle, released = Oracle(), threading.Event()

    def wait(proxy: HostPort | None) -> None:
        if proxy and proxy.port <= 3:
            released.wait(20.0)

    oracle.before = wait
    stage = Stage("http://origin.test", probe=oracle)
    try:
        with stage.running():
            keys = [stage.hear(port) for port in range(1, 11)]
            wait_until(lambda: all(stage.reach(key) is Reach.GLOBAL for key in keys[3:]), 5.0, "the others")
            assert {stage.reach(key) for key in keys[:3]} == {Reach.UNVERIFIED}
    finally:
        released.set()


def test_a_store_that_is_away_puts_checks_off_and_no_more() -> None:
    oracle = Oracle()
    stage = Stage("http://origin.test", probe=oracle, rules=CheckRules(timeout=0.1))

    def break_store(proxy: HostPort | None) -> None:
        stage.store.away = len(oracle.calls) == 1

    oracle.before = break_store
    key = stage.hear(3128)
    with stage.running():
        wait_until(lambda: stage.store.away, 5.0, "a check was begun")
        stage.store.away = False
        wait_until(lambda: stage.reach(key) is Reach.GLOBAL, 5.0, "the squid is verified")


def test_an_overdue_squid_is_tried_before_its_turn() -> None:
    oracle = Oracle(Outcome.UNREACHABLE)
    stage = Stage("http://origin.test", probe=oracle)
    key = stage.hear(3128)
    now = time.time()
    silent = stage.squid(key)
    stage.store.put([Squid(silent.beat, now - 900, now - 100, silent.load)], [], [])
    stage.store.put_verification(key, Verification(Reach.GLOBAL, "served", now - 150, now + 150), [])
    with stage.running():
        wait_until(lambda: stage.squid(key).verification.failures == 1, 5.0, "it was tried")
