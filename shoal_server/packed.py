"""Squids as bytes: what a process keeps of each of a hundred thousand, until somebody looks at one.

A squid as objects takes some four times as much. Some of its bytes last: all that decides who may be told
of it, so where they are equal nobody is to be told otherwise; the others pass: loads, times and words.
"""

import functools
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter, itemgetter
from typing import Any, Protocol, Self, SupportsIndex, get_type_hints, overload

import msgspec
import numpy as np
import numpy.typing as npt

from shoal_common.heartbeat import NO_METRICS, Heartbeat, Metrics
from shoal_server.squid import DEFAULT_MAX_LOAD, Listed, Owner, Past, Place, Reach, Squid, Times, Verification

_OWN = ("hostname", "public_ip", "private_ip", "external_ip", "ipv6")
"""What no two squids have in common; the rest of what lasts is alike for many, and kept once."""
_PASSING = ("timestamp", "load", "metrics", "uuid")
_OF_THE_AGENT = ("interval", "agent")
"""What is kept with what lasts, since it is alike for many, and decides nothing: two agents may announce one
squid by turns."""
_SAID = tuple(field.name for field in fields(Heartbeat))
_COMMON = tuple(name for name in _SAID if name not in _OWN + _PASSING)
_COUNTED = tuple(field.name for field in fields(Metrics))
_DERIVED = tuple(field.name for field in fields(Squid))[6:]
"""What follows `drained`: numbers that the registry derives from heartbeats. Kept in single precision, a time
to some two minutes."""
_NUMBERS = ("seen", "checked", "due", "timestamp", "rate", "created", "load")
"""`rate` is the load of the last heartbeat."""


class Kept(Past, Protocol):
    """What is needed of a squid to pack it: a part of `Squid`, which is one, in any classes."""

    @property
    def id(self) -> str: ...
    @property
    def beat(self) -> Any: ...
    @property
    def verification(self) -> Any: ...
    @property
    def drained(self) -> bool: ...


_own: Callable[[Any], tuple[Any, ...]] = attrgetter(*_OWN)
_common: Callable[[Any], tuple[Any, ...]] = attrgetter(*_COMMON)
_counted: Callable[[Any], tuple[Any, ...]] = attrgetter(*_COUNTED)
_derived: Callable[[Any], tuple[Any, ...]] = attrgetter(*_DERIVED)
_in_order: Callable[[tuple[Any, ...]], tuple[Any, ...]] = itemgetter(
    *((*_OWN, *_COMMON, *_PASSING).index(name) for name in _SAID)
)
_NOT_COUNTED = (None,) * len(_COUNTED)


def _types(kind: type, names: Sequence[str]) -> Any:
    hints = get_type_hints(kind)
    return tuple[tuple(hints[name] for name in names)]  # type: ignore[misc]  # known at run time alone


_encode = msgspec.msgpack.Encoder().encode
_decode_own = msgspec.msgpack.Decoder(_types(Heartbeat, _OWN)).decode
_decode_words = msgspec.msgpack.Decoder(
    tuple[_types(Metrics, _COUNTED) | None, str, int, str]  # type: ignore[misc]
).decode
_HEAD = struct.Struct(f"<{len(_NUMBERS)}d{len(_DERIVED)}fI")
"""The numbers, and how long the part is that comes next."""
_LENGTH = slice(_HEAD.size - 4, _HEAD.size)
_SEEN, _TIMES = struct.Struct("<d"), struct.Struct("<3d")
_CREATED = struct.Struct(f"<{8 * _NUMBERS.index('created')}xd")
_ROW = np.dtype(
    [*((name, "<f8") for name in _NUMBERS), *((name, "<f4") for name in _DERIVED), ("length", "<u4")]
)
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

    `kind` is what lasts and is alike for many. `data` are the numbers, what lasts and is the squid's own, and
    words.
    """

    kind: bytes
    data: bytes
    place: Place | None
    owner: Owner

    @classmethod
    def of(cls, squid: Kept, place: Place | None, owner: Owner) -> Self:
        return cls(_kind(squid), _data(squid), place, owner)

    @property
    def seen(self) -> float:
        seen: float = _SEEN.unpack_from(self.data)[0]
        return seen

    @property
    def created(self) -> float:
        created: float = _CREATED.unpack_from(self.data)[0]
        return created

    @property
    def times(self) -> Times:
        return Times._make(_TIMES.unpack_from(self.data))

    @property
    def max_load(self) -> float:
        return _capacity(self.kind)

    @property
    def squid(self) -> Squid:
        data = self.data
        seen, checked, due, timestamp, rate, created, load, *derived, length = _HEAD.unpack_from(data)
        end = _HEAD.size + length
        common, reach, lacks, unchecked, drained = _decode_kind(self.kind)
        counted, reason, failures, uuid = _decode_words(data[end:])
        metrics = Metrics(*counted) if counted else NO_METRICS
        own = _decode_own(data[_HEAD.size : end])
        beat = Heartbeat(*_in_order((*own, *common, timestamp, rate, metrics, uuid)))
        check = Verification(reach, reason, None if unchecked else checked, due, failures, lacks)
        return Squid(beat, created, seen, load, check, drained, *derived)

    @property
    def listed(self) -> Listed:
        return Listed(self.squid, self.place, self.owner)

    def lasts(self, before: "Packed") -> bool:
        """Whether what it says of itself, but for loads, times and who says it, is as before."""
        end = _HEAD.size + int.from_bytes(self.data[_LENGTH], "little")
        if self.data[_LENGTH.start : end] != before.data[_LENGTH.start : end]:
            return False
        return self.kind == before.kind or _deciding(self.kind) == _deciding(before.kind)

    def stands_as(self, before: "Packed") -> bool:
        """Whether loads and times alone have changed."""
        return (
            self.lasts(before)
            and (self.place is before.place or self.place == before.place)
            and (self.owner is before.owner or self.owner == before.owner)
        )


def numbers(rows: Sequence[Packed]) -> npt.NDArray[Any]:
    """The numbers of some squids as an array with a field for each."""
    return np.frombuffer(b"".join([one.data[: _HEAD.size] for one in rows]), _ROW)


def _kind(squid: Kept) -> bytes:
    check = squid.verification
    common = _common(squid.beat)
    return _shared(_encode((common, check.reach, check.lacks, check.checked is None, squid.drained)))


@functools.lru_cache(MOST_SHARED)
def _deciding(kind: bytes) -> tuple[Any, ...]:
    """What of a kind decides who may be told of the squid."""
    common, *found = _decode_kind(kind)
    said = zip(_COMMON, common, strict=True)
    return (*(value for name, value in said if name not in _OF_THE_AGENT), *found)


@functools.lru_cache(MOST_SHARED)
def _capacity(kind: bytes) -> float:
    max_load: float | None = _decode_kind(kind)[0][_COMMON.index("max_load")]
    return max_load or DEFAULT_MAX_LOAD


def _data(squid: Kept) -> bytes:
    beat, check = squid.beat, squid.verification
    counted, own = _counted(beat.metrics), _encode(_own(beat))
    head = _HEAD.pack(
        squid.seen,
        check.checked or 0.0,
        check.due,
        beat.timestamp,
        beat.load,
        squid.created,
        squid.load,
        *_derived(squid),
        len(own),
    )
    words = (counted if counted != _NOT_COUNTED else None, check.reason, check.failures, beat.uuid)
    return head + own + _encode(words)


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
