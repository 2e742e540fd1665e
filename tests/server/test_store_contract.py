"""The contract of a store, sentence by sentence, held by the one in memory, by Redis and by its cluster."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState, CacheType, Upstream
from shoal_server.registry import MAX_EVENTS, Event, EventKind, Registry, Store
from shoal_server.squid import LivenessRules, Reach, Verification
from shoal_server.stores.memory import MemoryStore
from shoal_server.stores.redis import RedisStore
from shoal_server.stores.redis_url import connect
from testbed.process import wait_until
from testbed.redis import Redis, RedisCluster
from tests.conftest import need
from tests.fakes import GOOD, NOW, beat, squid, squids_of

ID = "192.0.2.1:3128"
OTHER = {"uuid": "other", "public_ip": "198.51.100.9"}
OTHER_ID = "198.51.100.9:3128"
JOINED = Event(NOW, EventKind.JOINED, ID, "sq1.example.org")
FRESH = Verification()


@pytest.fixture(scope="session")
def redis_cluster(services_directory: Path) -> Iterator[RedisCluster]:
    """One cluster for all tests of this process."""
    need(Redis)
    with RedisCluster(services_directory / "cluster") as cluster:
        yield cluster


@pytest.fixture(params=["memory", "redis", "cluster", "cluster of RESP2"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param.startswith("cluster"):
        cluster = request.getfixturevalue("redis_cluster")
        cluster.clear()
        protocol = 2 if request.param.endswith("2") else 3
        with connect(f"{cluster.url}?protocol={protocol}") as client:
            yield RedisStore(lambda: client)
        return
    with redis.Redis.from_url(request.getfixturevalue("redis_url"), decode_responses=True) as client:
        yield RedisStore(lambda: client)


@pytest.fixture
def shared(redis_url: str) -> Iterator[tuple[RedisStore, RedisStore]]:
    """The stores of two servers on one Redis."""
    with (
        redis.Redis.from_url(redis_url, decode_responses=True) as one,
        redis.Redis.from_url(redis_url, decode_responses=True) as two,
    ):
        yield RedisStore(lambda: one), RedisStore(lambda: two)


def events_of(store: Store, count: int) -> list[Event]:
    """The newest events that a store has written, newest first."""
    if isinstance(store, MemoryStore):
        return [event for _, event in reversed(store.log.entries())][:count]
    assert isinstance(store, RedisStore)
    found = [fields for _, fields in store._redis.xrevrange("{shoal}:events", count=count)]
    return [Event(float(e["at"]), EventKind(e["kind"]), e["id"], e["detail"]) for e in found]


# --- what is put ------------------------------------------------------------------------------------


def test_a_new_store_is_empty(store: Store) -> None:
    assert (squids_of(store), events_of(store, 10), dict(store.get([ID])), dict(store.ids_of(["u"]))) == (
        [],
        [],
        {},
        {},
    )


def test_a_squid_comes_back_as_it_was_put(store: Store) -> None:
    whole = replace(
        squid(
            FRESH,
            private_ip="10.0.0.1",
            external_ip="192.0.2.77",
            ipv6="2001:db8::1",
            cache_type=CacheType.VARNISH,
            upstream=Upstream.FRONTIER,
            state=AgentState.DRAINING,
            interval=30.0,
            agent="shoal-2.0.0",
        ),
        created=NOW - 86400.25,
        load=12.345678901,
    )
    store.put([whole], [], [])
    assert squids_of(store) == [whole]
    assert store.get([whole.id, "unknown"]) == {whole.id: whole}


def test_a_squid_that_says_little_comes_back_as_it_was_put(store: Store) -> None:
    little = squid(FRESH, public_ip=None, private_ip="10.0.0.1", max_load=None)
    store.put([little], [], [])
    assert squids_of(store) == [little]


def test_a_later_put_replaces_what_was_heard_before(store: Store) -> None:
    store.put([squid(FRESH)], [], [])
    later = replace(squid(FRESH, load=7.0), seen=NOW + 30)
    store.put([later], [], [])
    assert squids_of(store) == [later]


def test_put_removes_those_that_are_gone_with_all_they_had(store: Store) -> None:
    store.put([squid(FRESH), squid(FRESH, **OTHER)], [], [])
    store.put_verification(ID, GOOD, [])
    store.put([], [ID, "unknown"], [])
    assert [one.id for one in squids_of(store)] == [OTHER_ID]
    store.put([squid(FRESH)], [], [])
    assert store.get([ID])[ID].verification == FRESH


def test_an_id_that_is_both_gone_and_heard_stays_without_its_verification(store: Store) -> None:
    store.put([squid(FRESH)], [], [])
    store.put_verification(ID, GOOD, [])
    store.put([squid(GOOD)], [ID], [])
    assert [one.verification for one in squids_of(store)] == [FRESH]


def test_what_the_next_heartbeat_is_judged_by_is_recalled_as_it_was_put(store: Store) -> None:
    put = replace(
        squid(FRESH, state=AgentState.DRAINING, max_load=5e4),
        created=NOW - 9,
        load=7.25,
        pressure=0.5,
        takes=0.25,
        other_seen=NOW - 5,
        drains_said=NOW - 4,
    )
    store.put([put], [], [])
    ((key, past),) = store.recall([ID, "unknown"]).items()
    assert (key, past.beat.uuid, past.beat.hostname, past.beat.timestamp, past.beat.state) == (
        *(ID, put.beat.uuid, put.beat.hostname, put.beat.timestamp),
        AgentState.DRAINING,
    )
    assert (past.created, past.seen, past.load, past.pressure, past.takes, past.other_seen) == (
        *(NOW - 9, NOW),
        7.25,
        0.5,
        0.25,
        NOW - 5,
    )
    assert (past.beat.max_load, past.drains_said) == (5e4, NOW - 4)


def test_of_a_squid_that_is_gone_nothing_is_recalled(store: Store) -> None:
    store.put([squid(FRESH), squid(FRESH, **OTHER)], [], [])
    store.put([], [ID], [])
    store.expire([OTHER_ID], NOW + 1, NOW + 1)
    assert store.recall([ID, OTHER_ID]) == {}


def test_the_id_of_an_agent_is_where_it_was_last_heard(store: Store) -> None:
    store.put([squid(FRESH, uuid="a"), squid(FRESH, **OTHER)], [], [])
    store.put([squid(FRESH, uuid="a", public_ip="203.0.113.5")], [ID], [])
    assert store.ids_of(["a", "other", "unknown"]) == {"a": "203.0.113.5:3128", "other": OTHER_ID}


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.put([squid()], [], []),
        lambda store: store.put([], [ID], []),
        lambda store: store.put_verification(ID, GOOD, []),
        lambda store: store.expire([ID], NOW + 1, NOW + 1),
    ],
    ids=["put", "gone", "verification", "expiry"],
)
def test_the_mark_changes_whenever_something_was_written(
    store: Store, write: Callable[[Store], object]
) -> None:
    store.put([squid(FRESH)], [], [])
    before = store.changes(None).mark
    write(store)
    assert store.changes(None).mark != before


def test_the_mark_stays_while_nothing_is_written(store: Store) -> None:
    store.put([squid(FRESH)], [], [])
    before = store.changes(None).mark
    squids_of(store)
    store.expire([ID], NOW - 1, NOW)
    store.put_verification("unknown", GOOD, [])
    assert store.changes(None).mark == before


# --- two writers that cannot undo each other --------------------------------------------------------


def test_put_never_undoes_a_verification(store: Store) -> None:
    store.put([squid(FRESH)], [], [])
    heard = squid(FRESH, load=7.0)
    store.put_verification(ID, GOOD, [])
    store.put([heard], [], [])
    assert [(one.beat.load, one.verification) for one in squids_of(store)] == [(7.0, GOOD)]


def test_put_never_writes_a_verification(store: Store) -> None:
    store.put([squid(GOOD)], [], [])
    assert [one.verification for one in squids_of(store)] == [FRESH]


def test_a_verification_never_undoes_what_was_heard(store: Store) -> None:
    store.put([squid(FRESH)], [], [])
    heard = replace(squid(FRESH, load=7.0, hostname="renamed.example.org"), seen=NOW + 30)
    store.put([heard], [], [])
    store.put_verification(ID, GOOD, [])
    assert squids_of(store) == [heard.with_verification(GOOD)]


@pytest.mark.parametrize("reach", list(Reach))
def test_a_verification_comes_back_as_it_was_put(store: Store, reach: Reach) -> None:
    store.put([squid(FRESH)], [], [])
    check = Verification(reach, 'it said "no" — twice', checked=NOW + 0.125, due=NOW + 310.5, failures=2)
    store.put_verification(ID, check, [])
    assert store.get([ID])[ID].verification == check


def test_the_verification_of_a_squid_that_is_gone_is_dropped_with_its_events(store: Store) -> None:
    store.put_verification(ID, GOOD, [Event(NOW, EventKind.VERIFIED, ID)])
    assert (squids_of(store), events_of(store, 10)) == ([], [])


@pytest.mark.parametrize("drained", [True, False])
def test_the_mark_of_the_operator_is_kept_over_heartbeats_and_verifications(
    store: Store, drained: bool
) -> None:
    store.put([squid(FRESH)], [], [])
    store.put_drained(ID, True, [])
    store.put_drained(ID, drained, [])
    store.put([squid(FRESH, load=7.0)], [], [])
    store.put_verification(ID, GOOD, [])
    (found,) = squids_of(store)
    assert (found.drained, found.beat.load, found.verification) == (drained, 7.0, GOOD)
    assert store.get([ID]) == {ID: found}


def test_put_never_writes_the_mark_of_the_operator(store: Store) -> None:
    store.put([replace(squid(FRESH), drained=True)], [], [])
    assert [one.drained for one in squids_of(store)] == [False]


def test_the_mark_of_the_operator_outlasts_the_squids_absence(store: Store) -> None:
    store.put([squid(FRESH)], [], [])
    store.put_drained(ID, True, [])
    store.put([], [ID], [])
    store.put([squid(FRESH)], [], [])
    assert [one.drained for one in squids_of(store)] == [True]
    store.expire([ID], NOW + 1, NOW + 1)
    store.put([squid(FRESH)], [], [])
    assert [one.drained for one in squids_of(store)] == [True]


def test_the_mark_of_the_operator_comes_with_its_events(store: Store) -> None:
    event = Event(NOW, EventKind.DRAINED, ID, "for repair")
    store.put([squid(FRESH)], [], [])
    before = store.changes(None).mark
    store.put_drained(ID, True, [event])
    assert events_of(store, 1) == [event]
    assert store.changes(None).mark != before


# --- changes ----------------------------------------------------------------------------------------


def test_whoever_follows_is_told_what_was_written_since_and_what_has_gone(store: Store) -> None:
    store.put([squid(FRESH), squid(FRESH, **OTHER)], [], [])
    everything = store.changes(None)
    assert (everything.whole, {one.id for one in everything.squids}) == (True, {ID, OTHER_ID})
    store.put_verification(ID, GOOD, [])
    store.put([], [OTHER_ID], [])
    since = store.changes(everything.mark)
    assert [(one.id, one.verification.reach) for one in since.squids] == [(ID, Reach.GLOBAL)]
    assert (list(since.gone), since.whole) == ([OTHER_ID], False)
    nothing = store.changes(since.mark)
    assert (list(nothing.squids), list(nothing.gone), nothing.whole) == ([], [], False)


def test_when_an_agent_said_goodbye_is_known_by_its_own_clock(store: Store) -> None:
    store.put_farewells({"a": NOW + 0.25, "b": NOW})
    assert store.farewells(["a", "unknown"]) == {"a": NOW + 0.25}


# --- expiry -----------------------------------------------------------------------------------------


def test_expiry_removes_the_named_squids_last_seen_before_a_time(store: Store) -> None:
    store.put([replace(squid(FRESH), seen=NOW - 200), squid(FRESH, **OTHER)], [], [])
    assert store.expire([ID, OTHER_ID], NOW - 180, NOW) == [ID]
    assert [one.id for one in squids_of(store)] == [OTHER_ID]


def test_expiry_leaves_squids_that_are_not_named(store: Store) -> None:
    old = [replace(squid(FRESH, **more), seen=NOW - 200) for more in ({}, OTHER)]
    store.put(old, [], [])
    assert store.expire([OTHER_ID, "unknown"], NOW - 180, NOW) == [OTHER_ID]
    assert [one.id for one in squids_of(store)] == [ID]


def test_a_squid_seen_exactly_then_stays(store: Store) -> None:
    store.put([replace(squid(FRESH), seen=NOW - 180)], [], [])
    assert store.expire([ID], NOW - 180, NOW) == []


def test_expiry_makes_an_event_for_each(store: Store) -> None:
    store.put([replace(squid(FRESH), seen=NOW - 200)], [], [])
    store.expire([ID], NOW - 180, NOW + 0.5)
    assert events_of(store, 10) == [Event(NOW + 0.5, EventKind.EXPIRED, ID, "sq1.example.org")]


def test_an_expired_squid_that_returns_has_no_verification(store: Store) -> None:
    store.put([replace(squid(FRESH), seen=NOW - 200)], [], [])
    store.put_verification(ID, GOOD, [])
    store.expire([ID], NOW - 180, NOW)
    store.put([squid(FRESH)], [], [])
    assert [one.verification for one in squids_of(store)] == [FRESH]


def test_a_squid_heard_by_another_server_meanwhile_does_not_expire(
    shared: tuple[RedisStore, RedisStore],
) -> None:
    mine, theirs = shared
    mine.put([replace(squid(FRESH), seen=NOW - 200)], [], [])
    assert squids_of(mine)[0].seen == NOW - 200
    theirs.put([squid(FRESH)], [], [])
    assert mine.expire([ID], NOW - 180, NOW) == []
    assert len(squids_of(theirs)) == 1


def test_two_sweepers_expire_a_squid_once(store: Store) -> None:
    store.put([replace(squid(FRESH), seen=NOW - 200)], [], [])
    assert [store.expire([ID], NOW - 180, NOW), store.expire([ID], NOW - 180, NOW)] == [[ID], []]
    assert len(events_of(store, 10)) == 1


# --- events -----------------------------------------------------------------------------------------


def test_events_come_newest_first_and_no_more_than_asked_for(store: Store) -> None:
    for number in range(5):
        store.put([], [], [Event(NOW + number, EventKind.JOINED, f"id{number}", f"detail {number}")])
    assert [event.squid_id for event in events_of(store, 3)] == ["id4", "id3", "id2"]


def test_events_of_one_put_are_kept_in_their_order(store: Store) -> None:
    both = [JOINED, Event(NOW, EventKind.MOVED, OTHER_ID, f"was {ID}")]
    store.put([squid(FRESH)], [], both)
    assert events_of(store, 10) == both[::-1]


def test_an_event_of_a_verification_comes_back_as_it_was_put(store: Store) -> None:
    store.put([squid(FRESH)], [], [])
    event = Event(NOW + 0.25, EventKind.FAILED, ID, 'it "broke" — naïvely')
    store.put_verification(ID, GOOD, [event])
    assert events_of(store, 1) == [event]


def test_old_events_make_room_for_new_ones(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_server.stores.redis.MAX_EVENTS", 5000)
    most = 5000 if isinstance(store, RedisStore) else MAX_EVENTS
    for start in range(0, most + 2000, 1000):
        batch = [Event(NOW, EventKind.JOINED, f"id{start + number}") for number in range(1000)]
        store.put([], [], batch)
    kept = events_of(store, 10 * most)
    assert most <= len(kept) <= most + 200
    assert kept[0].squid_id == f"id{most + 1999}"


# --- claims -----------------------------------------------------------------------------------------


def test_a_claim_is_had_by_one_alone(store: Store) -> None:
    assert [store.claim("verify:a", 60), store.claim("verify:a", 60), store.claim("verify:b", 60)] == [
        True,
        False,
        True,
    ]


def test_a_claim_ends_by_itself(store: Store) -> None:
    assert store.claim("verify:a", 0.05)
    wait_until(lambda: store.claim("verify:a", 60), 5.0, "the claim ends")


def test_of_many_claimants_at_once_one_wins(store: Store) -> None:
    start = threading.Barrier(8)

    def claim(_: int) -> bool:
        start.wait()
        return store.claim("verify:a", 60)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claim, range(8))) == 1


# --- several at once --------------------------------------------------------------------------------


def test_intake_and_verifier_at_once_lose_nothing_of_each_other(store: Store) -> None:
    store.put([squid(FRESH)], [], [])

    def hear(number: int) -> None:
        store.put([replace(squid(FRESH), seen=NOW + number)], [], [])

    def verify(number: int) -> None:
        store.put_verification(ID, replace(GOOD, failures=number), [])

    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(each, number) for number in range(1, 51) for each in (hear, verify)]
        for one in done:
            one.result()
    (found,) = squids_of(store)
    assert found.seen > NOW
    assert found.verification.failures > 0


def test_what_one_server_writes_another_reads(shared: tuple[RedisStore, RedisStore]) -> None:
    mine, theirs = shared
    before = theirs.changes(None).mark
    mine.put([squid(FRESH)], [], [JOINED])
    theirs.put_verification(ID, GOOD, [])
    assert squids_of(mine) == squids_of(theirs) == [squid(GOOD)]
    assert events_of(theirs, 1) == [JOINED]
    assert theirs.changes(None).mark != before
    assert [mine.claim("x", 60), theirs.claim("x", 60)] == [True, False]


def test_two_servers_that_hear_one_squid_list_it_once(shared: tuple[RedisStore, RedisStore]) -> None:
    for number, store in enumerate(shared):
        Registry(store, LivenessRules()).hear([beat()], NOW + number)
    (found,) = squids_of(shared[0])
    assert (found.created, found.seen) == (NOW, NOW + 1)


# --- Redis alone ------------------------------------------------------------------------------------


CALLS: dict[str, Callable[[Store], object]] = {
    "changes": lambda store: store.changes(None),
    "get": lambda store: store.get([ID]),
    "recall": lambda store: store.recall([ID]),
    "ids_of": lambda store: store.ids_of(["u"]),
    "put": lambda store: store.put([squid()], [], [JOINED]),
    "put_verification": lambda store: store.put_verification(ID, GOOD, []),
    "expire": lambda store: store.expire([ID], NOW, NOW),
    "put_drained": lambda store: store.put_drained(ID, True, []),
    "claim": lambda store: store.claim("x", 60),
}


def test_a_redis_that_is_killed_is_unavailable_to_every_method_and_needs_no_restart_of_ours(
    start_redis: Callable[..., Redis],
) -> None:
    server = start_redis(persistent=True)
    store = RedisStore.from_url(server.url)
    store.put([squid(FRESH)], [], [JOINED])
    server.kill()
    for name, call in CALLS.items():
        with pytest.raises(Unavailable, match="Redis"):
            pytest.fail(f"{name} returned {call(store)!r}")
    server.start()
    assert squids_of(store) == [squid(FRESH)]
    for call in CALLS.values():
        call(store)


def test_a_redis_that_loses_its_memory_is_used_again_with_its_scripts(
    start_redis: Callable[..., Redis],
) -> None:
    server = start_redis()
    store = RedisStore.from_url(server.url)
    store.put([squid(FRESH)], [], [])
    store.put_verification(ID, GOOD, [])
    server.restart()
    assert squids_of(store) == []
    store.put([replace(squid(FRESH), seen=NOW - 200)], [], [])
    store.put_verification(ID, GOOD, [])
    assert store.expire([ID], NOW - 180, NOW) == [ID]


def test_expiry_keeps_no_more_changes_than_other_writes_do(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_server.stores.redis.MAX_CHANGES", 100)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        store = RedisStore(lambda: client)
        ports = range(1, 501)
        store.put([squid(FRESH, uuid=f"u{port}", port=port) for port in ports], [], [])
        for port in ports:
            store.expire([f"192.0.2.1:{port}"], NOW + 1, NOW + 1)
        assert client.xlen("{shoal}:changes") <= 200


def test_an_agent_that_takes_a_new_uuid_with_each_word_fills_no_store(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_server.stores.redis.MOST_UUIDS", 100)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        store = RedisStore(lambda: client)
        for number in range(250):
            store.put([squid(FRESH, uuid=f"u{number}")], [], [])
        noted = sum(client.hlen(key) for key in client.scan_iter("{shoal}:uuid:*"))
        assert noted <= 2 * 100  # the hour may have changed
        assert store.ids_of(["u249"]) == {"u249": ID}


class EmptiedInBetween(RedisStore):
    """Somebody empties it after it has told what is there, before it is asked for that."""

    def _rows(self, keys: list[str]) -> Any:
        self._redis.flushall()
        return super()._rows(keys)


def test_squids_of_a_store_that_is_emptied_while_changes_are_read_have_not_gone(
    shared: tuple[RedisStore, RedisStore], redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        mark = shared[0].changes(None).mark
        shared[0].put([squid(FRESH)], [], [])
        changes = EmptiedInBetween(lambda: client).changes(mark)
    assert changes.mark.life != mark.life
    assert not changes.gone


def test_a_store_that_is_emptied_while_all_of_it_is_read_is_unavailable(
    shared: tuple[RedisStore, RedisStore], redis_url: str
) -> None:
    shared[0].put([squid(FRESH)], [], [])
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        changes = EmptiedInBetween(lambda: client).changes(None)
        with pytest.raises(Unavailable):
            list(changes.squids)


def test_a_redis_that_hangs_is_unavailable_after_a_bounded_wait(redis_server: Redis, redis_url: str) -> None:
    with redis.Redis.from_url(
        redis_url, decode_responses=True, socket_timeout=0.1, retry=Retry(NoBackoff(), 1)
    ) as client:
        store = RedisStore(lambda: client)
        store.put([squid(FRESH)], [], [])
        redis_server.pause()
        try:
            with pytest.raises(Unavailable):
                squids_of(store)
        finally:
            redis_server.resume()
        assert len(squids_of(store)) == 1


def test_a_redis_that_wants_a_password_is_unavailable(redis_server: Redis, redis_url: str) -> None:
    store = RedisStore.from_url(redis_url.replace("redis://", "redis://nobody:wrong@"))
    with pytest.raises(Unavailable):
        squids_of(store)


def test_a_record_that_cannot_be_read_costs_no_other_squid(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        store = RedisStore(lambda: client)
        store.put([squid(FRESH, **OTHER)], [], [])
        for number, record in enumerate(["", "{", "[]", "null", '{"beat": {}}', '{"beat": 1, "load": "x"}']):
            client.hset("{shoal}:beats", f"bad{number}", record)
            client.zadd("{shoal}:seen", {f"bad{number}": NOW})
        assert [one.id for one in squids_of(store)] == [OTHER_ID]
        assert dict(store.get(["bad1", OTHER_ID])).keys() == {OTHER_ID}


def test_a_verification_of_a_newer_server_is_read_as_far_as_it_is_understood(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        store = RedisStore(lambda: client)
        store.put([squid(FRESH)], [], [])
        client.hset(
            "{shoal}:checks", ID, '{"reach": "global", "reason": "ok", "checked": 1.0, "due": 2.0, "new": 3}'
        )
        assert squids_of(store)[0].verification == Verification(Reach.GLOBAL, "ok", 1.0, 2.0)


# --- locks that are given back, and one clock ---------------------------------------------------------


def test_a_lock_that_was_given_back_can_be_taken_at_once(store: Store) -> None:
    assert store.claim("work", 60.0)
    store.release("work")
    assert store.claim("work", 60.0)


def test_a_lock_that_has_passed_to_another_server_is_not_given_back_for_it(
    shared: tuple[RedisStore, RedisStore],
) -> None:
    one, two = shared
    assert one.claim("work", 0.05)
    wait_until(lambda: two.claim("work", 60.0), 5.0, "the lock of the first has run out")
    one.release("work")
    assert not one.claim("work", 60.0)


def test_servers_whose_clocks_differ_have_one_clock(
    shared: tuple[RedisStore, RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shared
    one.changes(None)
    fast = time.time
    monkeypatch.setattr("shoal_server.stores.redis.time.time", lambda: fast() + 500)
    two.changes(None)
    there = two.now()
    monkeypatch.undo()
    assert abs(there - one.now()) < 5.0


def test_an_agent_that_moves_is_known_to_a_server_whose_clock_is_hours_off(
    shared: tuple[RedisStore, RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shared
    one.changes(None)
    one.put([squid(FRESH)], [], [])
    fast = time.time
    monkeypatch.setattr("shoal_server.stores.redis.time.time", lambda: fast() + 3 * 3600)
    two.changes(None)
    known = two.ids_of([squid(FRESH).beat.uuid])
    monkeypatch.undo()
    assert list(known.values()) == [ID]


def test_a_clock_that_is_set_between_two_comparisons_does_not_count(
    shared: tuple[RedisStore, RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shared
    one.changes(None)
    two.changes(None)
    true = time.time
    monkeypatch.setattr("shoal_server.stores.redis.time.time", lambda: true() - 7200)
    there = two.now()
    monkeypatch.undo()
    assert abs(there - one.now()) < 5.0
