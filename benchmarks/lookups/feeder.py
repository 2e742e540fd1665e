"""Heartbeats from a whole fleet, written to the store as an intake does: `python -m … URL SQUIDS RATE`."""

import os
import random
import sys
import time

from benchmarks.lookups.fleet import Fleet
from shoal_server.registry import Registry
from shoal_server.squid import LivenessRules
from shoal_server.stores.redis import RedisStore

BATCH = 100
LEAST_URGENT = 19


def main() -> None:
    """Until killed. It works when nobody else wants its core: the crowd there is to ask as fast as before."""
    os.nice(LEAST_URGENT)
    url, size, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    registry = Registry(RedisStore.from_url(url), LivenessRules())
    fleet, chance = Fleet(size), random.Random(3)
    number, due = 0, time.monotonic()
    while True:
        now = time.time()
        beats = [fleet.beat((number + n) % size, now, chance.uniform(0, 60_000)) for n in range(BATCH)]
        registry.hear(beats, now)
        number += BATCH
        due += BATCH / rate
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
