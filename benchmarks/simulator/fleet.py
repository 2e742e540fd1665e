"""The squids over time: alive or not, how warm, what they say of their load, what the server makes of it."""

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.simulator.arrays import Flags, Floats
from benchmarks.simulator.world import World
from shoal_common.heartbeat import Heartbeat
from shoal_server.balance import FindPeers, alone
from shoal_server.registry import heard_again
from shoal_server.squid import Listed, LivenessRules, Reach, Squid, Verification

STEP = 30.0
"""Seconds between two heartbeats of a squid, and between two looks of the simulator at the world."""
COLD_SECONDS = 1800.0
COLD_CAPACITY = 0.5
"""A squid that starts with an empty cache can send this share of its capacity until it is warm."""
BURST = 0.5
"""Coefficient of variation of one worker's traffic from one heartbeat to the next."""

_GOOD = Verification(Reach.GLOBAL, "delivered a repository's manifest", checked=0.0)


@dataclass
class Fleet:
    """State of the squids; `alive` is the truth, `heard` (seconds) and `listed` are what the server knows."""

    world: World
    random: np.random.Generator
    alive: Flags
    started: Floats
    heard: Floats
    reported: Floats
    listed: list[Listed | None]
    rules: LivenessRules
    now: float = 0.0

    @classmethod
    def of(cls, world: World, alive: Flags, random: np.random.Generator) -> "Fleet":
        """All squids in `alive` have long been running, without load."""
        long_ago = np.full(world.squids, -1e6)
        fleet = cls(
            world,
            random,
            alive.copy(),
            long_ago.copy(),
            np.where(alive, 0.0, -np.inf),
            np.zeros(world.squids),
            [None] * world.squids,
            LivenessRules(),
        )
        for index in np.flatnonzero(alive):
            fleet.listed[index] = fleet._first(int(index), -1e6, 0.0, 0.0)
        return fleet

    def capacity(self, now: float) -> Floats:
        """What each can send now (kB/s): nothing if dead, less while its cache is cold."""
        warm = np.clip((now - self.started) / COLD_SECONDS, 0.0, 1.0)
        return self.world.capacity * self.alive * (COLD_CAPACITY + (1 - COLD_CAPACITY) * warm)

    def start(self, squids: Flags, now: float) -> None:
        """These start with empty caches and announce themselves."""
        self.alive |= squids
        self.started[squids] = now
        self.reported[squids] = 0.0

    def stop(self, squids: Flags, *, orderly: bool) -> None:
        """These are gone; orderly ones say goodbye, the others fall silent."""
        self.alive &= ~squids
        if orderly:
            for index in np.flatnonzero(squids):
                self.listed[index] = None

    def hear(self, load: Floats, squares: Floats, now: float, peers: FindPeers = alone) -> None:
        """A heartbeat of each squid that lives: its load, as bursty as its workers make it.

        `squares` are the sums of the squares of the workers' demands; `peers` is what the server finds.
        """
        self.now = now
        noisy = load + BURST * np.sqrt(squares) * self.random.standard_normal(len(load))
        self.reported = np.clip(noisy, 0.0, self.capacity(now)) * self.alive
        self.heard[self.alive] = now
        for index in range(self.world.squids):
            if self.alive[index]:
                self.listed[index] = self._heard(index, now, peers)
            elif now - self.heard[index] > self.rules.dead_after:
                self.listed[index] = None

    @property
    def known(self) -> Flags:
        """Which squids the server lists."""
        return np.array([one is not None for one in self.listed])

    def _heard(self, index: int, now: float, peers: FindPeers) -> Listed:
        before = self.listed[index]
        if before is None:
            return self._first(index, now, now, float(self.reported[index]))
        beat = self._beat(index, float(self.reported[index]), now)
        later = replace(heard_again(before.squid, beat, now, peers), verification=_GOOD)
        return Listed(later, before.place, before.owner)

    def _first(self, index: int, started: float, now: float, load: float) -> Listed:
        site = self.world.sites[self.world.squid_site[index]]
        beat = self._beat(index, load, now)
        return Listed(Squid(beat, started, now, load, _GOOD), site.place, site.owner)

    def _beat(self, index: int, load: float, now: float) -> Heartbeat:
        return Heartbeat(
            uuid=f"squid-{index}",
            hostname=f"squid-{index}",
            port=3128,
            timestamp=now,
            load=load,
            public_ip=f"198.{18 + self.world.draw}.{index // 256 % 256}.{index % 256}",
            max_load=float(self.world.capacity[index]),
        )
