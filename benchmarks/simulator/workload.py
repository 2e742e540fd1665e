"""What the workers ask of their squids over time, and when they look for squids."""

from dataclasses import dataclass

import numpy as np

from benchmarks.simulator.arrays import Flags, Floats, Ints
from benchmarks.simulator.fleet import STEP
from benchmarks.simulator.world import World

COLD_WORKER_SECONDS = 600.0
COLD_WORKER_TIMES = 3.0
"""A worker that boots fetches its software: so many times its usual demand, for so long."""
DAILY = 0.3
"""Swing of the demand over a day, by the sun."""
JOB_STEPS = 480
"""A worker's jobs, and with them its demand, change about so often: every 4 hours."""
JOB_SPREAD = 0.5


@dataclass(frozen=True, slots=True)
class Habits:
    """`together`: every worker asks at :00 and :30; else each in its own period of 10 to 30 minutes.

    `changing`: demand follows the sun, and jobs come and go; else it is always the same.
    """

    together: bool = False
    changing: bool = False


class Workload:
    """Demand (kB/s) and lookups of all workers; `mean` is the mean worker's demand, `born` in seconds."""

    def __init__(self, world: World, habits: Habits, mean: float, born: Floats, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._world = world
        self._habits = habits
        self._base = world.share * mean
        self._born = born
        self._random = random
        self._jobs = self._draw(world.workers) if habits.changing else np.ones(world.workers)
        self._shift = random.integers(0, JOB_STEPS, world.workers)
        period = np.full(world.workers, 60) if habits.together else random.integers(20, 61, world.workers)
        phase = np.zeros(world.workers) if habits.together else random.integers(0, period)
        self._period, self._phase = period, phase.astype(np.int64)
        self._east = np.array([site.longitude for site in world.sites])[world.worker_site]

    def demand(self, step: int) -> Floats:
        """Of each worker now; nothing before it is born."""
        now = step * STEP
        alive = self._born <= now
        demand = self._base * alive
        if self._habits.changing:
            new = (step + self._shift) % JOB_STEPS == 0
            self._jobs[new] = self._draw(int(new.sum()))
            hour = now / 3600 + self._east / 15
            demand *= self._jobs * (1 + DAILY * np.sin((hour - 8) / 24 * 2 * np.pi))
        cold = alive & (now - self._born < COLD_WORKER_SECONDS)
        demand[cold] *= COLD_WORKER_TIMES
        return demand

    def asks(self, step: int) -> Ints:
        """The workers who look for squids in this step: at their birth, and then from time to time."""
        now = step * STEP
        newborn: Flags = (self._born <= now) & (self._born > now - STEP)
        regular = (self._born <= now) & ((step - self._phase) % self._period == 0)
        return np.flatnonzero(newborn | regular)

    def _draw(self, count: int) -> Floats:
        return self._random.lognormal(-(JOB_SPREAD**2) / 2, JOB_SPREAD, count)
