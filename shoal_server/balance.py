"""The squids of a failure domain are used alike: one that is used more than its peers gets a smaller share.

Which requesters fall to a squid is a matter of chance, and so is what they ask for: with a few hundred of
them one of ten equals easily gets a quarter more than its part. So each squid's record has its `share`, by
which its weight among its equals is multiplied, and what it was `used` in the mean (utilisation) while the
window went to its end: long after the last change, and for long enough to be more than the noise of its load.
When the next window begins (`crowding`), each squid is held against the mean of its domain. Between two
limits its share stays, so that a steady load moves nobody. A squid that is full while its peers have room
loses share until it is not, or is told last.

The constants were chosen by simulation in several worlds (docs/policy.md).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from shoal_server.crowding import FULL, SATURATED, WINDOW, taken, window, window_end
from shoal_server.squid import Past

MEASURED_SECONDS = 900.0
"""Workers come back every 10 to 30 minutes: by then most have heard of the last change."""
EVEN, EVEN_AT_LEAST = 0.1, 0.045
"""So far from the mean of its peers (as a part of that; of its capacity) a squid's use is no reason to
change anything."""
FULLER = 1.2
"""At least so many times as much as of its peers, who have room, is asked of a full squid: its load does not
tell."""
MOST_GAIN, LEAST_GAIN = 0.35, 0.02
"""The power of the ratio by which a share changes. Some workers stay with their squid for an hour after it,
so whoever corrected all at once would do it twice."""
FASTER, SLOWER = 1.5, 0.5
"""Times the power of the last change: in the same direction, and back. Where many workers change at once, it
is found step by step how far to go (M. Riedmiller, H. Braun: RPROP, 1993)."""
MOST_STEP = 2.0
LEAST_SHARE, MOST_SHARE = 0.4, 2.5
LAST_SHARE = 0.02
"""What a squid comes down to that stays full whatever its share is, while its peers have room: others than
our workers load it, or its capacity is understated. It is told last."""
MOST_UTILISATION = 10.0
"""A squid may call next to nothing its max_load."""
BUSY = 0.3
"""A domain that is used less needs no balance: it is the few workers there that are not alike."""


@dataclass(frozen=True, slots=True)
class Peers:
    """The squids of one failure domain together: what they take, and were used when last measured (0..1)."""

    takes: float
    used: float


FindPeers = Callable[[str], Peers | None]
"""The domain of a squid, by its id; None while that is not known, or all are new there."""


def alone(_squid_id: str) -> Peers | None:
    """A squid's peers where nobody knows them."""
    return None


class Decision(NamedTuple):
    """What a squid takes, its share, and the power by which that changed last: negative if it shrank, 0 if it
    never changed.
    """

    takes: float
    share: float
    trend: float


def measured(before: float, present: float, since: float, now: float) -> float:
    """The mean utilisation in this window's last MEASURED_SECONDS, as far as they are over.

    `before` was the mean at `since` (s since 1970); until the measuring begins it stays.
    """
    begin = window_end(now) - MEASURED_SECONDS
    passed, new = now - begin, max(0.0, now - max(since, begin))
    if passed < 0:
        return before
    return present if new >= passed else before + (present - before) * new / passed


def decided(past: Past, squid_id: str, peers: FindPeers, present: float, now: float) -> Decision:
    """What holds for a squid from `now` on; `present` is its utilisation.

    It changes with its first heartbeat in a window. A domain takes what it has room for as a whole, so its
    squids go by the mean; a new one begins with what the others take.
    """
    before = Decision(past.takes, past.share, past.trend)
    if window(now) <= window(past.seen):
        return before
    used, domain = past.used or present, peers(squid_id)  # servers of before did not measure
    if domain is None:
        return before._replace(takes=taken(past.takes, used))
    if past.seen - past.created <= WINDOW:
        return before._replace(takes=domain.takes)
    return balanced(before._replace(takes=taken(past.takes, domain.used)), used, domain.used)


def balanced(before: Decision, used: float, mean: float) -> Decision:
    """With the next share of a squid that was so much used while its domain was in the mean."""
    full = used >= SATURATED and mean <= FULL
    if full:
        used = max(used, mean * FULLER)
    returns = before.share < LEAST_SHARE and used < mean
    alike = mean < BUSY or abs(used - mean) <= max(EVEN * mean, EVEN_AT_LEAST)
    if alike and not full and not returns:
        return before
    gain = _gain(before.trend, shrinks=used > mean)
    change = math.pow(mean / max(used, mean / 1000), gain)
    share = before.share * min(MOST_STEP, max(1 / MOST_STEP, change))
    least = LAST_SHARE if full else min(LEAST_SHARE, before.share)
    return Decision(before.takes, min(MOST_SHARE, max(least, share)), math.copysign(gain, mean - used))


def _gain(trend: float, *, shrinks: bool) -> float:
    if trend == 0:
        return MOST_GAIN
    if (trend < 0) is shrinks:
        return min(MOST_GAIN, abs(trend) * FASTER)
    return max(LEAST_GAIN, abs(trend) * SLOWER)
