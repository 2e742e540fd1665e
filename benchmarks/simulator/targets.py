"""What the policy must reach, and whether a run did."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.simulator.arrays import Flags, Floats
from benchmarks.simulator.engine import Need, Record
from benchmarks.simulator.optimum import least_distance

ROOM = 0.9
"""How full the optimum may make a squid: as full as the targets allow the policy."""
BUSIEST = 0.7
NEAR = 1.15
EVEN = 1.15
PROPORTIONAL = 0.1
NEWCOMER = 0.02
LAST = 0.1
ENOUGH = 150.0
"""Workers that a squid's fair share of its site's load must be before it is judged: chance alone, who of them
asks for how much, makes the loads of squids with 40 workers each uneven by a fifth whatever the policy."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target in one run; `limit` is the most that `value` may be."""

    target: str
    value: float
    limit: float

    @property
    def kept(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        return f"{self.target}: {self.value:.3g} (at most {self.limit:.3g}){'' if self.kept else '  MISSED'}"


def verdicts(record: Record) -> Iterator[Verdict]:
    """Those that apply to the run's scenario."""
    scenario = record.scenario
    best = optimum(record, ROOM)
    if best is not None and fleet_load(record) < BUSIEST:
        yield Verdict("mean distance / optimum", mean_km(record) / max(best, 1.0), NEAR)
    even = unevenness(record)
    if even is not None:
        yield Verdict("highest / mean utilisation of equals", even, EVEN)
    share = disproportion(record)
    if share is not None:
        yield Verdict("furthest from proportional", share, PROPORTIONAL)
    yield Verdict("squids above 90 % beside one below 50 %", float(record.hot_beside_cool), 0)
    if scenario.steady:
        yield Verdict("moved by steady load", float(record.told_moves + record.configured_moves), 0)
    if scenario.added:
        yield Verdict("moved by one more", float(record.moved.mean()), 1 / scenario.added + NEWCOMER)
    if scenario.removed:
        yield Verdict("moved though not its own", float((record.moved & ~record.own).sum()), 0)
    if scenario.others:
        yield Verdict("asked of squids that others fill, of their part", occupied(record), LAST)
    if scenario.storm and all(_best(record, need, 1.0) is not None for need in record.storm):
        yield Verdict("squids overloaded by a storm", float(record.overloaded.sum()), 0)


def mean_km(record: Record) -> float:
    """Mean distance of what was served."""
    return record.distance / record.served if record.served else 0.0


def fleet_load(record: Record) -> float:
    """Demand over the capacity of all squids in the measured time."""
    asked = sum(need.demand.sum() for need in record.needs)
    return float(asked / sum(need.capacity.sum() for need in record.needs))


def optimum(record: Record, room: float) -> float | None:
    """Mean distance of the best assignments; None if at some time there was too little room."""
    best = [_best(record, need, room) for need in record.needs]
    if any(one is None for one in best):
        return None
    return float(
        np.average([one or 0.0 for one in best], weights=[need.demand.sum() for need in record.needs])
    )


def _best(record: Record, need: Need, room: float) -> float | None:
    return least_distance(record.scenario.world.km, need.demand, room * need.capacity)


def unevenness(record: Record) -> float | None:
    """Highest over mean utilisation among squids of one site and one capacity; the worst such group."""
    world = record.scenario.world
    judged = _judged(record)
    worst = None
    for site, capacity in {
        (int(world.squid_site[one]), float(world.capacity[one])) for one in np.flatnonzero(judged)
    }:
        equals = judged & (world.squid_site == site) & (world.capacity == capacity)
        if equals.sum() > 1:
            used = _used(record)[equals]
            worst = max(worst or 0.0, float(used.max() / used.mean()))
    return worst


def disproportion(record: Record) -> float | None:
    """How far a squid's utilisation is from that of its site, where capacities differ; the worst."""
    world = record.scenario.world
    judged = _judged(record)
    worst = None
    for site in np.unique(world.squid_site):
        here = judged & (world.squid_site == site)
        if len(np.unique(world.capacity[here])) > 1:
            whole = record.load[here].sum() / record.room[here].sum()
            worst = max(worst or 0.0, float(np.abs(_used(record)[here] / whole - 1).max()))
    return worst


def occupied(record: Record) -> float:
    """What workers ask of the squids that others fill, as a part of what they would at an even spread."""
    world, busy = record.scenario.world, record.scenario.elsewise > 0
    site = np.isin(world.squid_site, world.squid_site[busy])
    even = record.load[site].sum() * world.capacity[busy].sum() / world.capacity[site].sum()
    return float(record.load[busy].sum() / even)


def _used(record: Record) -> Floats:
    """Mean utilisation of every squid."""
    return np.divide(record.load, record.room, out=np.zeros_like(record.load), where=record.room > 0)


def _judged(record: Record) -> Flags:
    """The squids that were there and warm all the time, and whose fair share is of enough workers."""
    world = record.scenario.world
    room = np.bincount(world.squid_site, record.room)
    load = np.bincount(world.squid_site, record.load)
    used = np.divide(load, room, out=np.zeros_like(load), where=room > 0)
    workers = used[world.squid_site] * world.capacity / record.scenario.mean_demand
    judged: Flags = (record.room > 0.999 * record.steps * world.capacity) & (workers >= ENOUGH)
    judged &= record.scenario.elsewise == 0
    return judged
