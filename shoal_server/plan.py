"""The squids for those who sit in one place, and the order in which each of them is told."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_server.crowding import Door
from shoal_server.rendezvous import Equals

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Group:
    """Squids that are as good as each other: where they begin in the plan, and the domains they are in."""

    start: int
    equals: Equals
    domains: frozenset[int]

    def order(self, spot: int, count: int) -> list[int]:
        """The first `count` by their place in the plan, best first."""
        start = self.start
        return [start + position for position in self.equals.order(spot, count)]


class Plan:
    """The squids for a seat, group by group, nearest first: `rows`, and the number of each one's group.

    If all of them are in one failure domain, the last group, `away`, are the best of another. Squids of
    crowded domains, those with `doors`, are there a second time, from `first_late` on: after all others, for
    those whom they have no room for.
    """

    __slots__ = ("away", "domains", "doors", "first_late", "groups", "late", "numbers", "rows")

    def __init__(
        self,
        groups: Sequence[Rows],
        away: Rows | None,
        columns: Mapping[str, npt.NDArray[Any]],
        doors: Mapping[int, Door],
    ) -> None:
        parts = [*groups, away] if away is not None else groups
        rows = np.concatenate(parts) if parts else np.empty(0, np.intp)
        self.rows = _packed(rows)
        self.numbers = [number for number, part in enumerate(parts) for _ in part]
        self.domains = _packed(columns["domain"][rows])
        made, start = [], 0
        for part in parts:
            domains = frozenset(self.domains[start : start + len(part)])
            made.append(_Group(start, Equals(columns["seed"][part], columns["weight"][part]), domains))
            start += len(part)
        self.away = made.pop() if away is not None else None
        self.groups = tuple(made)
        own = self.groups[0].domains if self.groups else frozenset[int]()
        self.doors = {
            domain: doors[domain] if domain in own else doors[domain].for_guests()
            for domain in set(self.domains) & doors.keys()
        }
        self.first_late = len(self.rows)
        crowded = [place for place, domain in enumerate(self.domains) if domain in self.doors]
        self.late = {place: self.first_late + number for number, place in enumerate(crowded)}
        self.rows.extend([self.rows[place] for place in crowded])
        self.numbers += [len(parts)] * len(crowded)
        self.domains.extend([self.domains[place] for place in crowded])

    def told(self, spot: int, count: int) -> list[int]:
        """The first `count` squids for the requesters of a spot, by their place in the plan.

        They span two failure domains where there are two: if all are in one, the last gives its place to the
        best squid of another, since a site may go down as a whole.
        """
        told = self._best(spot, count)
        if count >= 2 and len(told) == count and len({self.domains[place] for place in told}) == 1:
            elsewhere = self._elsewhere(spot, self.domains[told[0]])
            told[-1] = told[-1] if elsewhere is None else elsewhere
        return told

    def _best(self, spot: int, count: int) -> list[int]:
        """The first `count`, those last that have no room for the spot."""
        shut = {domain for domain, door in self.doors.items() if not door.opens(spot)} if self.doors else ()
        told: list[int] = []
        late: list[int] = []
        for group in self.groups:
            if not shut or group.domains.isdisjoint(shut):
                told += group.order(spot, count - len(told))
            else:
                order = group.order(spot, group.equals.size)
                told += [place for place in order if self.domains[place] not in shut][: count - len(told)]
                late += [self.late[place] for place in order if self.domains[place] in shut]
            if len(told) >= count:
                return told
        return told + late[: count - len(told)]

    def alike(self, other: "Plan") -> bool:
        """Whether both tell everybody the same places in the same order."""
        return (
            self.numbers == other.numbers
            and self.domains == other.domains
            and self.doors == other.doors
            and (self.away is None) == (other.away is None)
            and all(
                mine.equals == its.equals for mine, its in zip(self.all_groups, other.all_groups, strict=True)
            )
        )

    @property
    def all_groups(self) -> Sequence[_Group]:
        """With those away."""
        return (*self.groups, self.away) if self.away else self.groups

    def _elsewhere(self, spot: int, here: int) -> int | None:
        """The best squid of another domain; of one that has room for the spot, if there is one."""
        full = None
        for group in self.all_groups:
            if group.domains == {here}:
                continue
            if len(group.domains) == 1 and not self.doors:
                return group.order(spot, 1)[0]
            for place in group.order(spot, group.equals.size):
                domain = self.domains[place]
                if domain != here and (domain not in self.doors or self.doors[domain].opens(spot)):
                    return place
                if domain != here and full is None:
                    full = self.late[place]
        return full


def _packed(numbers: npt.NDArray[Any]) -> "array[int]":
    """Four bytes each, where a list would take forty."""
    return array("i", numbers.astype(np.int32).tobytes())
