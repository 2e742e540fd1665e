"""What workers do with an answer, and when a squid fails.

CVMFS under the shoal-client is timid: it keeps its squids while they are good and nothing much nearer is
told, nor the same others first for long; of a `|` group every mounted repository takes a member at random.
The others (Frontier, PAC, older clients) follow the order of each answer. All leave a dead squid for the
next one of their chain within 5 to 20 s, and come back to its head, or balance anew, 300 s later
(CVMFS_PROXY_RESET_AFTER).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from benchmarks.simulator.arrays import Flags, Floats, Ints
from benchmarks.simulator.world import World
from shoal_client.choice import IN_USE_TIMES, RETURN_SECONDS, SLUGGISH_TIMES, WORTH_KM, WORTH_TIMES
from shoal_common.distance import FEE_KM, GROUP_KM, GROUP_SHARE

MOUNTS = 4
"""Repositories that a worker has mounted; each has a quarter of the worker's demand."""
RESET_STEPS = 10
WANTED = 2
"""How many squids a worker configures (the shoal-client's default)."""
NOBODY = -1
LAME, DEAD = 1, 2


@dataclass(frozen=True, slots=True)
class Told:
    """Answers, one row a worker: squids, best first (-1: no more), and their distance as they were told."""

    squids: Ints
    km: Floats


@dataclass(frozen=True, slots=True)
class Moves:
    """What one round of lookups changed: the first squid told, the first squid configured."""

    asked: Ints
    told: Flags
    configured: Flags


@dataclass(frozen=True, slots=True)
class Bad:
    """How bad each squid is, to who chooses anew and to who uses it; the last one is for NOBODY."""

    new: Ints
    used: Ints

    @classmethod
    def of(cls, slow: Floats, dead: Flags) -> Self:
        """See `Clients.take`."""
        limits = (SLUGGISH_TIMES, IN_USE_TIMES * SLUGGISH_TIMES)
        return cls(*(np.append(np.where(dead, DEAD, (slow > most) * LAME), DEAD) for most in limits))


