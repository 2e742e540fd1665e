"""Squids as JSON records, for Redis and for the state file.

A squid is kept in two records with two writers: what heartbeats say (intake), and its verification
(verifiers). When it was last heard is kept beside them, since it changes most. What a newer server
may have added is left out, what an older one did not know has its default.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec

from shoal_common.heartbeat import AgentState, Heartbeat, Metrics
from shoal_server.squid import Squid, Verification, squid_id


def _struct(kind: type, **others: Any) -> Any:
    """A class with the fields of a dataclass (`others`: of other types), of which one is made in a quarter of
    the time; what is at its default takes no room in JSON.
    """
    hints = get_type_hints(kind) | others
    named: list[Any] = [
        (one.name, hints[one.name]) if one.default is MISSING else (one.name, hints[one.name], one.default)
        for one in fields(kind)
    ]
    name = f"{kind.__name__}Record"
    return msgspec.defstruct(name, named, omit_defaults=True, frozen=True, gc=False)


_BeatRecord = _struct(Heartbeat, metrics=_struct(Metrics))
_CheckRecord = _struct(Verification)
_UNCHECKED = _CheckRecord()
_said: Callable[[Heartbeat], tuple[Any, ...]] = attrgetter(*(field.name for field in fields(Heartbeat)))


class _Written(msgspec.Struct, omit_defaults=True, gc=False):
    """What heartbeats say and when they were heard, and what the registry derives from them."""

    beat: _BeatRecord  # type: ignore[valid-type]  # known at run time alone
    created: float
    load: float
    seen: float = 0.0
    pressure: float = 0.0
    takes: float = 1.0
    used: float = 0.0
    share: float = 1.0
    trend: float = 0.0
    other_seen: float = 0.0
    drains_said: float = 0.0


class SquidRecord(_Written, gc=False):
    """The attributes of a `Squid`, in classes of which one is made in a quarter of the time."""

    verification: _CheckRecord = _UNCHECKED  # type: ignore[valid-type]  # known at run time alone
    drained: bool = False
    id: str = ""

    @property
    def squid(self) -> Squid:
        return msgspec.convert(self, Squid, from_attributes=True)


class RecalledBeat(msgspec.Struct, gc=False):
    """What `Said` asks for."""

    uuid: str
    hostname: str
    timestamp: float
    state: AgentState = AgentState.UP
    max_load: float | None = None


class Recalled(msgspec.Struct, gc=False):
    """A squid's past, as the registry needs it to judge the next heartbeat."""

    beat: RecalledBeat
    created: float
    load: float
    seen: float = 0.0
    pressure: float = 0.0
    takes: float = 1.0
    used: float = 0.0
    share: float = 1.0
    trend: float = 0.0
    other_seen: float = 0.0
    drains_said: float = 0.0


_record = msgspec.json.Decoder(SquidRecord)
_recalled = msgspec.json.Decoder(Recalled)
_verification = msgspec.json.Decoder(_CheckRecord)
_encoder = msgspec.json.Encoder()


def beat_record(squid: Squid) -> bytes:
    """What heartbeats say of a squid, since when it is known, and when it was last heard."""
    said = _BeatRecord(*_said(squid.beat))
    derived = squid.pressure, squid.takes, squid.used, squid.share, squid.trend
    others = squid.other_seen, squid.drains_said
    return _encoder.encode(_Written(said, squid.created, squid.load, squid.seen, *derived, *others))


def recalled(record: str) -> Recalled:
    """The part of a `beat_record` by which the next heartbeat is judged; ValueError as `record_from`."""
    return _recalled.decode(record)


def check_record(verification: Verification) -> str:
    """A verification."""
    return _encoder.encode(verification).decode()


def record_from(beat: str, seen: float, check: str | None, *, drained: bool) -> SquidRecord:
    """The squid of two records; without a second one it has not been checked yet.

    Raises ValueError for records that none of the above made (msgspec's errors are ValueErrors).
    """
    record = _record.decode(beat)
    record.id, record.seen, record.drained = squid_id(record.beat), seen, drained
    record.verification = _verification.decode(check) if check else _UNCHECKED
    return record
