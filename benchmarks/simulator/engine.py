"""Runs a scenario under a policy, heartbeat by heartbeat, and keeps the records."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.simulator.arrays import Flags, Floats, Ints
from benchmarks.simulator.clients import MOUNTS, Clients
from benchmarks.simulator.fleet import STEP, Fleet
from benchmarks.simulator.policies import Policy
from benchmarks.simulator.scenarios import HOUR, Scenario
from benchmarks.simulator.workload import Workload
from benchmarks.simulator.world import World

MakePolicy = Callable[[World, np.random.Generator], Policy]
HOT, COOL = 0.9, 0.5
SETTLED = 3600.0
"""Seconds after which a squid that has started is compared with others: its cache is warm, and all workers
have asked twice since."""
FIRST_STEPS = 20
HANDFUL = 40
"""Workers that a squid must have room for to be compared with another: of fewer chance alone makes one full
while another is half empty."""
EPOCH = 60
"""Every so many steps (half an hour) distances are taken, and compared with the optimum's."""


@dataclass(frozen=True, slots=True)
class Need:
    """Demand and capacity (kB/s) of each site at some time."""

    demand: Floats
    capacity: Floats


@dataclass
class Record:
    """What happened in the measured time.

    By squid: `load` (that of workers in kB/s, summed over steps), `room` (its capacity, likewise). `needs` at
    every half hour, `storm` at every step of one. `moved` marks workers whose first squid changed, `own`
    those whose first squid went away. `distance` (km times kB/s) and `served` are of those who did not have
    to fail over.
    By step, of the whole time: `highest`, `fleet` utilisation.
    """

    scenario: Scenario
    load: Floats
    room: Floats
    moved: Flags
    own: Flags
    distance: float = 0.0
    served: float = 0.0
    stranded: float = 0.0
    lookups: int = 0
    told_moves: int = 0
    configured_moves: int = 0
    fail_overs: int = 0
    hot_beside_cool: int = 0
    overloaded: Flags = field(init=False)
    peak: float = 0.0
    steps: int = 0
    needs: list[Need] = field(default_factory=list)
    storm: list[Need] = field(default_factory=list)
    highest: list[float] = field(default_factory=list)
    fleet: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.overloaded = np.zeros(len(self.load), dtype=np.bool_)


def run(scenario: Scenario, make: MakePolicy) -> Record:
    """The whole scenario, from a start at which every worker looks for squids within its first period."""
    return _Run(scenario, make).run()


