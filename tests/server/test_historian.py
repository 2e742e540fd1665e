"""What the historian writes, and that exactly one of several does."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from shoal_server.frames import Row, pack
from shoal_server.historian import CLAIM, LOOK_SECONDS, PATIENCE_SECONDS, Historian
from shoal_server.history import CHECKPOINT_SECONDS, MOST_REPLAYED, Grain, History, Sample
from shoal_server.registry import Event, EventKind, Registry
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules, Reach, Squid, Verification
from shoal_server.stores.history_memory import MemoryHistory
from shoal_server.stores.history_redis import RedisHistory
from shoal_server.stores.redis import RedisStore
from testbed.process import wait_until
from tests.fakes import GOOD, FlakyStore, Places, beat
from tests.server.process import ServerProcess

START = 1_699_999_200.0
"""The beginning of a fine span and of a coarse one."""
FINE, COARSE = Grain.FINE.seconds, Grain.COARSE.seconds
ID = "192.0.2.1:3128"


class World:
    """One store with its history; the test says what time it is."""

    def __init__(self) -> None:
        self.store = FlakyStore()
        self.history = MemoryHistory(self.store.log)
        self.writes: list[int] = []
        self.coarse: list[int] = []

    def server(self) -> "Server":
        return Server(self)

    def hear(self, now: float, load: float = 100.0, address: str = "192.0.2.1") -> None:
        said = beat(public_ip=address, uuid=address, load=load)
        self.store.put([Squid(said, START, now, load)], [], [])
        self.store.put_verification(f"{address}:3128", GOOD, [])

    def samples(self, grain: Grain, now: float) -> list[Sample]:
        return History(self.history).samples(ID, grain, now)


class Server:
    """A historian with the snapshot that it reads; it notes what it writes in the world's list."""

    def __init__(self, world: World) -> None:
        self.keeper = SnapshotKeeper(Registry(world.store, LivenessRules()), Places())
        self.historian = Historian(self.keeper, world.store, Noting(world))

    def look(self, now: float) -> None:
        self.keeper.refresh(now)
        self.historian.look(now)


class Noting(MemoryHistory):
    """Notes which spans are written."""

    def __init__(self, world: World) -> None:
        self.__dict__ = world.history.__dict__  # the same history, seen through another server
        self._written = {Grain.FINE: world.writes, Grain.COARSE: world.coarse}

    def put_frames(self, grain: Grain, slot: int, frames: Mapping[int, bytes]) -> None:
        self._written[grain].append(slot)
        super().put_frames(grain, slot, frames)


@pytest.fixture
def world() -> World:
    return World()


def live(world: World, begin: float, end: float, *servers: Server, load: float = 100.0) -> None:
    """Heartbeats each 30 s, and all servers look each 10 s."""
    for step in range(int((end - begin) / LOOK_SECONDS)):
        now = begin + step * LOOK_SECONDS
        if step % 3 == 0:
            world.hear(now, load)
        for server in servers:
            server.look(now)


# --- fine spans -------------------------------------------------------------------------------------


def test_a_span_is_written_when_it_has_ended(world: World) -> None:
    live(world, START, START + FINE, server := world.server())
    assert world.samples(Grain.FINE, START + FINE) == []
    server.look(START + FINE + PATIENCE_SECONDS)
    [sample] = world.samples(Grain.FINE, START + FINE)
    assert (sample.at, sample.heard, round(sample.load)) == (START, 10, 100)
    assert (sample.reach, sample.draining) == (Reach.GLOBAL, False)


def test_each_heartbeat_belongs_to_one_span(world: World) -> None:
    live(world, START, START + 3 * FINE + PATIENCE_SECONDS + LOOK_SECONDS, world.server())
    assert [sample.heard for sample in world.samples(Grain.FINE, START + 3 * FINE)] == [10, 10, 10]


def test_a_squid_that_leaves_has_no_further_samples(world: World) -> None:
    server = world.server()
    live(world, START, START + FINE, server)
    world.store.put([], [ID], [])
    for step in range(80):
        server.look(START + FINE + step * LOOK_SECONDS)
    assert [sample.at for sample in world.samples(Grain.FINE, START + 3 * FINE)] == [START]


def test_a_span_without_squids_is_written_too(world: World) -> None:
    server = world.server()
    for step in range(70):
        server.look(START + step * LOOK_SECONDS)
    assert world.history.standing().fine == Grain.FINE.slot(START) + 1


def test_what_came_and_went_within_a_span_is_in_it(world: World) -> None:
    server = world.server()
    world.hear(START)
    server.look(START)
    world.store.put([], [ID], [])
    server.look(START + 20)
    server.look(START + FINE + PATIENCE_SECONDS)
    assert [sample.heard for sample in world.samples(Grain.FINE, START + FINE)] == [1]


