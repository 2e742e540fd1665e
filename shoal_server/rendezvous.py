"""Weighted rendezvous hashing: each requester's own order of a group of equals.

Every squid draws a number for the requester, the larger its weight the better; the order is that of the
numbers (C. Schindelhauer, G. Schomaker: Weighted Distributed Hash Tables, 2005). A squid that joins or
grows takes its share from all others alike and moves nobody between them; one that leaves moves its own.

Requesters fall into `SPOTS` spots by their address, and a spot has one order: so there are few enough
orders to remember, and far more than squids in a group.
"""

import hashlib
import math
import socket
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

SPOTS = 4096
FEW = 32
"""Up to here plain Python is faster than numpy."""
_DRAWS = [-math.log((number + 0.5) / 4096) for number in range(4096)]
"""Exponentially distributed numbers; divided by weights, the least of several is fairly won. As few as stay
in a processor's first caches."""
_MANY_DRAWS = np.array(_DRAWS)


def seed(text: str) -> int:
    """64 bits that stand for a squid."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def spot(address: str) -> int:
    """Where an address falls, 0 to SPOTS - 1; IPv4 neighbours (a site's workers) fall on different ones."""
    try:
        number = int.from_bytes(socket.inet_pton(socket.AF_INET, address))
    except OSError:
        return seed(address) % SPOTS
    return (number ^ number >> 12 ^ number >> 24) % SPOTS


_Many = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.float64]]


class Equals:
    """A group of squids, by their seeds and weights (spare capacity in kB/s).

    Which number a squid draws at a spot is told by strongly universal hashing, (a * spot + b) mod 2^32, where
    its seed is a and b (M. Dietzfelbinger: Universal hashing and k-wise independent random variables via
    integer arithmetic without primes, 1996).
    """

    __slots__ = ("_few", "_many", "_signature", "size")

    def __init__(self, seeds: npt.NDArray[np.uint64], weights: npt.NDArray[np.float64]) -> None:
        self.size = len(seeds)
        self._signature = seeds.tobytes() + weights.tobytes()
        factors, starts = (seeds >> np.uint64(32)).astype(np.uint32), seeds.astype(np.uint32)
        inverse = 1.0 / np.maximum(weights, 1e-9)
        self._many = (factors, starts, inverse) if self.size > FEW else None
        self._few: Sequence[tuple[int, int, float]] = []
        if not self._many:
            self._few = list(zip(factors.tolist(), starts.tolist(), inverse.tolist(), strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equals) and self._signature == other._signature

    def __hash__(self) -> int:
        return hash(self._signature)

    def order(self, spot: int, count: int) -> list[int]:
        """The first `count` members for the requesters of a spot, best first, as positions."""
        if self._many:
            return _order_many(self._many, spot, count)
        draws = [
            _DRAWS[(factor * spot + start) >> 20 & 4095] * inverse for factor, start, inverse in self._few
        ]
        if count == 1:
            return [draws.index(min(draws))]
        return sorted(range(self.size), key=draws.__getitem__)[:count]


def _order_many(members: _Many, spot: int, count: int) -> list[int]:
    """The same with arrays, whose 32 bits make the modulus."""
    factors, starts, inverse = members
    draws = _MANY_DRAWS[(factors * np.uint32(spot) + starts) >> np.uint32(20)] * inverse
    if count >= len(draws):
        everybody: list[int] = np.argsort(draws, kind="stable").tolist()
        return everybody
    limit = np.partition(draws, count - 1)[count - 1] if count else -1.0
    best = np.flatnonzero(draws <= limit)
    first: list[int] = best[np.argsort(draws[best], kind="stable")][:count].tolist()
    return first