class Clients:
    """The state of all workers."""

    def __init__(self, world: World, random: np.random.Generator) -> None:
        self._world = world
        self._random = random
        self.chain = np.full((world.workers, WANTED), NOBODY, dtype=np.int64)
        self.balanced = np.zeros(world.workers, dtype=np.bool_)
        self._last_told = np.full(world.workers, NOBODY, dtype=np.int64)
        self._active = np.zeros((world.workers, MOUNTS), dtype=np.int64)
        self._reset = np.full(world.workers, -1, dtype=np.int64)
        self._preferred = self.chain.copy()
        self._since = np.full(world.workers, np.inf)

    @property
    def failed_over(self) -> Flags:
        """Who has left a dead squid and not yet come back to the head of the chain."""
        return self._reset >= 0

    def using(self) -> Ints:
        """The squid of every worker's every mount, -1 if it has none."""
        return np.take_along_axis(self.chain, self._active, axis=1)

    def take(self, workers: Ints, told: Told, slow: Floats, dead: Flags, now: float) -> Moves:
        """Let these workers act upon their answers; `slow`: how many times slower each squid is than a fast
        one.
        """
        first = told.squids[:, 0]
        seen = self._last_told[workers] != NOBODY
        told_anew = seen & (first != self._last_told[workers])
        self._last_told[workers] = first
        bad = Bad.of(slow, dead)
        chain, km = self._chosen(workers, told, bad)
        timid = ~self._world.in_order[workers]
        as_near = km[:, 1] <= km[:, 0] + np.maximum(GROUP_KM, GROUP_SHARE * _way(km[:, 0]))
        content = timid & self._content(workers, told, chain, km, bad)
        content &= ~self._returning(workers, chain, as_near, bad, content, now)
        changing = (chain[:, 0] != NOBODY) & ~content
        old = self.chain[workers, 0]
        self.chain[workers[changing]] = chain[changing]
        self.balanced[workers[changing]] = (timid & as_near & (chain[:, 1] != NOBODY))[changing]
        new = changing & ((old != chain[:, 0]) | timid)
        self._start_anew(workers[new])
        return Moves(workers, told_anew, (old != NOBODY) & (self.chain[workers, 0] != old))

    def fail_over(self, alive: Flags, step: int) -> int:
        """Mounts at dead squids take the other one of the chain; returns how many did."""
        due = np.flatnonzero((self._reset >= 0) & (self._reset <= step))
        self._reset[due] = -1
        self._start_anew(due)
        if alive.all():
            return 0
        up = np.append(alive, False)  # the last one is for NOBODY
        other = np.take_along_axis(self.chain, 1 - self._active, axis=1)
        leaving = ~up[self.using()] & up[other]
        self._active[leaving] = 1 - self._active[leaving]
        movers = leaving.any(axis=1) & (self._reset < 0)
        self._reset[movers] = step + RESET_STEPS
        return int(leaving.sum())

    def _start_anew(self, workers: Ints) -> None:
        """Every mount begins at the head of its chain: at random in a `|` group, else with the first."""
        draw = self._random.integers(0, WANTED, (len(workers), MOUNTS))
        self._active[workers] = draw * self.balanced[workers][:, None]

    def _chosen(self, workers: Ints, told: Told, bad: Bad) -> tuple[Ints, Floats]:
        """The chain that each would configure: the first two.

        The shoal-client tests them: it takes none that is dead, lame ones last, and wants two sites; for that
        it takes none that costs money if the first costs none.
        """
        timid = ~self._world.in_order[workers]
        rank = np.where(timid[:, None], bad.new[told.squids], 0)
        order = np.argsort(rank, axis=1, kind="stable")
        squids = np.take_along_axis(np.where(rank == DEAD, NOBODY, told.squids), order, axis=1)
        all_km = np.take_along_axis(np.where(rank == DEAD, np.inf, told.km), order, axis=1)
        second = np.ones(len(workers), dtype=np.int64)
        site = np.where(squids == NOBODY, -1, self._world.squid_site[squids])
        dear = _fees(all_km) % 2 == 1
        other = (site != site[:, :1]) & (site >= 0)
        elsewhere = other & (~dear | dear[:, :1])
        far = ~other[:, 1] & elsewhere.any(axis=1) & timid
        second[far] = elsewhere.argmax(axis=1)[far]
        pick = np.stack([np.zeros_like(second), second], axis=1)
        return np.take_along_axis(squids, pick, axis=1), np.take_along_axis(all_km, pick, axis=1)

    def _returning(
        self, workers: Ints, chain: Ints, as_near: Flags, bad: Bad, content: Flags, now: float
    ) -> Flags:
        """Who of those that keep what they have has been told the same other squids first for long enough."""
        wanted = _in_groups(chain, as_near)
        other = content & (wanted != _in_groups(self.chain[workers], as_near)).any(axis=1)
        other &= ((bad.new[chain] == 0) & (bad.new[self.chain[workers]] == 0)).all(axis=1)
        same = other & (wanted == self._preferred[workers]).all(axis=1)
        since = np.where(same, self._since[workers], np.where(other, now, np.inf))
        self._preferred[workers] = np.where(other[:, None], wanted, NOBODY)
        self._since[workers] = since
        returning: Flags = now - since >= RETURN_SECONDS
        return returning

    def _content(self, workers: Ints, told: Told, chain: Ints, km: Floats, bad: Bad) -> Flags:
        """Whether a timid client keeps what it has: all of it still told and good, nothing much nearer."""
        old = self.chain[workers]
        found = told.squids[:, None, :] == old[:, :, None]
        old_km = np.where(found, told.km[:, None, :], np.inf).min(axis=2)
        good = bad.used[old] == 0
        kept = (found.any(axis=2) & good) | ((old == NOBODY) & (chain == NOBODY))
        worth = _worth_it(old_km, km).any(axis=1)
        site = self._world.squid_site
        two = (site[chain[:, 0]] != site[chain[:, 1]]) & (chain[:, 1] != NOBODY)
        fewer_domains = (site[old[:, 0]] == site[old[:, 1]]) & two
        content: Flags = kept.all(axis=1) & ~worth & ~fewer_domains & (old[:, 0] != NOBODY)
        return content


def _way(km: Floats) -> Floats:
    """Without the fees; 0 where nobody is told."""
    way: Floats = np.where(np.isfinite(km), km, 0.0) % FEE_KM
    return way


def _worth_it(old: Floats, new: Floats) -> Flags:
    """Whether these distances (km) are worth a change: a much shorter way at the same fees."""
    known = np.isfinite(old) & np.isfinite(new)
    worth: Flags = known & (_way(old) > WORTH_TIMES * _way(new) + WORTH_KM) & (_fees(old) == _fees(new))
    return worth


def _fees(km: Floats) -> Floats:
    fees: Floats = np.where(np.isfinite(km), km, 0.0) // FEE_KM
    return fees


def _in_groups(chain: Ints, as_near: Flags) -> Ints:
    """Chains in an order that makes those the same that differ in the order inside a group alone."""
    return np.where(as_near[:, None], np.sort(chain, axis=1), chain)
