"""A place that is asked for more than its squids can send turns a part of its requesters away.

Every squid's record has the part of those who ask that it `takes` (0..1). Once in a `WINDOW`, as long as
the slowest workers need to come back, that part is brought nearer to what its utilisation of then allows;
between two limits it stays, so that a steady load moves nobody. Squids that would fail together count
together, by the mean of their parts. Which requesters are turned away is a matter of their spot: the part
shrinks and grows at one end, so that nobody goes to and fro while others stay, and those leave first for
whom the place was not the nearest anyway.

The constants were chosen by simulation (docs/policy.md).
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from shoal_server.rendezvous import SPOTS

WINDOW = 1800.0
"""Seconds between two changes; deployed workers come back every 10 to 30 minutes."""
PHASE = 900.0
"""Changes fall on a quarter past and a quarter to the hour, between what cron starts at the hour and half."""
FULL = 0.94
FREE = 0.83
GOAL = 0.885
"""Above FULL or below FREE (utilisation, 0..1) the part is changed, towards GOAL, which is farther from both
than the noise of a steady load."""
SATURATED = 0.97
"""From here on the load does not tell how much more is asked for."""
CUT = 0.7
MOST_GROWTH = 1.5
DAMPING = 0.5
"""Less is changed than the load calls for: it is not in proportion to the part (guests leave first)."""
LEAST = 0.05
GUEST = 4.0
"""Of those to whom the place is not the nearest, it takes its part to this power."""
Floats = npt.NDArray[np.float64]


def taken(before: float, utilisation: float, since: float, now: float) -> float:
    """The part of those who ask that a squid takes `now`, if it took `before` at `since` (s since 1970)."""
    if _window(now) <= _window(since) or FREE <= utilisation <= FULL:
        return before
    change = (GOAL / max(utilisation, FREE / 100)) ** DAMPING if utilisation < SATURATED else CUT
    return max(LEAST, min(1.0, before * min(change, MOST_GROWTH)))


def _window(moment: float) -> int:
    return math.floor((moment + PHASE) / WINDOW)


@dataclass(frozen=True, slots=True)
class Door:
    """Which spots a crowded failure domain takes: those to which it gives numbers below its part.

    `factor` and `start` are its own, for the universal hashing of `rendezvous.Equals`.
    """

    factor: int
    start: int
    part: float

    @classmethod
    def of(cls, seed: int, part: float) -> Self:
        return cls(seed >> 32, seed & 0xFFFFFFFF, part)

    def opens(self, spot: int) -> bool:
        """Whether there is room for the requesters of a spot."""
        return (self.factor * spot + self.start) >> 20 & 4095 < SPOTS * self.part

    def opens_each(self, spots: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The same for many spots."""
        opens: npt.NDArray[np.bool_] = (self.factor * spots + self.start) >> 20 & 4095 < SPOTS * self.part
        return opens

    def for_guests(self) -> "Door":
        """The same for those to whom another place is nearer."""
        return Door(self.factor, self.start, self.part**GUEST)


def parts(domain: npt.NDArray[np.integer], takes: Floats, weight: Floats) -> Floats:
    """What each domain takes, by its number: the mean of its squids', weighted; 1 where none has a weight."""
    whole = np.bincount(domain, weight)
    mean = np.bincount(domain, takes * weight)
    return np.divide(mean, whole, out=np.ones_like(mean), where=whole > 0)
