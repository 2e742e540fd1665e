"""The worlds and what happens in them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.simulator.arrays import Flags, Floats
from benchmarks.simulator.workload import Habits
from benchmarks.simulator.world import GIGABIT, Crowd, World, build, spread_out

HOUR = 3600.0
CALM = Habits()


@dataclass(frozen=True, slots=True)
class Happening:
    """Squids start or stop at `at` (seconds); a stop is orderly or a crash."""

    at: float
    squids: tuple[int, ...]
    start: bool = False
    orderly: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world over `hours`, measured after `settled` hours.

    `load` is the demand of all grown workers over the capacity of all squids that are there at first;
    `absent` squids come later. `storm` workers (the last ones of the world) boot within 60 s at `storm_at`.
    `steady`: nothing changes, so nobody should move.
    """

    name: str
    what: str
    world: World
    hours: float
    load: float
    habits: Habits = CALM
    settled: float = 2.0
    absent: tuple[int, ...] = ()
    happenings: tuple[Happening, ...] = ()
    storm: int = 0
    storm_at: float = 0.0
    steady: bool = False
    seed: int = 1
    added: int = 0
    removed: int = 0

    @property
    def present(self) -> Flags:
        """The squids that are there at first."""
        present = np.ones(self.world.squids, dtype=np.bool_)
        present[list(self.absent)] = False
        return present

    @property
    def mean_demand(self) -> float:
        """The mean worker's (kB/s)."""
        return float(self.load * self.world.capacity[self.present].sum() / self.world.share.sum())

    def births(self) -> Floats:
        """When each worker starts (s)."""
        born = np.full(self.world.workers, -HOUR)
        if self.storm:
            random = np.random.default_rng(self.seed)
            born[-self.storm :] = self.storm_at + random.uniform(0, 60, self.storm)
        return born


_EQUAL = {GIGABIT: 1.0}
_MIXED = {0.1 * GIGABIT: 0.1, GIGABIT: 0.5, 10 * GIGABIT: 0.4}


def day() -> Scenario:
    """The whole field for a day."""
    return Scenario(
        "day",
        "1 000 squids, 50 000 workers, 24 h; jobs come and go, days and nights",
        spread_out(1000, 50_000, 11, _EQUAL),
        24,
        0.35,
        Habits(changing=True),
    )


def busy() -> Scenario:
    return Scenario(
        "busy",
        "100 squids at 30 sites, 8 000 workers; many sites have too few squids of their own",
        spread_out(100, 8_000, 12, _EQUAL, 30),
        6,
        0.65,
        Habits(changing=True),
    )


def steady() -> Scenario:
    return Scenario(
        "steady",
        "100 squids at 30 sites, 8 000 workers; demand never changes, heartbeats are noisy",
        spread_out(100, 8_000, 13, _EQUAL, 30),
        16,
        0.5,
        settled=12,
        steady=True,
    )


def together() -> Scenario:
    return replace(
        steady(),
        name="together",
        what="as steady, but every worker asks at :00 and :30",
        habits=Habits(together=True),
    )


def mixed() -> Scenario:
    return Scenario(
        "mixed",
        "100 squids at 30 sites, 8 000 workers; sites of 100 Mb/s, 1 Gb/s and 10 Gb/s",
        spread_out(100, 8_000, 14, _MIXED, 30),
        6,
        0.5,
        Habits(changing=True),
    )


def unequal() -> Scenario:
    world = build(
        [Crowd("CERN", n, c * GIGABIT) for n, c in ((2, 0.1), (4, 1.0), (4, 10.0), (1, 25.0), (1, 40.0))]
        + [Crowd("IN2P3", 4)],
        [Crowd("CERN", 20_000)],
        15,
    )
    return Scenario("unequal", "one site with squids of 100 Mb/s to 40 Gb/s, 20 000 workers", world, 6, 0.5)


