"""A place that is asked for more than its squids can send turns a part of its requesters away.

Every squid's record has a number that tells what it `takes` (0..1). Down to one half a place turns away its
guests alone, of whom it takes 2 * takes - 1; below that no guest finds room, and of its locals, who are
nearer than LOCAL_KM, it takes 2 * takes. So nobody loses the squids of his own place to somebody else.

Once in a `WINDOW`, as long as the slowest workers need to come back, the part in question is multiplied by
the utilisation that is wanted over the one that was measured (`balance`). It causes at most the whole load,
so growing never overshoots, whatever part guests are of all. Between two limits it stays, so that a steady
load moves nobody. Squids that would fail together count together, by the means of what they take and are
used. Which requesters are turned away is a matter of their spot: the parts shrink and grow at one end, so
that nobody goes to and fro while others stay.

The constants were chosen by simulation in several worlds (docs/policy.md).
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from shoal_server.rendezvous import SPOT_BITS, SPOTS

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
GUESTS_CUT = 0.4
LOCALS_CUT = 0.8
SHRINK = 3.0
"""The guests of a full squid shrink by this power of the change: mostly they are a part of its load alone."""
MOST_GROWTH = 2.0
FEWEST = 0.02
"""A smaller part of the guests is none, and the first that is taken again."""
LEAST = 0.025
HALF = 0.5
GUEST = 4.0
"""Of those who boot together (`surge`) and are nearer to another place it takes its part to this power."""
LOCAL_KM = 150.0
"""Effective: within 50 km, in whatever network."""
ROOMY = 0.75
"""Below this utilisation a place turns nobody away: well below FREE, lest it shuts and opens."""
Floats = npt.NDArray[np.float64]
Spots = TypeVar("Spots", int, npt.NDArray[np.int64])


def taken(before: float, utilisation: float) -> float:
    """What a squid takes in the next window, if it took `before` and was used so much."""
    if FREE <= utilisation <= FULL:
        return before
    full = utilisation >= SATURATED
    change = min(GOAL / max(utilisation, FREE / 100), MOST_GROWTH)
    locals_, guests = openings(before)
    if guests > 0:
        guests *= GUESTS_CUT if full else min(change, change**SHRINK)
        return HALF + HALF * min(guests, 1.0) if guests >= FEWEST else HALF
    locals_ *= LOCALS_CUT if full else change
    return max(LEAST, HALF * locals_) if locals_ <= 1 else HALF + HALF * FEWEST


def openings(takes: float) -> tuple[float, float]:
    """The parts (0..1) of locals and of guests."""
    return min(1.0, takes / HALF), max(0.0, takes / HALF - 1)


def window(moment: float) -> int:
    """The number of the window in which a moment is (s since 1970)."""
    return math.floor((moment + PHASE) / WINDOW)


def window_end(moment: float) -> float:
    """When that window ends (s since 1970)."""
    return (window(moment) + 1) * WINDOW - PHASE


@dataclass(frozen=True, slots=True)
class Door:
    """Which spots a crowded failure domain takes: those to which it gives numbers below its part.

    `factor` and `start` are its own, for the universal hashing of `rendezvous.Equals`. `part` is that of its
    locals, `guests` that of all others for what the domain takes, `surge` for those who boot together.
    """

    factor: int
    start: int
    part: float
    guests: float
    surge: float = 1.0

    @classmethod
    def of(cls, seed: int, takes: float, surge: float = 1.0) -> Self:
        locals_, guests = openings(takes)
        return cls(seed >> 32, seed & 0xFFFFFFFF, min(locals_, surge), guests, surge)

    def opens(self, spot: int) -> bool:
        """Whether there is room for the requesters of a spot."""
        return self._number(spot) < SPOTS * self.part

    def opens_each(self, spots: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The same for many spots."""
        opens: npt.NDArray[np.bool_] = self._number(spots) < SPOTS * self.part
        return opens

    def _number(self, spots: Spots) -> Spots:
        return (self.factor * spots + self.start) >> 32 - SPOT_BITS & SPOTS - 1

    def for_guests(self, *, nearest: bool) -> "Door":
        """The same for those who are no locals; `nearest`: no other place is nearer to them."""
        surge = self.surge if nearest else self.surge**GUEST
        return replace(self, part=min(self.guests, surge))


def parts(domain: npt.NDArray[np.integer], takes: Floats, weight: Floats) -> Floats:
    """What each domain takes, by its number: the mean of its squids', weighted; 1 where none has a weight."""
    whole = np.bincount(domain, weight)
    mean = np.bincount(domain, takes * weight)
    return np.divide(mean, whole, out=np.ones_like(mean), where=whole > 0)


def roomy(
    domain: npt.NDArray[np.integer], part: Floats, load: npt.NDArray[np.floating[Any]], capacity: Floats
) -> npt.NDArray[np.bool_]:
    """Which domains turn nobody away, whatever their squids take: their load has fallen since, or it was
    decided for one of them that was full, by an intake that did not know the others.

    They would be used below ROOMY if all came who are turned away, these being guests at the most.
    """
    sent = np.bincount(domain, np.where(capacity > 0, load, 0.0), len(part))
    room = np.bincount(domain, capacity, len(part))
    guests = np.maximum(0.0, part / HALF - 1)
    return sent < ROOMY * room * guests