# --- several servers --------------------------------------------------------------------------------


def test_of_several_servers_one_writes_each_span(world: World) -> None:
    servers = [world.server() for _ in range(3)]
    live(world, START, START + 4 * FINE + PATIENCE_SECONDS + LOOK_SECONDS, *servers)
    first = Grain.FINE.slot(START)
    assert world.writes == [first, first + 1, first + 2, first + 3]


def test_when_the_writer_dies_another_has_seen_the_same(world: World) -> None:
    one, two = world.server(), world.server()
    live(world, START, START + FINE + 90, one, two)
    live(world, START + FINE + 90, START + 2 * FINE + PATIENCE_SECONDS + LOOK_SECONDS, two)
    assert [sample.heard for sample in world.samples(Grain.FINE, START + 2 * FINE)] == [10, 10]


def test_one_that_died_while_it_wrote_is_followed_when_its_claim_ends(world: World) -> None:
    live(world, START, START + FINE, server := world.server())
    assert world.store.claim(CLAIM, 3600)
    server.look(START + FINE + PATIENCE_SECONDS)
    assert world.writes == []
    world.store.release(CLAIM)
    server.look(START + FINE + PATIENCE_SECONDS + LOOK_SECONDS)
    assert world.writes == [Grain.FINE.slot(START)]


def test_a_server_that_saw_half_a_span_leaves_it_to_one_that_saw_all(world: World) -> None:
    whole = world.server()
    live(world, START, START + 1.5 * FINE, whole)
    late = world.server()
    live(world, START + 1.5 * FINE, START + 2 * FINE, late, whole)
    late.look(START + 2 * FINE)
    whole.look(START + 2 * FINE)
    assert [sample.heard for sample in world.samples(Grain.FINE, START + 2 * FINE)] == [10, 10]


def test_half_a_span_is_written_if_nobody_saw_all(world: World) -> None:
    server = world.server()
    live(world, START + FINE / 2, START + FINE, server)
    server.look(START + FINE + PATIENCE_SECONDS - 1)
    assert world.writes == []
    server.look(START + FINE + PATIENCE_SECONDS)
    assert [sample.heard for sample in world.samples(Grain.FINE, START + FINE)] == [5]


class NotingRedis(RedisHistory):
    """Notes which spans are written, in a list of the test's."""

    written: list[tuple[Grain, int]]

    def put_frames(self, grain: Grain, slot: int, frames: Mapping[int, bytes]) -> None:
        self.written.append((grain, slot))
        super().put_frames(grain, slot, frames)


@contextmanager
def real_server(url: str, written: list[tuple[Grain, int]]) -> Iterator[tuple[SnapshotKeeper, Historian]]:
    """A historian on a Redis that others share."""
    with redis.Redis.from_url(url, decode_responses=True) as text, redis.Redis.from_url(url) as binary:
        store, history = RedisStore(lambda: text), NotingRedis(lambda: binary)
        history.written = written
        keeper = SnapshotKeeper(Registry(store, LivenessRules()), Places())
        yield keeper, Historian(keeper, store, history)


def test_of_several_servers_that_look_at_once_one_writes_each_span(redis_url: str) -> None:
    written: list[tuple[Grain, int]] = []
    steps = [START + step * LOOK_SECONDS for step in range(35)]
    together = threading.Barrier(3)

    def look(keeper: SnapshotKeeper, historian: Historian) -> None:
        for now in steps:
            together.wait(30)
            keeper.refresh(now)
            historian.look(now)

    with ExitStack() as stack:
        servers = [stack.enter_context(real_server(redis_url, written)) for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(look, *server) for server in servers]:
                done.result(60)
    assert (Grain.FINE, Grain.FINE.slot(START)) in written
    assert len(set(written)) == len(written)


def test_a_running_server_keeps_history(redis_url: str, tmp_path: Path) -> None:
    with redis.Redis.from_url(redis_url) as binary, ServerProcess(tmp_path, "--store", redis_url):
        reader = History(RedisHistory(lambda: binary))
        wait_until(lambda: reader.listed_at(time.time()) == [], 20, "the first checkpoint")


# --- coarse spans -----------------------------------------------------------------------------------


