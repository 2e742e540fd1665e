"""Weighted rendezvous hashing: each requester's own order of a group of equals.

Every squid draws a number for the requester, the larger its weight the better; the order is that of the
numbers (C. Schindelhauer, G. Schomaker: Weighted Distributed Hash Tables, 2005). A squid that joins or
grows takes its share from all others alike and moves nobody between them; one that leaves moves its own.

Requesters fall into `SPOTS` spots by their address, and a spot has one order. There are so many that also a
squid with a hundredth of its group's capacity gets hundreds of them.
"""

import hashlib
import socket

import numpy as np
import numpy.typing as npt

SPOT_BITS = 16
SPOTS = 1 << SPOT_BITS
MANY = 256
"""From here on it pays to find the best before they are sorted."""
MARGIN = 10
_DRAWS = -np.log((np.arange(4096) + 0.5) / 4096)
"""Exponentially distributed numbers; divided by weights, the least of several is fairly won. As few as stay
in a processor's first caches."""
_SHIFT = np.uint32(20)
_STEEP = 12
"""A partial quotient above this makes a factor weak."""
_Draws = npt.NDArray[np.float64]


def seed(text: str) -> int:
    """64 bits that stand for a squid; the upper 32, its factor for `Equals`, are not weak."""
    number = _digest(text.encode())
    while _is_weak(number >> 32):
        number = _digest(number.to_bytes(8))
    return number


def _digest(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def _is_weak(factor: int) -> bool:
    """Whether multiples of a factor, modulo 2^32, are for some number of neighbouring spots far from even.

    That is told by the continued fraction of factor / 2^32: after so many spots as a denominator the
    multiples come back almost to where they were, the nearer the larger the next quotient is
    (L. Kuipers, H. Niederreiter: Uniform Distribution of Sequences, 1974, chapter 2.3). One squid of twenty
    would get more than 1.5 times its part at one site of twenty.
    """
    spots, before, rest, last = 1, 0, factor, 1 << 32
    while rest and spots < SPOTS:
        quotient, following = divmod(last, rest)
        if quotient > _STEEP:
            return True
        spots, before, rest, last = quotient * spots + before, spots, following, rest
    return spots < SPOTS


def spot(address: str) -> int:
    """Where an address falls, 0 to SPOTS - 1; IPv4 neighbours (a site's workers) fall on different ones."""
    try:
        number = int.from_bytes(socket.inet_pton(socket.AF_INET, address))
    except OSError:
        return _digest(address.encode()) % SPOTS
    return (number ^ number >> SPOT_BITS ^ number >> 2 * SPOT_BITS) % SPOTS


class Equals:
    """A group of squids, by their seeds and weights (spare capacity in kB/s).

    Which number a squid draws at a spot is told by strongly universal hashing, (a * spot + b) mod 2^32, where
    its seed is a and b (M. Dietzfelbinger: Universal hashing and k-wise independent random variables via
    integer arithmetic without primes, 1996). The 32 bits of the arrays make the modulus.
    """

    __slots__ = ("_factors", "_inverse", "_starts", "_whole", "size")

    def __init__(self, seeds: npt.NDArray[np.uint64], weights: npt.NDArray[np.float64]) -> None:
        self.size = len(seeds)
        self._factors, self._starts = (seeds >> np.uint64(32)).astype(np.uint32), seeds.astype(np.uint32)
        weights = np.maximum(weights, 1e-9)
        self._inverse, self._whole = 1.0 / weights, float(weights.sum())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equals) and self._signature == other._signature

    def __hash__(self) -> int:
        return hash(self._signature)

    def order(self, spot: int, count: int) -> list[int]:
        """The first `count` members for the requesters of a spot, best first, as positions."""
        draws = self._draws(np.uint32(spot))
        if count == 1:
            return [int(draws.argmin())]
        if self.size < MANY or count >= self.size:
            first: list[int] = draws.argsort(kind="stable")[:count].tolist()
            return first
        # Draws are like times of events: about `number * whole` of them are below a number.
        best = np.flatnonzero(draws <= (2 * count + MARGIN) / self._whole)
        if len(best) < count:
            best = np.flatnonzero(draws <= np.partition(draws, count - 1)[count - 1])
        first = best[draws[best].argsort(kind="stable")].tolist()
        return first[:count]

    def orders(self, spots: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        """`order` for many spots at once, a row each; costs less than one by one for up to MANY members."""
        draws = self._draws(spots.astype(np.uint32)[:, np.newaxis])
        return draws.argsort(axis=1, kind="stable")[:, :count]

    @property
    def _signature(self) -> bytes:
        return self._factors.tobytes() + self._starts.tobytes() + self._inverse.tobytes()

    def _draws(self, spots: "np.uint32 | npt.NDArray[np.uint32]") -> _Draws:
        numbers = self._factors * spots
        numbers += self._starts
        numbers >>= _SHIFT
        draws: _Draws = _DRAWS.take(numbers)
        draws *= self._inverse
        return draws
