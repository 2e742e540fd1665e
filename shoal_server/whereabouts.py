"""Where each squid stands: a number for each id, in a tenth of the memory that a dictionary takes.

Of an id only Python's own hash is kept, 64 bits; how seldom two are the same is told in `addresses.py`.
"""

from array import array
from bisect import bisect_left

import numpy as np

FEW = 1000
PART = 8
"""So many changes, and this part of all, are kept apart before they are sorted in with the others."""
_GONE = -1


class Whereabouts:
    """Numbers (from 0) by id. They stand sorted by the ids' hashes, what has changed lately beside them.

    One thread changes them; others may look meanwhile.
    """

    __slots__ = ("_lately", "_sorted")

    def __init__(self) -> None:
        self._sorted = array("q"), array("i")
        """Hashes, and the number of each."""
        self._lately: dict[int, int] = {}

    def get(self, one: str) -> int | None:
        """The number of an id; None if it has none."""
        code = hash(one)
        number = self._lately.get(code)
        if number is None:
            codes, numbers = self._sorted  # after what changed lately: it may have been sorted in just now
            at = bisect_left(codes, code)
            if at == len(codes) or codes[at] != code:
                return None
            number = numbers[at]
        return None if number == _GONE else number

    def put(self, one: str, number: int) -> None:
        """The number of an id from now on."""
        self._lately[hash(one)] = number
        if len(self._lately) > FEW + len(self._sorted[0]) // PART:
            self._sort()

    def pop(self, one: str) -> int | None:
        """Forget an id; returns its number, None if it had none."""
        number = self.get(one)
        if number is not None:
            self.put(one, _GONE)
        return number

    def _sort(self) -> None:
        count = len(self._lately)
        codes = np.concatenate([self._sorted[0], np.fromiter(self._lately.keys(), np.int64, count)])
        numbers = np.concatenate([self._sorted[1], np.fromiter(self._lately.values(), np.int32, count)])
        order = np.argsort(codes, kind="stable")  # of two that are equal the later one comes last
        last = np.append(codes[order][1:] != codes[order][:-1], True)
        kept = order[last & (numbers[order] != _GONE)]
        self._sorted = array("q", codes[kept].tobytes()), array("i", numbers[kept].tobytes())
        self._lately = {}