def farm(load: float) -> Callable[[], Scenario]:
    """Eight equal squids at one site, four far away."""

    def scenario() -> Scenario:
        world = build([Crowd("BNL", 8), Crowd("CERN", 4)], [Crowd("BNL", 2000)], 16)
        percent = round(load * 100)
        return Scenario(
            f"farm-{percent}",
            f"8 equal squids at a site, {percent} % in use; its 2 000 workers all ask at :00 and :30",
            world,
            6,
            load * 8 / 12,
            Habits(together=True),
            steady=True,
        )

    return scenario


def boot() -> Scenario:
    world = build(
        [Crowd(site, 8) for site in ("BNL", "MIT", "AWS-Montreal")] + [Crowd("CERN", 8)],
        [Crowd("BNL", 1000), Crowd("MIT", 1000), Crowd("AWS-Virginia", 1000), Crowd("BNL", 5000)],
        17,
    )
    return Scenario(
        "boot",
        "5 000 workers boot within 60 s where squids have room for all of them",
        world,
        6,
        0.1,
        settled=1.5,
        storm=5000,
        storm_at=1.75 * HOUR,
    )


def flood() -> Scenario:
    return replace(
        boot(),
        name="flood",
        what="as boot, but they need 1.6 times what the squids nearest to them can send",
        load=0.2,
    )


def failures() -> Scenario:
    world = spread_out(100, 8_000, 18, _EQUAL, 30)
    random = np.random.default_rng(18)
    site = int(world.squid_site[np.bincount(world.squid_site).argmax() == world.squid_site][0])
    whole = tuple(int(one) for one in np.flatnonzero(world.squid_site == site))
    happenings = [Happening(2.5 * HOUR, whole), Happening(3.5 * HOUR, whole, start=True)]
    for number in range(40):
        one = (int(random.integers(world.squids)),)
        at = (2.2 + number * 0.08) * HOUR
        happenings += [Happening(at, one, orderly=number % 2 == 0), Happening(at + 900, one, start=True)]
    return Scenario(
        "failures",
        "the largest site is away for an hour, 40 squids crash or restart; all come back with cold caches",
        world,
        6,
        0.5,
        Habits(changing=True),
        happenings=tuple(happenings),
    )


def lone() -> Scenario:
    world = build(
        [Crowd("Melbourne", 1), Crowd("Tokyo-ICEPP", 4), Crowd("KEK", 4), Crowd("ASGC", 4), Crowd("SLAC", 6)],
        [Crowd("Melbourne", 600), Crowd("AWS-Sydney", 900), Crowd("Tokyo-ICEPP", 1500), Crowd("SLAC", 1000)],
        19,
    )
    return Scenario(
        "lone",
        "one squid in Australia, whose workers need three, and eighteen across the sea",
        world,
        10,
        0.42,
        settled=6,
    )


def added() -> Scenario:
    world = build([Crowd("BNL", 11), Crowd("CERN", 4)], [Crowd("BNL", 4000)], 20)
    return Scenario(
        "added",
        "one squid is added to ten equals",
        world,
        5,
        0.5 * 10 / 14,
        absent=(10,),
        happenings=(Happening(3 * HOUR, (10,), start=True),),
        added=10,
    )


def removed() -> Scenario:
    world = build([Crowd("BNL", 10), Crowd("CERN", 4)], [Crowd("BNL", 4000)], 20)
    return Scenario(
        "removed",
        "one of ten equals crashes",
        world,
        5,
        0.5 * 10 / 14,
        happenings=(Happening(3 * HOUR, (3,)),),
        removed=10,
    )


SCENARIOS: Mapping[str, Callable[[], Scenario]] = {
    "day": day,
    "busy": busy,
    "steady": steady,
    "together": together,
    "mixed": mixed,
    "unequal": unequal,
    "farm-20": farm(0.2),
    "farm-60": farm(0.6),
    "boot": boot,
    "flood": flood,
    "failures": failures,
    "lone": lone,
    "added": added,
    "removed": removed,
}
