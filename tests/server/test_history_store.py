"""Where history is kept: one contract, held by the one in memory and by Redis."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shoal_common.errors import SettingsError, Unavailable
from shoal_server.frames import Row, bucket_of, pack
from shoal_server.history import (
    KEPT_SECONDS,
    MOST_CHECKPOINTS,
    Grain,
    History,
    HistoryStore,
    Standing,
)
from shoal_server.registry import Event, EventKind, Store
from shoal_server.roll import Roll
from shoal_server.squid import Reach
from shoal_server.stores.history_memory import EventLog, MemoryHistory
from shoal_server.stores.history_redis import ANSWER_SECONDS, MOST_OF_ONE, RedisHistory
from shoal_server.stores.memory import MemoryStore
from shoal_server.stores.redis import RedisStore
from shoal_server.stores.redis_url import connect
from testbed.redis import Redis

ID, OTHER = "192.0.2.1:3128", "192.0.2.2:3128"


@dataclass(frozen=True)
class Past:
    """A store, the history that goes with it, and the time by their clock."""

    store: Store
    history: HistoryStore

    @property
    def now(self) -> float:
        return self.store.now()

    @property
    def reader(self) -> History:
        return History(self.history)

    def log(self, *events: Event) -> None:
        self.store.put([], [], events)

    def write(self, grain: Grain, slot: int, *ids: str, load: float = 100.0) -> None:
        row = Row(load, load, 0.1, None, 1, Reach.GLOBAL, draining=False)
        self.history.put_frames(grain, slot, pack(slot, dict.fromkeys(ids, row)))


@pytest.fixture(params=["memory", "redis"])
def past(request: pytest.FixtureRequest) -> Iterator[Past]:
    if request.param == "memory":
        store = MemoryStore()
        yield Past(store, MemoryHistory(store.log))
        return
    url = request.getfixturevalue("redis_url")
    with redis.Redis.from_url(url, decode_responses=True) as text, redis.Redis.from_url(url) as binary:
        shared = RedisStore(lambda: text)
        shared.changes(None)  # compares the clocks
        yield Past(shared, RedisHistory(lambda: binary))


def event(at: float, squid_id: str = ID, kind: EventKind = EventKind.JOINED, detail: str = "") -> Event:
    return Event(at, kind, squid_id, detail)


def loads(past: Past, grain: Grain, now: float, squid_id: str = ID) -> list[float]:
    return [round(sample.load) for sample in past.reader.samples(squid_id, grain, now)]


# --- samples ----------------------------------------------------------------------------------------


def test_nothing_is_known_at_first(past: Past) -> None:
    assert past.history.standing() == Standing()
    assert past.reader.samples(ID, Grain.FINE, past.now) == []
    assert past.reader.events().events == ()
    assert past.reader.listed_at(past.now) is None


@pytest.mark.parametrize("grain", Grain)
def test_samples_come_oldest_first_with_the_times_of_their_spans(past: Past, grain: Grain) -> None:
    for slot in (1002, 1000, 1001):
        past.write(grain, slot, ID)
    found = past.reader.samples(ID, grain, 1003.0 * grain.seconds)
    assert [sample.at for sample in found] == [slot * grain.seconds for slot in (1000, 1001, 1002)]
    assert {sample.seconds for sample in found} == {grain.seconds}


def test_a_span_in_which_a_squid_was_not_listed_is_missing(past: Past) -> None:
    past.write(Grain.FINE, 1000, ID)
    past.write(Grain.FINE, 1001, OTHER)
    past.write(Grain.FINE, 1002, ID)
    found = past.reader.samples(ID, Grain.FINE, 1003.0 * 300)
    assert [sample.at for sample in found] == [300_000.0, 300_600.0]


def test_the_grains_do_not_mix(past: Past) -> None:
    past.write(Grain.COARSE, 1000, ID)
    assert past.reader.samples(ID, Grain.FINE, 1000.0 * 7200) == []


@pytest.mark.parametrize("grain", Grain)
def test_a_ring_holds_the_spans_of_its_time_and_no_more(past: Past, grain: Grain) -> None:
    last = 1000 + 2 * grain.kept
    for slot in range(1000, last + 1):
        past.write(grain, slot, ID)
    assert len(past.history.frames(grain, bucket_of(ID))) == grain.ring
    assert len(loads(past, grain, (last + 1.0) * grain.seconds)) == grain.kept


def test_squids_that_come_and_go_leave_nothing_behind_in_the_end(past: Past) -> None:
    for slot in range(3 * Grain.FINE.ring):
        past.write(Grain.FINE, slot, f"192.0.2.{slot % 250}:3128", f"198.51.100.{slot % 250}:3128")
    for slot in range(3 * Grain.FINE.ring, 4 * Grain.FINE.ring):
        past.write(Grain.FINE, slot)
    assert all(past.history.frames(Grain.FINE, bucket) == [] for bucket in range(32))


def test_an_old_span_that_was_not_overwritten_is_not_told(past: Past) -> None:
    past.write(Grain.FINE, 1000, ID)
    assert len(loads(past, Grain.FINE, (1000.0 + Grain.FINE.kept) * 300)) == 1
    assert loads(past, Grain.FINE, (1001.0 + Grain.FINE.kept) * 300) == []


def test_a_span_written_twice_is_one_span(past: Past) -> None:
    past.write(Grain.FINE, 1000, ID, load=1.0)
    past.write(Grain.FINE, 1000, ID, load=5.0)
    assert loads(past, Grain.FINE, 1001.0 * 300) == [5]


def test_after_the_clock_was_set_back_spans_are_written_again(past: Past) -> None:
    past.write(Grain.FINE, 100_000, ID, load=1.0)
    past.write(Grain.FINE, 1000, ID, load=5.0)
    assert past.history.standing().fine == 1000
    assert loads(past, Grain.FINE, 1001.0 * 300)[:1] == [5]


def test_how_far_history_was_written_is_known(past: Past) -> None:
    past.write(Grain.FINE, 1000, ID)
    past.write(Grain.COARSE, 41, ID)
    past.history.put_checkpoint(5000.0, b"")
    assert past.history.standing() == Standing(fine=1000, coarse=41, checkpoint=5000.0)


# --- events -----------------------------------------------------------------------------------------


def test_events_are_told_newest_first(past: Past) -> None:
    told = [event(past.now + n, f"id{n}") for n in range(3)]
    past.log(*told)
    page = past.reader.events()
    assert [one.event for one in page.events] == told[::-1]
    assert page.next is None


@pytest.mark.parametrize("tended", [False, True])
def test_a_squids_events_are_its_own_alone(past: Past, tended: bool) -> None:
    mine = [event(past.now + n, detail=str(n)) for n in range(5)]
    for one in mine:
        past.log(one, event(one.at, OTHER))
    if tended:
        past.history.tend(past.now)
    assert [one.event for one in past.reader.events(ID).events] == mine[::-1]


def test_events_before_and_after_the_filing_are_one_list(past: Past) -> None:
    mine = [event(past.now + n, detail=str(n)) for n in range(6)]
    past.log(*mine[:3])
    past.history.tend(past.now)
    past.log(*mine[3:])
    assert [one.event for one in past.reader.events(ID).events] == mine[::-1]


@pytest.mark.parametrize("squid_id", [None, ID])
@pytest.mark.parametrize("tended", [False, True])
def test_pages_join_without_gap_or_overlap(past: Past, squid_id: str | None, tended: bool) -> None:
    told = [event(past.now + n, detail=str(n)) for n in range(25)]
    past.log(*told)
    if tended:
        past.history.tend(past.now)
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = past.reader.events(squid_id, before=cursor, limit=10)
        found += [one.event for one in page.events]
        cursor, pages = page.next, pages + 1
    assert found == told[::-1]
    assert pages == 3


@pytest.mark.parametrize("squid_id", [None, ID])
def test_the_log_can_be_followed(past: Past, squid_id: str | None) -> None:
    told = [event(past.now + n, detail=str(n)) for n in range(7)]
    past.log(*told[:3])
    known = past.reader.events(squid_id).events[0].cursor
    assert past.reader.events(squid_id, after=known).events == ()
    past.log(*told[3:])
    page = past.reader.events(squid_id, after=known, limit=3)
    assert [one.event for one in page.events] == told[3:6]
    last = past.reader.events(squid_id, after=page.next, limit=3)
    assert [one.event for one in last.events] == told[6:]
    assert last.next is None


@pytest.mark.parametrize("cursor", ["", "x", "1", "1-", "-", "1-2-3", "(1-1", "1-1\n", "9" * 40 + "-0"])
def test_a_cursor_that_is_none_is_refused(past: Past, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        past.reader.events(before=cursor)
    with pytest.raises(ValueError, match="cursor"):
        past.reader.events(after=cursor)


def test_a_page_has_at_least_one_event_and_at_most_500(past: Past) -> None:
    past.log(*(event(past.now) for _ in range(600)))
    assert len(past.reader.events(limit=0).events) == 1
    assert len(past.reader.events(limit=10_000).events) == 500


def test_events_of_a_span_are_told_oldest_first(past: Past) -> None:
    now = past.now
    told = [event(now + n, f"id{n}") for n in range(6)]
    past.log(*told)
    assert past.history.events_between(now + 1, now + 4) == told[1:5]


def test_events_are_dropped_after_30_days(past: Past) -> None:
    past.log(*(event(past.now, f"id{n}") for n in range(1000)))
    past.history.tend(past.now)
    assert len(past.history.events_between(0, past.now)) == 1000
    past.history.tend(past.now + KEPT_SECONDS + 3600)
    assert len(past.history.events_between(0, past.now)) < 100  # Redis drops whole blocks


def test_a_hostile_detail_comes_back_as_it_was(past: Past) -> None:
    text = "<script>\x00 \u202e 日本 \"'\\ \r\n"
    past.log(event(past.now, detail=text))
    assert past.reader.events(ID).events[0].event.detail == text


def test_new_events_since_the_checkpoint_are_counted(past: Past) -> None:
    past.log(*(event(past.now) for _ in range(5)))
    past.history.tend(past.now)
    assert past.history.standing().fresh == 5
    past.history.put_checkpoint(past.now, b"")
    past.history.tend(past.now)
    assert past.history.standing().fresh == 0


# --- checkpoints ------------------------------------------------------------------------------------


def test_the_newest_checkpoint_made_by_then_is_found(past: Past) -> None:
    now = past.now
    for hours in (3, 2, 1):
        past.history.put_checkpoint(now - hours * 3600, str(hours).encode())
    assert past.history.checkpoint(now - 4 * 3600) is None
    assert past.history.checkpoint(now - 2.5 * 3600) == b"3"
    assert past.history.checkpoint(now - 2 * 3600) == b"2"
    assert past.history.checkpoint(now) == b"1"


def test_checkpoints_are_bounded_by_number(past: Past) -> None:
    for number in range(MOST_CHECKPOINTS + 30):
        past.history.put_checkpoint(past.now - 10_000 + number, str(number).encode())
    assert past.history.checkpoint(past.now - 10_000 + 29) is None
    assert past.history.checkpoint(past.now - 10_000 + 30) == b"30"


def test_checkpoints_are_dropped_after_30_days(past: Past) -> None:
    past.history.put_checkpoint(past.now - KEPT_SECONDS - 60, b"old")
    past.history.put_checkpoint(past.now, b"new")
    assert past.history.checkpoint(past.now - 60) is None


def test_a_checkpoint_that_a_wrong_clock_put_into_the_future_goes_with_the_next(past: Past) -> None:
    past.history.put_checkpoint(past.now + 1e6, b"future")
    past.history.put_checkpoint(past.now, b"now")
    assert past.history.checkpoint(past.now + 2e6) == b"now"


def test_who_was_listed_is_worked_out_from_a_checkpoint_and_events(past: Past) -> None:
    now = past.now
    past.history.put_checkpoint(now, Roll(now, {}).pack())
    past.log(event(now + 60, detail="sq1"), event(now + 60, OTHER, detail="sq2"))
    past.log(event(now + 120, kind=EventKind.VERIFIED), event(now + 180, OTHER, EventKind.LEFT))

    def listed(at: float) -> list[tuple[str, bool]]:
        return [(one.hostname, one.told) for one in past.reader.listed_at(at) or []]

    assert listed(now + 30) == []
    assert listed(now + 90) == [("sq1", False), ("sq2", False)]
    assert listed(now + 150) == [("sq1", True), ("sq2", False)]
    assert listed(now + 200) == [("sq1", True)]


# --- what only one of them does ---------------------------------------------------------------------


def test_the_log_in_memory_is_bounded() -> None:
    log = EventLog(10)
    log.extend(event(float(n)) for n in range(25))
    assert [one.at for _, one in log.entries()] == [float(n) for n in range(15, 25)]
    assert log.dropped_at == 14.0


def test_so_many_events_of_one_squid_are_filed_and_no_more(redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url, decode_responses=True) as text,
        redis.Redis.from_url(redis_url) as own,
    ):
        RedisStore(lambda: text).put([], [], [event(float(n)) for n in range(MOST_OF_ONE + 100)])
        RedisHistory(lambda: own).tend(time.time())
        assert own.zcard(f"{{shoal}}:history:of:{ID}") == MOST_OF_ONE
        assert 0 < int(str(own.ttl(f"{{shoal}}:history:of:{ID}"))) <= KEPT_SECONDS


def test_two_servers_that_file_the_same_events_file_them_once(redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url, decode_responses=True) as text,
        redis.Redis.from_url(redis_url) as own,
    ):
        RedisStore(lambda: text).put([], [], [event(float(n)) for n in range(10)])
        RedisHistory(lambda: own).tend(time.time())
        own.hdel("{shoal}:history:about", "indexed")  # the second had begun before the first was done
        RedisHistory(lambda: own).tend(time.time())
        assert len(RedisHistory(lambda: own).events(ID, before=None, after=None, limit=50)) == 10


def test_a_checkpoint_whose_events_were_dropped_for_their_number_does_not_count(redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url, decode_responses=True) as text,
        redis.Redis.from_url(redis_url) as own,
    ):
        store, history = RedisStore(lambda: text), RedisHistory(lambda: own, most_events=50)
        now = store.now()
        history.put_checkpoint(now, b"roll")
        store.put([], [], [event(now + n) for n in range(50)])
        assert history.checkpoint(now + 60) is None
        history.put_checkpoint(now + 30, b"roll")
        assert history.checkpoint(now + 60) == b"roll"


def test_an_event_of_a_kind_that_a_newer_server_writes_is_left_out(redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url, decode_responses=True) as text,
        redis.Redis.from_url(redis_url) as own,
    ):
        text.xadd("{shoal}:events", {"at": "1.0", "kind": "praised", "id": ID, "detail": ""})
        RedisStore(lambda: text).put([], [], [event(2.0)])
        history = RedisHistory(lambda: own)
        assert len(history.events(None, before=None, after=None, limit=5)) == 1
        history.tend(time.time())
        assert len(history.events(ID, before=None, after=None, limit=5)) == 1


def test_a_url_that_names_no_redis_is_refused() -> None:
    with pytest.raises(SettingsError):
        RedisHistory.from_url("redis+sentinel://host")


def test_a_redis_that_is_away_is_unavailable_and_comes_back(
    start_redis: Callable[..., Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0), socket_timeout=0.5) as client:
        history = RedisHistory(lambda: client)
        assert history.standing() == Standing()
        server.kill()
        with pytest.raises(Unavailable):
            history.standing()
        server.restart()
        with pytest.raises(Unavailable, match="a moment ago"):
            History(history).samples(ID, Grain.FINE, 0.0)
        history.away_until = 0.0
        assert history.standing() == Standing()


def test_a_redis_that_hangs_holds_up_one_reader_alone_and_not_for_long(
    start_redis: Callable[..., Redis],
) -> None:
    server = start_redis()
    client = connect(server.url, seconds=ANSWER_SECONDS, binary=True)
    history = RedisHistory(lambda: client)
    assert history.standing() == Standing()
    server.pause()
    try:
        with pytest.raises(Unavailable):
            history.standing()
        before = time.thread_time()
        for _ in range(100):
            with pytest.raises(Unavailable, match="a moment ago"):
                history.standing()
        assert time.thread_time() - before < 1.0
    finally:
        server.resume()
        client.close()
