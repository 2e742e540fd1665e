"""Squids in bunches, alike in all that their terms depend on: a fleet of many thousands makes a few hundred.

Those of one site mostly differ in their addresses, seeds, weights and loads alone. So plans are worked out
bunch by bunch instead of squid by squid.
"""

from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from shoal_server.classic import RankBy
from shoal_server.columns import COLUMNS, Codes, Columns
from shoal_server.plan import Rows
from shoal_server.terms import Terms

_APART = ("load", "takes", "known_long", "would", "weight", "share", "seed", "outside", "inside")
ALIKE = tuple(name for name in COLUMNS if name not in _APART)
_ODD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


class Bunches:
    """The `terms` of a board's rows, bunch by bunch, and how many rows are of each bunch (`sizes`)."""

    def __init__(self, terms: Terms, sizes: Rows, rows: Rows | None = None) -> None:
        self.terms = terms
        self.sizes = sizes
        self._rows = rows
        """Bunch after bunch; None: each row is one."""
        self._ends = np.cumsum(sizes)

    @classmethod
    def of(cls, columns: Columns, codes: Codes, rank_by: RankBy) -> Self:
        """Rows that are equal in `ALIKE` are of one bunch.

        Equal rows get equal numbers, so that they lie together in the order of these; if different ones get
        equal numbers too, a bunch may fall into several.
        """
        rows = np.argsort(_numbers(columns))
        new = np.arange(len(rows)) == 0
        for name in ALIKE:
            values = columns[name][rows]
            new[1:] |= values[1:] != values[:-1]
        if new.all():
            return cls.each(columns, codes, rank_by)
        first = np.flatnonzero(new)
        sizes = np.diff(first, append=len(rows))
        return cls(Terms({name: columns[name][rows[first]] for name in ALIKE}, codes, rank_by), sizes, rows)

    @classmethod
    def each(cls, columns: Columns, codes: Codes, rank_by: RankBy) -> Self:
        """Every row by itself."""
        return cls(Terms(columns, codes, rank_by), np.ones(len(columns["own"]), np.intp))

    def bunch(self, row: int) -> int:
        """The number of the bunch that a row is of."""
        return int(self._bunches[row])

    @cached_property
    def _bunches(self) -> Rows:
        numbers = np.arange(len(self.sizes))
        if self._rows is None:
            return numbers
        bunches = np.empty(len(self._rows), np.intp)
        bunches[self._rows] = np.repeat(numbers, self.sizes)
        return bunches

    def rows(self, bunches: Rows) -> Rows:
        """The rows of these bunches, in ascending order."""
        if self._rows is None:
            return bunches
        ends, sizes = self._ends[bunches].tolist(), self.sizes[bunches].tolist()
        parts = [self._rows[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        rows: Rows = np.concatenate(parts)
        rows.sort()
        return rows


def _numbers(columns: Columns) -> npt.NDArray[np.uint64]:
    """A number for each row, made of what it is alike in."""
    numbers = np.zeros(len(columns["own"]), np.uint64)
    for name in ALIKE:
        column = columns[name]
        numbers ^= column.view(f"u{column.itemsize}")
        numbers *= _ODD
        numbers ^= numbers >> _HALF
    return numbers
