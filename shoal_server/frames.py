"""Samples in few bytes: a frame holds one span's samples of a part of all squids, 14 bytes for each.

A squid belongs to one of 32 buckets by a hash of its id, so that reading one squid's day reads a
thirty-second of everybody's. Within a bucket another 32 bits of the hash stand for the id: that two of
5 000 squids share them has odds of one in ten thousand, and would mix up two curves, nothing else.
Loads are kept as logarithms, true to 0.02 percent; utilisation in steps of a thousandth, hit ratios in
steps of half a percent.
"""

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shoal_server.squid import Reach, Squid

BUCKETS = 32
FORMAT = 1

_HEAD = struct.Struct("<BI")
_ROW = struct.Struct("<IHHHBHB")
_REACHES = (Reach.UNVERIFIED, Reach.GLOBAL, Reach.LOCAL, Reach.FAILED)
_DRAINING = 0x80
_SILENT = 255
_STEPS = 65_535 / math.log1p(1e9)


@dataclass(frozen=True, slots=True)
class Row:
    """What is kept of one squid's span; see `history.Sample`."""

    load: float
    highest: float
    utilisation: float
    hit_ratio: float | None
    heard: int
    reach: Reach
    draining: bool


@dataclass(slots=True)
class Tally:
    """What was seen of one squid since the span began; loads count once a heartbeat.

    `seen` is its last heartbeat (seconds since 1970), which may have counted for the span before.
    """

    seen: float = 0.0
    heard: int = 0
    load: float = 0.0
    highest: float = 0.0
    utilisation: float = 0.0
    hits: float = 0.0
    requests: float = 0.0
    last: Squid | None = None

    def look(self, squid: Squid) -> None:
        """Note a squid as a snapshot shows it; one that was not heard since the last look adds nothing."""
        self.last = squid
        if squid.seen == self.seen:
            return
        self.seen = squid.seen
        metrics = squid.beat.metrics
        self.heard += 1
        self.load += squid.beat.load
        self.highest = max(self.highest, squid.beat.load)
        self.utilisation += squid.beat.load / squid.max_load
        if metrics.requests_per_s is not None and metrics.hits_per_s is not None:
            self.requests += metrics.requests_per_s
            self.hits += metrics.hits_per_s

    def row(self) -> Row | None:
        """The span's row; None for a squid that was never there. A silent one keeps its last load."""
        if self.last is None:
            return None
        squid = self.last
        heard = self.heard
        return Row(
            load=self.load / heard if heard else squid.load,
            highest=self.highest if heard else squid.load,
            utilisation=self.utilisation / heard if heard else squid.utilisation,
            hit_ratio=min(1.0, self.hits / self.requests) if self.requests else None,
            heard=heard,
            reach=squid.verification.reach,
            draining=squid.draining,
        )


def bucket_of(squid_id: str) -> int:
    """Which bucket's frames hold the squid."""
    return _digest(squid_id)[0] % BUCKETS


def key_of(squid_id: str) -> bytes:
    """What stands for the squid's id in a row."""
    return _digest(squid_id)[4:]


def pack(slot: int, rows: Mapping[str, Row]) -> dict[int, bytes]:
    """The frames of a span by bucket, from rows by id; a bucket without squids has none."""
    parts: dict[int, list[bytes]] = {}
    for squid_id, row in rows.items():
        parts.setdefault(bucket_of(squid_id), []).append(_packed(key_of(squid_id), row))
    return {bucket: frame(slot, packed) for bucket, packed in parts.items()}


def frame(slot: int, rows: Iterable[bytes]) -> bytes:
    """A frame of packed rows."""
    return _HEAD.pack(FORMAT, slot) + b"".join(sorted(rows))


def slot_of(frame: bytes) -> int | None:
    """Which span a frame is of; None for one that a newer server may have written."""
    if len(frame) < _HEAD.size or frame[0] != FORMAT or (len(frame) - _HEAD.size) % _ROW.size:
        return None
    return int(_HEAD.unpack_from(frame)[1])


def find(frame: bytes, key: bytes) -> tuple[int, Row | None]:
    """The span of a frame, and the row of one squid in it; -1 for a frame that cannot be read."""
    slot = slot_of(frame)
    if slot is None:
        return -1, None
    at = frame.find(key, _HEAD.size)
    while at >= 0:
        if (at - _HEAD.size) % _ROW.size == 0:
            return slot, _unpacked(frame, at)
        at = frame.find(key, at + 1)
    return slot, None


def joined(slot: int, frames: Iterable[bytes]) -> bytes | None:
    """One frame of a longer span made from those of its parts, oldest first; None of none."""
    parts: dict[bytes, list[Row]] = {}
    for one in frames:
        for at in range(_HEAD.size, len(one), _ROW.size):
            parts.setdefault(one[at : at + 4], []).append(_unpacked(one, at))
    return frame(slot, [_packed(key, _mean(rows)) for key, rows in parts.items()]) if parts else None


def _mean(rows: Sequence[Row]) -> Row:
    known = [row.hit_ratio for row in rows if row.hit_ratio is not None]
    return Row(
        load=math.fsum(row.load for row in rows) / len(rows),
        highest=max(row.highest for row in rows),
        utilisation=math.fsum(row.utilisation for row in rows) / len(rows),
        hit_ratio=math.fsum(known) / len(known) if known else None,
        heard=sum(row.heard for row in rows),
        reach=rows[-1].reach,
        draining=rows[-1].draining,
    )


def _packed(key: bytes, row: Row) -> bytes:
    return _ROW.pack(
        int.from_bytes(key, "little"),
        _level(row.load),
        _level(row.highest),
        min(65_535, round(row.utilisation * 1000)),
        _SILENT if row.hit_ratio is None else round(row.hit_ratio * 200),
        min(65_535, row.heard),
        _REACHES.index(row.reach) | (_DRAINING if row.draining else 0),
    )


def _unpacked(frame: bytes, at: int) -> Row:
    _, load, highest, utilisation, hits, heard, flags = _ROW.unpack_from(frame, at)
    return Row(
        load=math.expm1(load / _STEPS),
        highest=math.expm1(highest / _STEPS),
        utilisation=utilisation / 1000,
        hit_ratio=None if hits == _SILENT else hits / 200,
        heard=heard,
        reach=_REACHES[flags & 0x03],
        draining=bool(flags & _DRAINING),
    )


def _level(load: float) -> int:
    return min(65_535, round(math.log1p(max(0.0, load)) * _STEPS))


def _digest(squid_id: str) -> bytes:
    return hashlib.blake2b(squid_id.encode(), digest_size=8).digest()
