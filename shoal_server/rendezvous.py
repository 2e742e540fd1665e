"""Weighted rendezvous hashing: each requester's own order of a group of equals.

Every squid draws a number for the requester, the larger its weight the better; the order is that of the
numbers (C. Schindelhauer, G. Schomaker: Weighted Distributed Hash Tables, 2005). A squid that joins or
grows takes its share from all others alike and moves nobody between them; one that leaves moves its own.

Requesters fall into `SPOTS` spots by their address, and a spot has one order: so there are few enough
orders to remember, and far more than squids in a group.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SPOTS = 4096
_BITS = 2**64 - 1
_FACTOR = 0xFF51AFD7ED558CCD  # of MurmurHash3's 64-bit finaliser (A. Appleby)
_FRACTION = 2.0**-53
FEW = 24
"""Up to here plain Python is faster than numpy."""


def seed(text: str) -> int:
    """64 bits that stand for a squid or a place."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def spot(address: str) -> int:
    """Where an address falls, 0 to SPOTS - 1."""
    return seed(address) % SPOTS


class Equals:
    """A group of squids, by their seeds and weights (spare capacity in kB/s)."""

    __slots__ = ("_inverse", "_many", "_seeds", "size")

    def __init__(self, seeds: npt.NDArray[np.uint64], weights: npt.NDArray[np.float64]) -> None:
        self.size = len(seeds)
        inverse = 1.0 / np.maximum(weights, 1e-9)
        self._many = (seeds, inverse) if self.size > FEW else None
        self._seeds: Sequence[int] = [] if self._many else seeds.tolist()
        self._inverse: Sequence[float] = [] if self._many else inverse.tolist()

    def order(self, key: int, count: int) -> list[int]:
        """The first `count` members for the requesters of `key` (64 bits), best first, as positions."""
        if self.size == 1:
            return [0]
        if self._many:
            return _order_many(*self._many, key, count)
        draws = [
            (_draw(one ^ key) * inverse, index)
            for index, (one, inverse) in enumerate(zip(self._seeds, self._inverse, strict=True))
        ]
        draws.sort()
        return [index for _, index in draws[:count]]


def spot_key(number: int) -> int:
    """The 64 bits of a spot."""
    return number * 0x9E3779B97F4A7C15 & _BITS  # Fibonacci hashing: neighbours come to lie far apart


def _draw(bits: int) -> float:
    """An exponentially distributed number; divided by a weight, the least of several is fairly won."""
    bits = (bits ^ bits >> 33) * _FACTOR & _BITS
    bits = (bits ^ bits >> 33) * _FACTOR & _BITS
    return -math.log(((bits >> 11) + 0.5) * _FRACTION)


def _order_many(
    seeds: npt.NDArray[np.uint64], inverse: npt.NDArray[np.float64], key: int, count: int
) -> list[int]:
    """The same with arrays."""
    bits = seeds ^ np.uint64(key)
    for _ in range(2):
        bits = (bits ^ (bits >> np.uint64(33))) * np.uint64(_FACTOR)
    draws = np.log(((bits >> np.uint64(11)).astype(np.float64) + 0.5) * _FRACTION) * -inverse
    if count >= len(draws):
        return [int(index) for index in np.argsort(draws, kind="stable")]
    best = np.argpartition(draws, count)[:count]
    return [int(index) for index in best[np.argsort(draws[best], kind="stable")]]
