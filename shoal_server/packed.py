"""Squids as bytes: what a process keeps of each of a hundred thousand, until somebody looks at one.

A squid as objects takes some four times as much. Its bytes are in two parts: the lasting one is all that
decides who may be told of it, so where it is equal nobody is to be told otherwise; the passing one is loads,
times and words.
"""

import functools
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter, itemgetter
from typing import Any, Self, SupportsIndex, get_type_hints, overload

import msgspec

from shoal_common.heartbeat import NO_METRICS, Heartbeat, Metrics
from shoal_server.squid import Listed, Owner, Place, Reach, Squid, Times, Verification

_OWN = ("uuid", "hostname", "public_ip", "private_ip", "external_ip", "ipv6")
"""What no two squids have in common; the rest of what lasts is alike for many, and kept once."""
_PASSING = ("timestamp", "load", "metrics")
_SAID = tuple(field.name for field in fields(Heartbeat))
_COMMON = tuple(name for name in _SAID if name not in _OWN + _PASSING)
_COUNTED = tuple(field.name for field in fields(Metrics))
_DERIVED = tuple(field.name for field in fields(Squid))[6:]
"""What follows `drained`: numbers that the registry derives from heartbeats."""

_own: Callable[[Heartbeat], tuple[Any, ...]] = attrgetter(*_OWN)
_common: Callable[[Heartbeat], tuple[Any, ...]] = attrgetter(*_COMMON)
_counted: Callable[[Metrics], tuple[Any, ...]] = attrgetter(*_COUNTED)
_derived: Callable[[Squid], tuple[Any, ...]] = attrgetter(*_DERIVED)
_in_order: Callable[[tuple[Any, ...]], tuple[Any, ...]] = itemgetter(
    *((*_OWN, *_COMMON, *_PASSING).index(name) for name in _SAID)
)
_NOT_COUNTED = (None,) * len(_COUNTED)


def _types(kind: type, names: Sequence[str]) -> Any:
    hints = get_type_hints(kind)
    return tuple[tuple(hints[name] for name in names)]  # type: ignore[misc]  # known at run time alone


_encode = msgspec.msgpack.Encoder().encode
_decode_own = msgspec.msgpack.Decoder(_types(Heartbeat, _OWN)).decode
_decode_passing = msgspec.msgpack.Decoder(
    tuple[float, float, _types(Metrics, _COUNTED) | None, str, int, float, float, _types(Squid, _DERIVED)]  # type: ignore[misc]
).decode
_HEAD = struct.Struct("<dddI")
"""Three times, and how long the part is that comes next."""
_LENGTH = slice(_HEAD.size - 4, _HEAD.size)
MOST_SHARED = 4096

_shared = functools.lru_cache(MOST_SHARED)(bytes)
"""The one object for all that are equal."""
_decode_kind = functools.lru_cache(MOST_SHARED)(
    msgspec.msgpack.Decoder(
        tuple[_types(Heartbeat, _COMMON), Reach, tuple[str, ...], bool, bool]  # type: ignore[misc]
    ).decode
)


class Packed(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A squid as bytes, where it is and whose network it is in.

    `kind` and the first part of `data` are what lasts.
    """

    kind: bytes
    data: bytes
    place: Place | None
    owner: Owner

    @classmethod
    def of(cls, squid: Squid, place: Place | None, owner: Owner) -> Self:
        return cls(_kind(squid), _data(squid), place, owner)

    @property
    def times(self) -> Times:
        return Times._make(_HEAD.unpack_from(self.data)[:3])

    @property
    def squid(self) -> Squid:
        data = self.data
        seen, checked, due, length = _HEAD.unpack_from(data)
        end = _HEAD.size + length
        common, reach, lacks, unchecked, drained = _decode_kind(self.kind)
        timestamp, rate, counted, reason, failures, created, load, derived = _decode_passing(data[end:])
        metrics = Metrics(*counted) if counted else NO_METRICS
        own = _decode_own(data[_HEAD.size : end])
        beat = Heartbeat(*_in_order((*own, *common, timestamp, rate, metrics)))
        check = Verification(reach, reason, None if unchecked else checked, due, failures, lacks)
        return Squid(beat, created, seen, load, check, drained, *derived)

    @property
    def listed(self) -> Listed:
        return Listed(self.squid, self.place, self.owner)

    def at(self, place: Place | None, owner: Owner) -> "Packed":
        """The same squid, found elsewhere."""
        return Packed(self.kind, self.data, place, owner)

    def lasts(self, before: "Packed") -> bool:
        """Whether what it says of itself, but for loads and times, is as before."""
        end = _HEAD.size + int.from_bytes(self.data[_LENGTH], "little")
        return self.kind == before.kind and self.data[_LENGTH.start : end] == before.data[_LENGTH.start : end]

    def stands_as(self, before: "Packed") -> bool:
        """Whether loads and times alone have changed."""
        return (
            self.lasts(before)
            and (self.place is before.place or self.place == before.place)
            and (self.owner is before.owner or self.owner == before.owner)
        )


def _kind(squid: Squid) -> bytes:
    check = squid.verification
    common = _common(squid.beat)
    return _shared(_encode((common, check.reach, check.lacks, check.checked is None, squid.drained)))


def _data(squid: Squid) -> bytes:
    beat, check = squid.beat, squid.verification
    counted, own = _counted(beat.metrics), _encode(_own(beat))
    passing = (
        beat.timestamp,
        beat.load,
        counted if counted != _NOT_COUNTED else None,
        check.reason,
        check.failures,
        squid.created,
        squid.load,
        _derived(squid),
    )
    return _HEAD.pack(squid.seen, check.checked or 0.0, check.due, len(own)) + own + _encode(passing)


class Roster(Sequence[Listed]):
    """The squids of one moment in order. Each is unpacked when it is looked at, some microseconds a time."""

    __slots__ = ("packed",)

    def __init__(self, packed: tuple[Packed, ...] = ()) -> None:
        self.packed = packed

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Listed: ...
    @overload
    def __getitem__(self, index: slice) -> "Roster": ...
    def __getitem__(self, index: SupportsIndex | slice) -> "Listed | Roster":
        if isinstance(index, slice):
            return Roster(self.packed[index])
        return self.packed[index].listed

    def __iter__(self) -> Iterator[Listed]:
        return (one.listed for one in self.packed)

    def where(self, test: Callable[[Times], bool]) -> Iterator[Squid]:
        """The squids whose times pass; the others are not unpacked."""
        return (one.squid for one in self.packed if test(one.times))
