"""The squids for those who sit in one place, and the order in which each of them is told."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_server.crowding import LOCAL_KM, Door
from shoal_server.rendezvous import MANY, Equals

PART_BYTES, PART_ROW_BYTES, DOMAIN_BYTES = 1000, 32, 120
PLAN_BYTES, ROW_BYTES, GROUP_BYTES, LATE_BYTES, DOOR_BYTES = 600, 13, 80, 90, 120
"""What a part and a plan take, and what each of their rows, domains, groups, late squids and doors."""
Rows = npt.NDArray[np.intp]
Spots = npt.NDArray[np.int64]


class Part:
    """Squids that are as good as each other: their `rows`, the `domains` these are in, row by row, and all of
    these (`among`). One part stands in many plans; `counted`: it is in the size of one of them.
    """

    __slots__ = ("among", "counted", "domains", "equals", "rows")

    def __init__(self, rows: Rows, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        self.rows = _packed(rows)
        self.domains = _packed(columns["domain"][rows])
        self.among = frozenset(self.domains)
        weights = columns["weight"][rows].astype(np.float64) * columns["share"][rows]
        self.equals = Equals(columns["seed"][rows], weights)
        self.counted = False

    @property
    def size(self) -> int:
        """What it takes (bytes), with the key that it is found by, about."""
        return PART_BYTES + PART_ROW_BYTES * len(self.rows) + DOMAIN_BYTES * len(self.among)


@dataclass(frozen=True, slots=True)
class _Group:
    """A part of a plan: where it begins there, and the domains its squids are in."""

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
    those whom they have no room for. `nearest_km`: how far the nearest group is, by what does not depend on
    the squids themselves; within LOCAL_KM the seat is at home there. `size`: what it takes (bytes), about,
    with those of its parts that stood in no plan before.
    """

    __slots__ = (
        "away",
        "domains",
        "doors",
        "first_late",
        "groups",
        "is_small",
        "late",
        "numbers",
        "rows",
        "size",
    )

    def __init__(
        self,
        groups: Sequence[Part],
        away: Part | None,
        doors: Mapping[int, Door],
        nearest_km: float = 0.0,
    ) -> None:
        parts = [*groups, away] if away else groups
        self.rows, self.domains, self.numbers = array("i"), array("i"), array("i")
        made = []
        for number, part in enumerate(parts):
            made.append(_Group(len(self.rows), part.equals, part.among))
            self.rows += part.rows
            self.domains += part.domains
            self.numbers.extend([number] * len(part.rows))
        self.away = made.pop() if away else None
        self.groups = tuple(made)
        self.is_small = all(part.equals.size < MANY for part in parts)
        """Whether `told_each` costs less than `told` again and again."""
        self.first_late = len(self.rows)
        self.doors: dict[int, Door] = {}
        self.late: dict[int, int] = {}
        if doors:
            self._crowd(doors, len(parts), at_home=nearest_km < LOCAL_KM)
        own = PLAN_BYTES + ROW_BYTES * len(self.rows) + GROUP_BYTES * len(parts)
        own += LATE_BYTES * len(self.late) + DOOR_BYTES * len(self.doors)
        self.size = own + sum(part.size for part in parts if not part.counted)
        for part in parts:
            part.counted = True

    def _crowd(self, doors: Mapping[int, Door], number: int, *, at_home: bool) -> None:
        """Add the squids of domains with doors as the group of this number.

        `at_home`: the seat is local to the nearest.
        """
        nearest = self.groups[0].domains if self.groups else ()
        for domain in doors.keys() & set(self.domains):
            door, near = doors[domain], domain in nearest
            self.doors[domain] = door if near and at_home else door.for_guests(nearest=near)
        crowded = [place for place, domain in enumerate(self.domains) if domain in self.doors]
        self.late = {place: self.first_late + late for late, place in enumerate(crowded)}
        self.rows.extend([self.rows[place] for place in crowded])
        self.numbers.extend([number] * len(crowded))
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

    def told_each(self, spots: Spots, count: int) -> npt.NDArray[np.int64]:
        """`told` for many spots at once, a row each."""
        told = self._best_each(spots, count)
        if count >= 2 and told.shape[1] == count:
            domains = np.frombuffer(self.domains, np.int32)[told]
            alone = np.flatnonzero((domains == domains[:, :1]).all(axis=1))
            for here in np.unique(domains[alone, 0]).tolist():
                same = alone[domains[alone, 0] == here]
                told[same, -1] = self._elsewhere_each(spots[same], here, told[same, -1])
        return told

    def _best_each(self, spots: Spots, count: int) -> npt.NDArray[np.int64]:
        parts = [np.empty((len(spots), 0), np.int64)]
        for group in self.groups:
            room = group.equals.size if self.doors else count - sum(part.shape[1] for part in parts)
            parts.append(group.start + group.equals.orders(spots, room))
        best = np.concatenate(parts, axis=1)
        if self.doors:
            shut = np.zeros((len(spots), self.first_late), np.bool_)
            for place in self.late:
                shut[:, place] = ~self.doors[self.domains[place]].opens_each(spots)
            late = np.arange(self.first_late)
            late[list(self.late)] = list(self.late.values())
            behind = np.take_along_axis(shut, best, axis=1)
            best = np.where(behind, late[best], best)
            best = np.take_along_axis(best, np.argsort(behind, axis=1, kind="stable"), axis=1)
        return best[:, :count]

    def _elsewhere_each(
        self, spots: Spots, here: int, otherwise: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        group = next((group for group in self.all_groups if group.domains != {here}), None)
        if group is None:
            return otherwise
        if here not in group.domains and not self.doors:
            return group.start + group.equals.orders(spots, 1)[:, 0]
        found = [self._elsewhere(spot, here) for spot in spots.tolist()]
        return np.array([old if new is None else new for old, new in zip(otherwise, found, strict=True)])

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
        return self is other or (
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
            if here not in group.domains and not self.doors:
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