class _Run:
    def __init__(self, scenario: Scenario, make: MakePolicy) -> None:
        world = scenario.world
        random = np.random.default_rng(scenario.seed)
        self._scenario, self._world = scenario, world
        self._policy = make(world, random)
        self._fleet = Fleet.of(world, scenario.present, random)
        self._clients = Clients(world, random)
        self._workload = Workload(
            world, scenario.habits, scenario.mean_demand, scenario.births(), scenario.seed
        )
        self._record = Record(
            scenario,
            np.zeros(world.squids),
            np.zeros(world.squids),
            np.zeros(world.workers, dtype=np.bool_),
            np.zeros(world.workers, dtype=np.bool_),
        )
        self._elsewise = scenario.elsewise
        self._pending = sorted(scenario.happenings, key=lambda one: one.at)

    def run(self) -> Record:
        for step in range(round(self._scenario.hours * HOUR / STEP)):
            self._happen(step * STEP)
            demand = self._workload.demand(step)
            self._record.fail_overs += self._clients.fail_over(self._fleet.alive, step)
            self._ask(step, demand)
            self._measure(step, demand)
        return self._record

    def _happen(self, now: float) -> None:
        while self._pending and self._pending[0].at <= now:
            one = self._pending.pop(0)
            squids = np.zeros(self._world.squids, dtype=np.bool_)
            squids[list(one.squids)] = True
            if one.start:
                self._fleet.start(squids, now)
            else:
                self._record.own |= squids[self._clients.chain[:, 0]]
                self._fleet.stop(squids, orderly=one.orderly)

    def _ask(self, step: int, demand: Floats) -> None:
        """The heartbeats of this step, then its lookups."""
        now = step * STEP
        load, squares, _ = self._loads(demand)
        load += self._elsewise * self._fleet.alive
        self._fleet.hear(load, squares, now, self._policy.peers)
        asking = self._first_round(step) if step < FIRST_STEPS else self._workload.asks(step)
        self._policy.look(self._fleet)
        if not len(asking):
            return
        told = self._policy.told(asking)
        capacity = self._fleet.capacity(now)
        slow = np.divide(load, capacity, out=np.zeros_like(load), where=capacity > 0)
        moves = self._clients.take(asking, told, slow, ~self._fleet.alive, now)
        if self._measured(step):
            record = self._record
            record.lookups += len(asking)
            record.told_moves += int(moves.told.sum())
            record.configured_moves += int(moves.configured.sum())
            record.moved[asking[moves.configured]] = True

    def _first_round(self, step: int) -> Ints:
        """At the start of the world everybody needs squids; as they would, not all in one moment."""
        born = np.flatnonzero(self._scenario.births() < 0)
        turn: Flags = born % FIRST_STEPS == step
        return born[turn]

    def _measured(self, step: int) -> bool:
        return step * STEP >= self._scenario.settled * HOUR

    def _loads(self, demand: Floats) -> tuple[Floats, Floats, Ints]:
        """By squid: demand, and the sum of its squares; by mount: the squid's number or -1."""
        using = self._clients.using()
        part = np.repeat(demand / MOUNTS, MOUNTS)
        flat = using.ravel() + 1
        size = self._world.squids + 1
        load = _sums(flat, part, size)[1:]
        squares = _sums(flat, part**2, size)[1:]
        return load * self._fleet.alive, squares, using

    def _measure(self, step: int, demand: Floats) -> None:
        load, _, using = self._loads(demand)
        capacity = self._fleet.capacity(step * STEP)
        used = np.divide(load, capacity, out=np.zeros_like(load), where=capacity > 0)
        record, world = self._record, self._world
        record.highest.append(float(used.max()))
        record.fleet.append(float(demand.sum() / capacity.sum()))
        if not self._measured(step):
            return
        record.steps += 1
        record.load += load
        record.room += capacity
        record.overloaded |= used > 1
        record.peak = max(record.peak, float(used.max()))
        judged = self._fleet.alive & (step * STEP - self._fleet.started > SETTLED)
        judged &= world.capacity >= HANDFUL * self._scenario.mean_demand
        judged &= self._elsewise == 0
        record.hot_beside_cool += _hot_beside_cool(world, used, judged)
        self._note_need(step, demand, capacity - self._elsewise)
        if step % EPOCH == 0:
            self._distances(demand, using)

    def _distances(self, demand: Floats, using: Ints) -> None:
        up = np.append(self._fleet.alive, False)[using]
        at_home = up & ~self._clients.failed_over[:, None]
        km = self._world.km[self._world.worker_site[:, None], self._world.squid_site[using]]
        part = demand[:, None] / MOUNTS
        record = self._record
        record.distance += float((part * km * at_home).sum())
        record.served += float((part * at_home).sum())
        record.stranded += float((part * ~up).sum())

    def _note_need(self, step: int, demand: Floats, capacity: Floats) -> None:
        """Every half hour, and in a storm at every step, what an optimum would have to serve."""
        sites = len(self._world.sites)
        need = Need(
            _sums(self._world.worker_site, demand, sites), _sums(self._world.squid_site, capacity, sites)
        )
        if step % EPOCH == 0:
            self._record.needs.append(need)
        if self._scenario.storm and 0 <= step * STEP - self._scenario.storm_at < HOUR:
            self._record.storm.append(need)


def _sums(of: Ints, values: Floats, size: int) -> Floats:
    """The values added up by number."""
    return np.bincount(of, values, size).astype(np.float64)


def _hot_beside_cool(world: World, used: Floats, judged: Flags) -> int:
    """How many squids are above 90 % while another at their site is below 50 %."""
    sites = len(world.sites)
    cool = np.bincount(world.squid_site, (used < COOL) & judged, sites) > 0
    return int(((used > HOT) & judged & cool[world.squid_site]).sum())
