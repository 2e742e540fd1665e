"""Which addresses squids have: asked for each lookup, so it must cost next to nothing and little memory.

An address is a number of 64 bits, Python's own hash of its text: quick, unforeseeable, the same while the
process lives. That two of a million addresses share one happens once in some 10^7 starts.
"""

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]
ROOM = 16
"""Places in the sieve for each squid: of the addresses that are nobody's, about one in 60 falls through."""


def code(address: str | None) -> int:
    """The number of an address; 0 for none."""
    return hash(address) or 1 if address else 0


class Addresses:
    """Those in some columns of numbers: a sieve answers for nearly all that are no squid's."""

    __slots__ = ("_held", "_mask", "_sieve")

    def __init__(self, *columns: Codes) -> None:
        self._held: Codes = np.sort(np.concatenate([column[column != 0] for column in columns]))
        size = 64
        while size < ROOM * len(columns[0]):
            size *= 2
        self._mask = size - 1
        marks = np.zeros(size, np.uint8)
        marks[self._held & self._mask] = 1
        marks[self._held >> 32 & self._mask] = 1
        self._sieve = marks.tobytes()

    def __contains__(self, address: str) -> bool:
        number, sieve, mask = hash(address) or 1, self._sieve, self._mask
        if not (sieve[number & mask] and sieve[number >> 32 & mask]):
            return False
        at = int(self._held.searchsorted(number))
        return at < len(self._held) and bool(self._held[at] == number)
