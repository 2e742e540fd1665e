"""Lookups over HTTP as ratios to a constant answer of the same size, all in one run on one core."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.lookups import feeder, fleet, load, servers, world
from shoal_server.stores.redis import RedisStore
from testbed.program import environment
from testbed.redis import Redis

SECONDS = 4.0
ROUNDS = 3
FLEETS = (1_000, 10_000, 100_000)
ANYWHERE = 1_000_000
HEARTBEATS, LEAST_FED = 5_000, 0.95
LIMIT_MB, LIMIT_KB_A_SQUID = 64.0, 1.5


@dataclass(frozen=True, slots=True)
class Ratio:
    """A rate, and a slow answer's time, over those of the constant answer in the same round."""

    rate: float
    slow: float


def run(directory: Path) -> Iterator[Figure]:
    """The figures; nothing without Redis, nginx and wrk."""
    table = directory / "locations.csv"
    table.write_text(fleet.locations())
    known = ["--locations", table]
    workers = load.Crowd.of(fleet.workers(), directory / "workers.txt")
    anywhere = load.Crowd.of(fleet.anywhere(ANYWHERE), directory / "anywhere.txt")
    database = world.city_database(directory / "city.mmdb")
    with Redis(directory / "redis") as redis:
        at: dict[int, Ratio] = {}
        for size in FLEETS:
            world.fill(redis.url, fleet.Fleet(size))
            began = time.monotonic()
            with servers.shoal(redis.url, known) as (url, pid):
                cold = time.monotonic() - began
                print(f"  {largest_mb(pid):.0f} MB before anybody has asked")
                _once(url, workers)
                at[size] = compare(directory, url, workers)
                memory = largest_mb(pid)
                if size == FLEETS[1]:
                    beside = _beside_heartbeats(redis.url, size, url, workers)
                    to_nginx = _against_nginx(directory, url, workers)
            yield from _of_size(size, at, cold, memory)
        yield Figure("10 000 squids: rate to nginx's", to_nginx, "x", 0.5, least=True)
        yield Figure(
            f"10 000 squids, {HEARTBEATS} heartbeats/s beside: rate kept", beside, "x", 0.75, least=True
        )
        world.fill(redis.url, fleet.Fleet(FLEETS[1]))
        with servers.shoal(redis.url, [*known, "--geoip", database]) as (url, _):
            load.run(url, anywhere, 3 * SECONDS, servers.CROWD_CORE)  # all cities have asked then
            far = compare(directory, url, anywhere)
        yield Figure(
            "10 000 squids, askers all over the world: rate to constant", far.rate, "x", 0.5, least=True
        )


def _of_size(size: int, at: dict[int, Ratio], cold: float, memory: float) -> Iterator[Figure]:
    if size == FLEETS[1]:
        yield Figure(
            "10 000 squids, 500 sites: rate to the constant answer's", at[size].rate, "x", 0.9, least=True
        )
        yield Figure("10 000 squids, 500 sites: 99th percentile to constant's", at[size].slow, "x", 3.0)
    if size == FLEETS[2]:
        ratio = at[size].rate / at[FLEETS[0]].rate
        yield Figure("100 000 squids: ratio over that at 1 000", ratio, "x", 0.9, least=True)
        yield Figure("100 000 squids: cold start from Redis to the first answer", cold, "s", 5.0)
        yield Figure(
            "100 000 squids: memory beyond 64 MB", (memory - LIMIT_MB) * 1e3 / size, "KB", LIMIT_KB_A_SQUID
        )


def _once(url: str, crowd: load.Crowd) -> None:
    """Let each address ask once."""
    print(f"  {load.once(url, crowd, servers.CROWD_CORE):,.0f}/s when each asks for the first time")


def compare(directory: Path, url: str, crowd: load.Crowd) -> Ratio:
    """Rounds of both in turn, so that what the machine does beside hits both alike; medians."""
    with servers.constant(directory, servers.read(url)) as other:
        pairs = [(_load(url, crowd), _load(other, crowd)) for _ in range(ROUNDS)]
    for ours, constant in pairs:
        print(
            f"  {ours.rate:,.0f}/s of {constant.rate:,.0f}/s; 99 % in {ours.slow * 1e3:.2f} of "
            f"{constant.slow * 1e3:.2f} ms; failed {ours.failed}"
        )
    return Ratio(
        statistics.median(ours.rate / constant.rate for ours, constant in pairs),
        statistics.median(ours.slow / constant.slow for ours, constant in pairs),
    )


def _against_nginx(directory: Path, url: str, crowd: load.Crowd) -> float:
    with servers.nginx(directory, servers.read(url)) as other:
        pairs = [(_load(url, crowd), _load(other, crowd)) for _ in range(ROUNDS)]
    return statistics.median(ours.rate / files.rate for ours, files in pairs)


def _beside_heartbeats(store: str, size: int, url: str, crowd: load.Crowd) -> float:
    quiet = [_load(url, crowd).rate for _ in range(ROUNDS)]
    with _feeder([store, str(size), str(HEARTBEATS)]):
        load.run(url, crowd, SECONDS, servers.CROWD_CORE)
        began, before = time.monotonic(), _stored(store)
        busy = [_load(url, crowd).rate for _ in range(ROUNDS)]
        fed = (_stored(store) - before) / (time.monotonic() - began)
    print(f"  {fed:,.0f} heartbeats/s beside")
    if fed < LEAST_FED * HEARTBEATS:
        raise RuntimeError(f"{fed:,.0f} heartbeats/s came in, not {HEARTBEATS:,}")
    return statistics.median(busy) / statistics.median(quiet)


def _stored(store: str) -> int:
    """How many heartbeats the feeder has written; the store counts its writes."""
    return feeder.BATCH * RedisStore.from_url(store).changes(None).mark.count


@contextmanager
def _feeder(arguments: Sequence[str]) -> Iterator[None]:
    argv = ["taskset", "-c", str(servers.CROWD_CORE), sys.executable, "-m", "benchmarks.lookups.feeder"]
    process = subprocess.Popen([*argv, *arguments], env=environment())
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _load(url: str, crowd: load.Crowd) -> load.Load:
    found = load.run(url, crowd, SECONDS, servers.CROWD_CORE)
    if found.failed:
        raise RuntimeError(f"{found.failed} requests to {url} failed")
    return found


def largest_mb(pid: int) -> float:
    """Memory of the largest process under `pid`, the worker: its proportional set size (PSS), in which what
    several processes share, code of libraries above all, counts once among them.
    """
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max([own * 1024 / 1e6, *(largest_mb(int(child)) for child in children)])
