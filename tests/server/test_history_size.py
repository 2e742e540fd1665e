"""How much room a month of history takes in a real Redis, and how much of it one page reads."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from shoal_server.frames import Row, frame, pack
from shoal_server.history import CHECKPOINT_SECONDS, KEPT_SECONDS, Grain, History
from shoal_server.registry import Event, EventKind
from shoal_server.roll import Roll
from shoal_server.squid import Reach, Squid
from shoal_server.stores.history_redis import RedisHistory
from shoal_server.stores.redis import RedisStore
from testbed.redis import Redis
from tests.conftest import need
from tests.fakes import GOOD, beat

SQUIDS = 5000
EVENTS = 4
HEAD = 5

MOST_BYTES_OF_SAMPLES = 11_000
"""For each squid, all its fine and coarse samples: 55 MB for 5000."""
MOST_BYTES = 12_000
"""With the checkpoints."""
MOST_BYTES_OF_AN_EVENT = 200
MOST_READ = 1_000_000
"""Bytes that come from Redis for one squid's day: 40 ms on a link of 200 Mb/s."""


@dataclass(frozen=True)
class Month:
    """A Redis with a month's samples of 5000 squids."""

    url: str
    client: redis.Redis
    history: RedisHistory
    squids: list[Squid]
    now: float

    def used(self) -> int:
        """What the keys of history and events take (bytes), by Redis's own account."""
        keys = [*self.client.scan_iter("*:history:*", count=5000), "{shoal}:events"]
        pipe = self.client.pipeline(transaction=False)
        for key in keys:
            pipe.memory_usage(key, samples=0)
        return sum(size or 0 for size in pipe.execute())

    def sent(self) -> int:
        """How many bytes Redis has sent so far."""
        return int(self.client.info("stats")["total_net_output_bytes"])


@pytest.fixture(scope="module")
def month(new_directory: Callable[[str], Path]) -> Iterator[Month]:
    need(Redis)
    with Redis(new_directory("redis-month")) as server, redis.Redis.from_url(server.url) as client:
        full = Month(server.url, client, RedisHistory(lambda: client), squids(), time.time())
        fill(full)
        yield full


def squids() -> list[Squid]:
    told = random.Random(7)
    said = (
        beat(
            uuid=f"{number:032x}",
            hostname=f"squid-{number:05d}.cloud{number % 40}.example.org",
            public_ip=f"{20 + number % 150}.{told.randrange(256)}.{number // 250}.{number % 250 + 1}",
        )
        for number in range(SQUIDS)
    )
    return [Squid(one, 0.0, 0.0, one.load, GOOD) for one in said]


def fill(month: Month) -> None:
    """Every place of every ring."""
    told = random.Random(8)
    rows = {
        one.id: Row(told.random() * 1e5, 1e5, told.random(), told.random(), 10, Reach.GLOBAL, draining=False)
        for one in month.squids
    }
    packed = {bucket: body[HEAD:] for bucket, body in pack(0, rows).items()}
    for grain in Grain:
        last = grain.slot(month.now)
        for slot in range(last - grain.kept, last + 1):
            frames = {bucket: frame(slot, [body]) for bucket, body in packed.items()}
            month.history.put_frames(grain, slot, frames)


def test_samples_keep_to_their_size(month: Month) -> None:
    assert month.used() / SQUIDS <= MOST_BYTES_OF_SAMPLES


@pytest.mark.parametrize("grain", Grain)
def test_a_page_about_one_squid_reads_a_small_part(month: Month, grain: Grain) -> None:
    before = month.sent()
    assert len(History(month.history).samples(month.squids[7].id, grain, month.now)) == grain.kept + 1
    assert month.sent() - before <= MOST_READ


def test_checkpoints_keep_to_their_size(month: Month) -> None:
    body = Roll.of(month.now, month.squids, frozenset(), verify=True).pack()
    for number in range(int(KEPT_SECONDS / CHECKPOINT_SECONDS), 0, -1):
        month.history.put_checkpoint(month.now - number * CHECKPOINT_SECONDS, body)
    assert month.used() / SQUIDS <= MOST_BYTES


def test_events_keep_to_their_size(month: Month) -> None:
    before = month.used()
    with redis.Redis.from_url(month.url, decode_responses=True) as text:
        store = RedisStore(lambda: text)
        for _ in range(EVENTS):
            told = [
                Event(month.now, EventKind.FAILED, one.id, "no answer within 5 s") for one in month.squids
            ]
            for first in range(0, SQUIDS, 1000):
                store.put([], [], told[first : first + 1000])
    month.history.tend(month.now)
    assert (month.used() - before) / (SQUIDS * EVENTS) <= MOST_BYTES_OF_AN_EVENT
