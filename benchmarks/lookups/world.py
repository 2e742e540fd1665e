"""A store full of squids, and a database that places all addresses."""

import ipaddress
import random
import time
from pathlib import Path

import redis
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from benchmarks.lookups.fleet import Fleet
from shoal_server.stores.records import check_record
from shoal_server.stores.redis import RedisStore

BATCH = 1000
CITIES = 4000
NETWORKS = 40_000


def fill(url: str, fleet: Fleet) -> None:
    """Put the fleet into an empty Redis, verified."""
    client = redis.Redis.from_url(url, decode_responses=True)
    client.flushall()
    store = RedisStore(lambda: client)
    squids = list(fleet.squids(time.time()))
    for start in range(0, len(squids), BATCH):
        batch = squids[start : start + BATCH]
        client.hset("{shoal}:checks", mapping={one.id: check_record(one.verification) for one in batch})
        store.put(batch, [], [])
    client.close()


def city_database(path: Path) -> Path:
    """Networks of /16 to /24 all over the address space, at some thousand cities."""
    chance = random.Random(5)
    places = [(chance.uniform(-45, 65), chance.uniform(-180, 180)) for _ in range(CITIES)]
    writer = MMDBWriter(4, "GeoLite2-City", languages=["en"], float_type="f64")
    for number in range(NETWORKS):
        first = ipaddress.ip_address((number * 0x9E3779B1 & 0xFFFFFFFF) & 0xFFFF0000)
        latitude, longitude = places[chance.randrange(CITIES)]
        record = {
            "city": {"names": {"en": f"City {number % CITIES}"}},
            "country": {"iso_code": "CA", "names": {"en": "Canada"}},
            "location": {"latitude": latitude, "longitude": longitude},
        }
        writer.insert_network(IPSet([f"{first}/16"]), record)
    writer.to_db_file(str(path))
    return path
