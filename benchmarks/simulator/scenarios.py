"""The worlds and what happens in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from benchmarks.simulator.arrays import Flags, Floats
from benchmarks.simulator.workload import Habits
from benchmarks.simulator.world import GIGABIT, Crowd, World, build, seed_of, spread_out

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
    `steady`: nothing changes, so nobody should move. `others` use this part of squids' capacity (0..1) for
    something else, by squid.
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
    others: Mapping[int, float] = field(default_factory=dict)
    added: int = 0
    removed: int = 0

    @property
    def seed(self) -> int:
        """Of all that is drawn while it runs."""
        return seed_of(1, self.world.draw)

    @property
    def present(self) -> Flags:
        """The squids that are there at first."""
        present = np.ones(self.world.squids, dtype=np.bool_)
        present[list(self.absent)] = False
        return present

    @property
    def elsewise(self) -> Floats:
        """What each squid sends to others than the workers (kB/s)."""
        part = np.zeros(self.world.squids)
        part[list(self.others)] = list(self.others.values())
        return part * self.world.capacity

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


class Drawn(Protocol):
    """A scenario, with as many worlds as there are draws; the figures are of draw 0."""

    def __call__(self, draw: int = 0) -> Scenario:
        """That of one world."""


_EQUAL = {GIGABIT: 1.0}
_MIXED = {0.1 * GIGABIT: 0.1, GIGABIT: 0.5, 10 * GIGABIT: 0.4}


def day(draw: int = 0) -> Scenario:
    """The whole field for a day."""
    return Scenario(
        "day",
        "1 000 squids, 50 000 workers, 24 h; jobs come and go, days and nights",
        spread_out(1000, 50_000, 11, _EQUAL, draw=draw),
        24,
        0.35,
        Habits(changing=True),
    )


def busy(draw: int = 0) -> Scenario:
    return Scenario(
        "busy",
        "100 squids at 30 sites, 8 000 workers; many sites have too few squids of their own",
        spread_out(100, 8_000, 12, _EQUAL, 30, draw),
        6,
        0.65,
        Habits(changing=True),
    )


def steady(draw: int = 0) -> Scenario:
    return Scenario(
        "steady",
        "100 squids at 30 sites, 8 000 workers; demand never changes, heartbeats are noisy",
        spread_out(100, 8_000, 13, _EQUAL, 30, draw),
        16,
        0.5,
        settled=12,
        steady=True,
    )


def together(draw: int = 0) -> Scenario:
    return replace(
        steady(draw),
        name="together",
        what="as steady, but every worker asks at :00 and :30",
        habits=Habits(together=True),
    )


def mixed(draw: int = 0) -> Scenario:
    return Scenario(
        "mixed",
        "100 squids at 30 sites, 8 000 workers; sites of 100 Mb/s, 1 Gb/s and 10 Gb/s",
        spread_out(100, 8_000, 14, _MIXED, 30, draw),
        6,
        0.5,
        Habits(changing=True),
    )


def unequal(draw: int = 0) -> Scenario:
    world = build(
        [Crowd("CERN", n, c * GIGABIT) for n, c in ((2, 0.1), (4, 1.0), (4, 10.0), (1, 25.0), (1, 40.0))]
        + [Crowd("IN2P3", 4)],
        [Crowd("CERN", 20_000)],
        15,
        draw,
    )
    return Scenario("unequal", "one site with squids of 100 Mb/s to 40 Gb/s, 20 000 workers", world, 6, 0.5)


def farm(load: float) -> Drawn:
    """Eight equal squids at one site, four far away."""

    def scenario(draw: int = 0) -> Scenario:
        world = build([Crowd("BNL", 8), Crowd("CERN", 4)], [Crowd("BNL", 2000)], 16, draw)
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


def boot(draw: int = 0) -> Scenario:
    world = build(
        [Crowd(site, 8) for site in ("BNL", "MIT", "AWS-Montreal")] + [Crowd("CERN", 8)],
        [Crowd("BNL", 1000), Crowd("MIT", 1000), Crowd("AWS-Virginia", 1000), Crowd("BNL", 5000)],
        17,
        draw,
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


def flood(draw: int = 0) -> Scenario:
    return replace(
        boot(draw),
        name="flood",
        what="as boot, but they need 1.6 times what the squids nearest to them can send",
        load=0.2,
    )


def failures(draw: int = 0) -> Scenario:
    world = spread_out(100, 8_000, 18, _EQUAL, 30, draw)
    random = np.random.default_rng(seed_of(18, draw))
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


def lone(draw: int = 0) -> Scenario:
    world = build(
        [Crowd("Melbourne", 1), Crowd("Tokyo-ICEPP", 4), Crowd("KEK", 4), Crowd("ASGC", 4), Crowd("SLAC", 6)],
        [Crowd("Melbourne", 600), Crowd("AWS-Sydney", 900), Crowd("Tokyo-ICEPP", 1500), Crowd("SLAC", 1000)],
        19,
        draw,
    )
    return Scenario(
        "lone",
        "one squid in Australia, whose workers need three, and eighteen across the sea",
        world,
        10,
        0.42,
        settled=6,
    )


def added(draw: int = 0) -> Scenario:
    world = build([Crowd("BNL", 11), Crowd("CERN", 4)], [Crowd("BNL", 4000)], 20, draw)
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


def removed(draw: int = 0) -> Scenario:
    world = build([Crowd("BNL", 10), Crowd("CERN", 4)], [Crowd("BNL", 4000)], 20, draw)
    return Scenario(
        "removed",
        "one of ten equals crashes",
        world,
        5,
        0.5 * 10 / 14,
        happenings=(Happening(3 * HOUR, (3,)),),
        removed=10,
    )


def occupied(draw: int = 0) -> Scenario:
    world = build([Crowd("BNL", 8), Crowd("CERN", 4)], [Crowd("BNL", 4000)], 21, draw)
    return Scenario(
        "occupied",
        "8 equal squids at a site, a tenth in use; something else fills the network card of one of them",
        world,
        12,
        0.1 * 8 / 12,
        Habits(changing=True),
        settled=8,
        others={0: 1.0},
    )


SCENARIOS: Mapping[str, Drawn] = {
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
    "occupied": occupied,
}
