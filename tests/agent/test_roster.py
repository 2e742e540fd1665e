"""Which caches there are, and which of them are those that were there before."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from shoal_agent.cache import Cache
from shoal_agent.gauge import Gauge
from shoal_agent.health import Finding, HealthRules
from shoal_agent.instance import Instance
from shoal_agent.purpose import Purpose
from shoal_agent.roster import FORGET_SECONDS, SEARCH_SECONDS, Roster, match
from shoal_agent.watch import Pace, Watch
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort


def at(port: int, pid: int | None = 7, kind: CacheType = CacheType.SQUID, bound: str = "0.0.0.0") -> Cache:
    place = HostPort("127.0.0.1", port)
    return Cache(place, kind, Upstream.BOTH, "found", frozenset([bound]), pid)


AWAITED = replace(at(3128, None), bound=frozenset(), source="no cache is running; this is its usual port")


def instance(cache: Cache) -> Instance:
    rules, pace = HealthRules(1, 1), Pace(60.0, 10.0, 15.0)
    return Instance(Watch(cache, lambda _: Finding(True, "fine"), rules, pace), Gauge(1.0))


class Vm:
    """What runs there, and how often it was searched for."""

    def __init__(self, *caches: Cache) -> None:
        self.caches: Sequence[Cache] = caches
        self.sockets = 0
        self.searches = 0
        self.roster = Roster(self.search, AWAITED, instance, lambda: self.sockets)

    def search(self) -> Sequence[Cache]:
        self.searches += 1
        return self.caches

    def become(self, *caches: Cache) -> None:
        """Other caches run now, and that has been noticed and tested."""
        self.caches = caches
        self.roster.search()
        for each in self.roster.instances:
            each.watch.look()

    @property
    def seen(self) -> dict[int, str]:
        """The uuid by port of all that run."""
        return {each.cache.place.port: each.uuid for each in self.roster.instances if each.cache.bound}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("shoal_agent.roster.time.monotonic", lambda: now[0])
    return now


def test_while_nothing_runs_one_cache_is_awaited_where_one_usually_is() -> None:
    vm = Vm()
    assert [each.cache for each in vm.roster.instances] == [AWAITED]
    vm.become()
    assert len(vm.roster.instances) == 1


def test_the_first_cache_is_the_one_that_was_awaited_wherever_it_starts() -> None:
    vm = Vm()
    (awaited,) = vm.roster.instances
    vm.become(at(6081, 9, CacheType.VARNISH))
    assert vm.seen == {6081: awaited.uuid}


def test_every_cache_has_a_uuid_of_its_own_that_it_keeps() -> None:
    vm = Vm(at(3128), at(3129, 8))
    before = {each.cache.place.port: each.uuid for each in vm.roster.instances}
    vm.become(at(3129, 8), at(3128))
    assert vm.seen == before
    assert len(set(before.values())) == 2


def test_a_cache_that_starts_later_is_a_new_one() -> None:
    vm = Vm(at(3128))
    (first,) = vm.roster.instances
    vm.become(at(3128), at(3129, 8))
    assert vm.seen[3128] == first.uuid
    assert len(vm.seen) == 2


def test_a_cache_that_stops_is_awaited_where_it_was_and_returns_with_its_uuid() -> None:
    vm = Vm(at(3128), at(3129, 8))
    second = vm.roster.instances[1]
    vm.become(at(3128))
    assert (second.cache.place.port, second.cache.bound) == (3129, frozenset())
    assert "no cache is running now" in second.cache.source
    vm.become(at(3128), at(3129, 99))
    assert vm.seen[3129] == second.uuid


def test_a_cache_that_returns_at_another_port_keeps_its_uuid() -> None:
    vm = Vm(at(3128), at(6081, 8, CacheType.VARNISH))
    first = vm.roster.instances[0]
    vm.become(at(6081, 8, CacheType.VARNISH))
    vm.become(at(6081, 8, CacheType.VARNISH), at(3199, 99))
    assert vm.seen[3199] == first.uuid


def test_a_process_that_was_configured_anew_is_the_same_cache() -> None:
    now, new = match([at(3128, 7), at(3129, 8)], [at(3130, 8), at(3131, 9), at(3128, 7)])
    assert [cache and cache.place.port for cache in now] == [3128, 3130]
    assert [cache.place.port for cache in new] == [3131]


def test_two_squids_on_one_port_are_told_apart_by_address() -> None:
    def bound_to(address: str, pid: int) -> Cache:
        return Cache(HostPort(address, 3128), CacheType.SQUID, Upstream.BOTH, "", frozenset([address]), pid)

    first, second = bound_to("10.1.2.3", 7), bound_to("10.1.2.4", 8)
    assert match([first, second], [second, first]) == ([first, second], [])


def test_a_cache_of_another_sort_is_never_the_same() -> None:
    varnish = at(3128, 7, CacheType.VARNISH)
    assert match([at(3128)], [varnish]) == ([None], [varnish])


def test_a_stopped_cache_is_forgotten_after_an_hour_if_others_run(clock: list[float]) -> None:
    vm = Vm(at(3128), at(3129, 8))
    vm.become(at(3128))
    clock[0] += FORGET_SECONDS - 1
    vm.become(at(3128))
    assert len(vm.roster.instances) == 2
    clock[0] += 1
    vm.become(at(3128))
    assert [each.cache.place.port for each in vm.roster.instances] == [3128]


def test_the_last_cache_is_never_forgotten(clock: list[float]) -> None:
    vm = Vm(at(3128))
    vm.become()
    clock[0] += 10 * FORGET_SECONDS
    vm.become()
    assert [each.cache.place.port for each in vm.roster.instances] == [3128]


def test_the_list_of_processes_is_read_only_when_sockets_changed_or_each_minute(clock: list[float]) -> None:
    vm = Vm(at(3128))
    counts = []
    for second in range(3):
        clock[0] += 5.0
        vm.sockets = second // 2
        vm.roster.turn()
        counts.append(vm.searches)
    clock[0] += SEARCH_SECONDS
    vm.roster.turn()
    assert [*counts, vm.searches] == [1, 1, 2, 3]


def test_a_varnish_is_asked_for_its_purpose_until_it_tells() -> None:
    answers = [None, Upstream.FRONTIER]
    asked = Purpose(lambda _: answers.pop(0))
    varnish = replace(at(8080, kind=CacheType.VARNISH), purpose="not known yet")
    assert [asked(varnish).upstream for _ in range(3)] == [
        Upstream.BOTH,
        Upstream.FRONTIER,
        Upstream.FRONTIER,
    ]


def test_another_varnish_at_the_same_port_is_asked_anew() -> None:
    answers = [Upstream.CVMFS, Upstream.FRONTIER]
    asked = Purpose(lambda _: answers.pop(0))
    varnish = replace(at(8080, kind=CacheType.VARNISH), purpose="not known yet")
    assert [asked(replace(varnish, pid=pid)).upstream for pid in (7, 8)] == [
        Upstream.CVMFS,
        Upstream.FRONTIER,
    ]
