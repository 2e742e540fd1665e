"""Counts of lookups by what was asked and what came of it, and of how long they took.

Counting must cost next to nothing: a lookup takes some tens of microseconds. There is no lock; where
several threads count with one instance, two that meet in the same instruction may lose a count, about
one in many millions.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping
from enum import Enum

from shoal_server.reports import Lookups

BOUNDS = (
    *(0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
"""Upper ends of the buckets of the latency histogram (s); above the last there is one more."""


class Kind(Enum):
    """What was asked: `/nearest` and its kin, `/all`, `/api/v1/nearest`, `/wpad.dat` and `/proxy.pac`."""

    NEAREST = 0
    ALL = 1
    API = 2
    WPAD = 3


class Outcome(Enum):
    """What came of it: squids, none, squids for an asker whose place is not known, a refusal, a defect."""

    TOLD = 0
    EMPTY = 1
    UNKNOWN_PLACE = 2
    BAD_REQUEST = 3
    FAILED = 4


class Tally:
    """How many lookups of one kind had one outcome, and how long they took (s).

    `late` are those that took longer than the first of BOUNDS, by bucket: few do.
    """

    __slots__ = ("late", "number", "seconds")

    def __init__(self) -> None:
        self.number = 0
        self.seconds = 0.0
        self.late = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        """One more, which took so long."""
        self.number += 1
        self.seconds += seconds
        if seconds > BOUNDS[0]:
            self.late[bisect_left(BOUNDS, seconds)] += 1


class LookupCounts:
    """The lookups of this process since it began."""

    def __init__(self) -> None:
        self._tallies = {kind: {outcome: Tally() for outcome in Outcome} for kind in Kind}

    def of(self, kind: Kind, outcome: Outcome) -> Tally:
        """The count of one kind and outcome."""
        return self._tallies[kind][outcome]

    def count(self, kind: Kind, outcome: Outcome, seconds: float) -> None:
        """Note one lookup that took `seconds`."""
        self._tallies[kind][outcome].add(seconds)

    def lookups(self) -> Lookups:
        """What has been counted so far, for a report."""
        return Lookups(
            outcomes={
                kind.name.lower(): {outcome.name.lower(): tally.number for outcome, tally in tallies.items()}
                for kind, tallies in self._tallies.items()
            },
            buckets={kind.name.lower(): _latencies(self._tallies[kind].values()) for kind in Kind},
            seconds={
                kind.name.lower(): sum(tally.seconds for tally in tallies.values())
                for kind, tallies in self._tallies.items()
            },
        )


def _latencies(tallies: Collection[Tally]) -> Mapping[str, int]:
    """How many took so long or less, by the upper end of each bucket."""
    total = sum(tally.number - sum(tally.late) for tally in tallies)
    found: dict[str, int] = {}
    for place, bound in enumerate((*map(str, BOUNDS), "+Inf")):
        total += sum(tally.late[place] for tally in tallies)
        found[bound] = total
    return found