def test_a_coarse_span_has_the_mean_and_the_highest_load_of_its_fine_ones(world: World) -> None:
    server, first = world.server(), Grain.FINE.slot(START)
    for part in range(24):
        row = Row(float(part), part * 10.0, 0.5, 0.5, 10, Reach.GLOBAL, draining=False)
        world.history.put_frames(Grain.FINE, first + part, pack(first + part, {ID: row}))
    server.look(START + COARSE + PATIENCE_SECONDS)
    [sample] = world.samples(Grain.COARSE, START + COARSE)
    assert (sample.at, sample.seconds, sample.heard) == (START, COARSE, 240)
    assert sample.load == pytest.approx(11.5, rel=1e-3)
    assert sample.highest == pytest.approx(230.0, rel=1e-3)


def test_fine_spans_of_other_times_do_not_count(world: World) -> None:
    server, first = world.server(), Grain.FINE.slot(START)
    for slot in (first - 1, first, first + 23, first + 24):
        row = Row(100.0, 100.0, 0.5, None, 1, Reach.GLOBAL, draining=False)
        world.history.put_frames(Grain.FINE, slot, pack(slot, {ID: row}))
    server.look(START + COARSE + PATIENCE_SECONDS)
    assert [sample.heard for sample in world.samples(Grain.COARSE, START + COARSE)] == [2]


def test_a_coarse_span_is_written_once(world: World) -> None:
    server = world.server()
    for step in range(5):
        server.look(START + COARSE + PATIENCE_SECONDS + step * LOOK_SECONDS)
    assert world.coarse == [Grain.COARSE.slot(START)]


# --- what can go wrong ------------------------------------------------------------------------------


def test_a_store_that_is_away_costs_samples_and_nothing_else(world: World) -> None:
    server = world.server()
    live(world, START, START + FINE, server)
    world.store.away = True
    for step in range(60):
        server.look(START + FINE + step * LOOK_SECONDS)
    world.store.away = False
    live(world, START + 3 * FINE, START + 4 * FINE + PATIENCE_SECONDS + LOOK_SECONDS, server)
    found = {sample.at: sample.heard for sample in world.samples(Grain.FINE, START + 4 * FINE)}
    assert found[START + 3 * FINE] == 10
    assert START + 2 * FINE not in found


def test_after_the_clock_was_set_back_history_goes_on(world: World) -> None:
    server = world.server()
    live(world, START + 1e6, START + 1e6 + 2 * FINE, server)
    live(world, START, START + 2 * FINE + PATIENCE_SECONDS, server)
    assert [sample.at for sample in world.samples(Grain.FINE, START + 2 * FINE)] == [START, START + FINE]


# --- who was listed when ----------------------------------------------------------------------------


def checkpoints(world: World) -> list[float]:
    return [at for at, _ in world.history._checkpoints]


def test_the_first_look_makes_a_checkpoint(world: World) -> None:
    world.hear(START)
    world.server().look(START)
    assert [one.id for one in History(world.history).listed_at(START) or []] == [ID]


def test_a_checkpoint_is_made_every_so_many_hours(world: World) -> None:
    server = world.server()
    for now in (START, START + CHECKPOINT_SECONDS - 1, START + CHECKPOINT_SECONDS):
        server.look(now)
    assert checkpoints(world) == [START, START + CHECKPOINT_SECONDS]


def test_a_checkpoint_is_made_after_so_many_events(world: World) -> None:
    server = world.server()
    server.look(START)
    world.store.log.extend(Event(START + 5, EventKind.RESTARTED, ID) for _ in range(MOST_REPLAYED))
    server.look(START + 10)
    server.look(START + 20)
    assert checkpoints(world) == [START, START + 10]


def test_a_squid_that_is_drained_while_it_is_away_is_drained_when_it_is_back(world: World) -> None:
    server, reader = world.server(), History(world.history)
    registry = Registry(world.store, LivenessRules())
    server.look(START)
    registry.drain(ID, drained=True, reason="test", now=START + 60)
    server.look(START + CHECKPOINT_SECONDS)
    registry.hear([beat()], START + CHECKPOINT_SECONDS + 60)
    found = reader.listed_at(START + CHECKPOINT_SECONDS + 61)
    assert found is not None
    assert [one.draining for one in found] == [True]


def test_nothing_is_written_while_the_snapshot_is_stale(world: World) -> None:
    world.store.away = True
    server = world.server()
    server.look(START)
    assert checkpoints(world) == []
    assert world.store.claim(CLAIM, 1)


def test_a_failed_squid_shows_as_it_stood_at_the_spans_end(world: World) -> None:
    server = world.server()
    live(world, START, START + FINE, server)
    world.store.put_verification(ID, Verification(Reach.FAILED, "refused"), [])
    server.look(START + FINE + 1)
    server.look(START + 2 * FINE)
    assert [sample.reach for sample in world.samples(Grain.FINE, START + 2 * FINE)] == [
        Reach.GLOBAL,
        Reach.FAILED,
    ]
