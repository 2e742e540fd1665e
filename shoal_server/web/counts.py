"""Counts of lookups by what was asked and what came of it, and of how long they took.

Counting must cost next to nothing: a lookup takes some tens of microseconds. There is no lock; where
several threads count with one instance, two that meet in the same instruction may lose a count, about
one in many millions.
"""

from bisect import bisect_left
from collections.abc import Mapping
from enum import IntEnum

from shoal_server.reports import Lookups

BOUNDS = (
    *(0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
"""Upper ends of the buckets of the latency histogram (s); above the last there is one more."""


class Kind(IntEnum):
    """What was asked: `/nearest` and its kin, `/all`, `/api/v1/nearest`, `/wpad.dat`."""

    NEAREST = 0
    ALL = 1
    API = 2
    WPAD = 3


class Outcome(IntEnum):
    """What came of it: squids, none, squids for an asker whose place is not known, a refusal, a defect."""

    TOLD = 0
    EMPTY = 1
    UNKNOWN_PLACE = 2
    BAD_REQUEST = 3
    FAILED = 4


_OUTCOMES = len(Outcome)
_BUCKETS = len(BOUNDS) + 1


class LookupCounts:
    """The lookups of this process since it began."""

    __slots__ = ("_buckets", "_outcomes", "_seconds")

    def __init__(self) -> None:
        self._outcomes = [0] * (len(Kind) * _OUTCOMES)
        self._buckets = [0] * (len(Kind) * _BUCKETS)
        self._seconds = [0.0] * len(Kind)

    def count(self, kind: int, outcome: int, seconds: float) -> None:
        """Note one lookup that took `seconds`; `kind` is a Kind, `outcome` an Outcome."""
        self._outcomes[kind * _OUTCOMES + outcome] += 1
        self._buckets[kind * _BUCKETS + bisect_left(BOUNDS, seconds)] += 1
        self._seconds[kind] += seconds

    def lookups(self) -> Lookups:
        """What has been counted so far, for a report."""
        return Lookups(
            outcomes={kind.name.lower(): self._of(kind) for kind in Kind},
            buckets={kind.name.lower(): self._latencies(kind) for kind in Kind},
            seconds={kind.name.lower(): self._seconds[kind] for kind in Kind},
        )

    def _of(self, kind: Kind) -> Mapping[str, int]:
        first = kind * _OUTCOMES
        return {outcome.name.lower(): self._outcomes[first + outcome] for outcome in Outcome}

    def _latencies(self, kind: Kind) -> Mapping[str, int]:
        """How many took so long or less, by the upper end of each bucket."""
        first, total = kind * _BUCKETS, 0
        found: dict[str, int] = {}
        for place, bound in enumerate((*map(str, BOUNDS), "+Inf")):
            total += self._buckets[first + place]
            found[bound] = total
        return found
