"""Workers that boot together are counted when they are told: their load shows only minutes later.

Each process counts the newcomers among those who ask, by the failure domain whose squid they are told first
and by the one that is nearest to them, and reckons with what they will ask for: a booting worker some times
as much as the mean of all workers that it knows. Where that is more than a domain can send, it takes no more
of them while they come, and as great a part of all as it has room for until their boot is over. Each
process sees an equal part of all workers, old and new, so what it reckons with is right for any number of
processes.
"""

import ipaddress
import math
import threading
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

LEARNING_SECONDS = 3600.0
"""A process that has just started takes everybody for a newcomer."""
REMEMBERED_HOURS = 6
TIMES = 3.0
"""A worker that boots fetches its software: so many times its usual share, for some minutes."""
GOAL = 0.872
"""What newcomers fill a place to (utilisation, 0..1): how they fall to its squids is not balanced yet."""
SHOWING_SECONDS = 180.0
"""After so long most of what newcomers ask for shows in the smoothed load."""
BOOT_SECONDS = 900.0
"""After so long most of them ask for no more than others."""
FEW = 20.0
"""Newcomers that are no surge, whatever they ask for."""
MANY = 0.1
"""As a part of all who ask; while there are more newcomers the mean load would not tell of the others."""
LITTLE = 0.01
"""Of its capacity; newcomers who ask for less turn nobody away."""
PLACES = 1 << 20
MOST_OF_BLOCK = {64: 32.0, 48: 128.0, 32: 512.0}
"""So many newcomers of one block of IPv6 addresses (by the length of its prefix) count within BOOT_SECONDS:
anybody has 2^64 addresses, and who asked from some thousand of them would close a site to its workers."""
Floats = npt.NDArray[np.float64]


class Surge:
    """What one process has told newcomers lately. `now` is of a steady clock (s)."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._seen = bytearray(PLACES)
        self._hidden = _Fading(SHOWING_SECONDS)
        self._told = _Fading(BOOT_SECONDS)
        self._nearest = _Fading(BOOT_SECONDS)
        self._of_block = _Fading(BOOT_SECONDS)
        self._counted = 0
        """The hour in which those who have long not asked were forgotten last."""
        self._lately = 0.0
        self._each = 0.0
        self._at = now
        self._lock = threading.Lock()

    def note(self, address: str, nearest: int, told: int, now: float) -> None:
        """Somebody asks: the domain nearest to him, and the one he is told first, by the seeds that stand for
        them (`Board.domain_seed`).
        """
        seen, place = self._seen, zlib.crc32(address.encode()) % PLACES
        if seen[place] or self._admits(address):
            new, seen[place] = seen[place] == 0, self._hour(now)
            if new:
                self._count(nearest, told)

    def _admits(self, address: str) -> bool:
        """Whether a newcomer counts: of IPv6 a bounded number do of each block."""
        if ":" not in address:
            return True
        number = int(ipaddress.IPv6Address(address))
        blocks = {number >> 128 - length | length << 128: most for length, most in MOST_OF_BLOCK.items()}
        with self._lock:
            if any(self._of_block.get(block, 0.0) >= most for block, most in blocks.items()):
                return False
            for block in blocks:
                self._of_block[block] = self._of_block.get(block, 0.0) + 1.0
            return True

    def _count(self, nearest: int, told: int) -> None:
        with self._lock:
            for counts, domain in ((self._hidden, told), (self._told, told), (self._nearest, nearest)):
                counts[domain] = counts.get(domain, 0.0) + 1.0
            self._lately += 1.0

    def parts(
        self, domains: Mapping[int, int], load: Floats, capacity: Floats, now: float
    ) -> Mapping[int, float]:
        """What part of those who ask next each domain has room for, if not for all of them, by number.

        `domains` are the seeds by number, `load` and `capacity` (kB/s) stand at that number. To be called
        every few seconds: as many as came since the last time will come until the next.
        """
        everybody = self._workers(now)  # before the lock: it takes longer than a lookup may wait
        with self._lock:
            coming, self._lately = self._lately, 0.0
            seconds, self._at = now - self._at, now
            for counts in (self._hidden, self._told, self._nearest, self._of_block):
                counts.fade(seconds)
            newcomers = sum(self._told.values())
            if newcomers < FEW or newcomers < MANY * (everybody - newcomers):
                self._each = TIMES * float(load.sum()) / max(everybody, 1.0)
            if newcomers < FEW or now - self._began < LEARNING_SECONDS:
                return {}
            return {
                number: part
                for number, domain in domains.items()
                if number < len(load)
                and (part := self._part(domain, float(load[number]), float(capacity[number]), coming)) < 1
            }

    def _part(self, domain: int, load: float, capacity: float, coming: float) -> float:
        each, most = self._each, GOAL * capacity
        nearest, told, hidden = (
            each * counts.get(domain, 0.0) for counts in (self._nearest, self._told, self._hidden)
        )
        if max(nearest, told) < LITTLE * capacity:
            return 1.0
        demand = load - (told - hidden) + max(nearest, told)
        part = most / demand if demand > most else 1.0
        if coming * each > LITTLE * capacity:
            part = min(part, (most - load - hidden) / (coming * each))
        return max(0.0, part)

    def _workers(self, now: float) -> float:
        """How many there are, from the places that they fall on; forgets those who have long not asked."""
        hour, seen = self._hour(now), np.frombuffer(self._seen, np.uint8)
        if hour != self._counted:
            self._counted = hour
            age = (np.int16(hour) - seen) % 255
            seen[(seen != 0) & (age >= REMEMBERED_HOURS)] = 0
        free = 1 - np.count_nonzero(seen) / PLACES
        return -PLACES * math.log(max(free, 1 / PLACES))

    def _hour(self, now: float) -> int:
        return int((now - self._began) // 3600) % 255 + 1


class _Fading(dict[int, float]):
    """Counts that fade with a time constant (s)."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def fade(self, seconds: float) -> None:
        left = math.exp(-max(0.0, seconds) / self._seconds)
        for key in list(self):
            self[key] *= left
            if self[key] < 0.1:
                del self[key]
