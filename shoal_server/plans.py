"""The plans made on a board, and their parts; those of the board before that hold still are not made anew."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from shoal_server.bunches import Bunches
from shoal_server.columns import Columns
from shoal_server.crowding import Door
from shoal_server.plan import Part, Plan, Rows
from shoal_server.seat import Seat, Wanted

MOST_BYTES = 32_000_000
"""Plans may take so much, and parts again."""
KEY_BYTES = 500
Question = tuple[Seat, Wanted, int]
Key = TypeVar("Key")
Value = TypeVar("Value", Plan, Part)


class Shelf(dict[Key, Value]):
    """Plans or parts; when they take too much memory all are put away."""

    _bytes = 0

    def put(self, key: Key, one: Value) -> Value:
        """Keep one, and return it."""
        self._bytes += KEY_BYTES + one.size
        if self._bytes > MOST_BYTES:
            self.clear()
            self._bytes = KEY_BYTES + one.size
        self[key] = one
        return one


class Plans:
    """The plans for a board's `bunches`, `columns` and `doors` by question.

    Of the board before nothing is kept but its plans.
    """

    def __init__(
        self, bunches: Bunches, columns: Columns, doors: Mapping[int, Door], before: "Plans | None" = None
    ) -> None:
        self.bunches = bunches
        self.columns = columns
        self.doors = doors
        self.made: Shelf[Question, Plan] = Shelf()
        self.parts: Shelf[bytes, Part] = Shelf()
        """By their bunches."""
        self._former: Mapping[Question, Plan] = {}
        self._stirred = frozenset[int]()
        """The rows whose weight, share or door is another than before."""
        if before and self._follow(before):
            self._take_over(before)

    def get(self, question: Question) -> Plan | None:
        """The plan for a question, if it has been made."""
        plan = self.made.get(question)
        if plan is None and (plan := self._former.get(question)):
            plan = self.made.put(question, plan) if self._stirred.isdisjoint(plan.rows) else None
        return plan

    def part(self, bunches: Rows) -> Part:
        """The part that consists of these bunches."""
        key = bunches.tobytes()
        return self.parts.get(key) or self.parts.put(key, Part(self.bunches.rows(bunches), self.columns))

    def _follow(self, before: "Plans") -> bool:
        """Whether a plan holds that tells no row of another weight, share or door.

        Where the bunches are the same, nothing else that it depends on has changed. But squids of a domain
        that lost its door may now be better than others that a plan ends with.
        """
        return self.bunches is before.bunches and before.doors.keys() <= self.doors.keys()

    def _take_over(self, before: "Plans") -> None:
        stirred = self.columns["weight"] != before.columns["weight"]
        stirred |= self.columns["share"] != before.columns["share"]
        moved = [domain for domain, door in self.doors.items() if before.doors.get(domain) != door]
        if moved:
            stirred |= np.isin(self.columns["domain"], moved)
        if stirred.any():
            self._former, self._stirred = before.made, frozenset(np.flatnonzero(stirred).tolist())
        else:
            self.made, self.parts = before.made, before.parts
