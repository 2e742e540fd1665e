"""Squids as JSON records, for Redis and for the state file.

A squid is kept in two records with two writers: what heartbeats say (intake), and its verification
(verifiers). When it was last heard is kept beside them, since it changes most. What a newer server
may have added is left out, what an older one did not know has its default.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any

import msgspec

from shoal_common.heartbeat import AgentState, Heartbeat
from shoal_server.squid import Squid, Verification

_PARTS = tuple(field.name for field in fields(Heartbeat))
_parts: Callable[[Heartbeat], tuple[Any, ...]] = attrgetter(*_PARTS)
_Said: Callable[..., msgspec.Struct] = msgspec.defstruct(
    "_Said",
    [
        (field.name, Any) if field.default is MISSING else (field.name, Any, field.default)
        for field in fields(Heartbeat)
    ],
    omit_defaults=True,
    gc=False,
)
"""A heartbeat as it is written: what it does not say takes no room."""


class _Kept(msgspec.Struct):
    """What heartbeats say, and what the registry derives from them."""

    beat: Heartbeat
    created: float
    load: float
    pressure: float = 0.0
    takes: float = 1.0


class _Written(msgspec.Struct, omit_defaults=True, gc=False):
    """The same as it is written, with the time at which it was heard, which is what `Recalled` needs."""

    beat: msgspec.Struct
    created: float
    seen: float
    load: float
    pressure: float = 0.0
    takes: float = 1.0


class RecalledBeat(msgspec.Struct, gc=False):
    """What `Said` asks for."""

    uuid: str
    hostname: str
    timestamp: float
    state: AgentState = AgentState.UP


class Recalled(msgspec.Struct, gc=False):
    """A squid's past, as the registry needs it to judge the next heartbeat."""

    beat: RecalledBeat
    created: float
    load: float
    seen: float = 0.0
    pressure: float = 0.0
    takes: float = 1.0


_kept = msgspec.json.Decoder(_Kept)
_recalled = msgspec.json.Decoder(Recalled)
_verification = msgspec.json.Decoder(Verification)
_encoder = msgspec.json.Encoder()


def beat_record(squid: Squid) -> bytes:
    """What heartbeats say of a squid, since when it is known, and when it was last heard."""
    said = _Said(*_parts(squid.beat))
    kept = _Written(said, squid.created, squid.seen, squid.load, squid.pressure, squid.takes)
    return _encoder.encode(kept)


def recalled(record: str) -> Recalled:
    """The part of a `beat_record` by which the next heartbeat is judged; ValueError as `squid_from`."""
    return _recalled.decode(record)


def check_record(verification: Verification) -> str:
    """A verification."""
    return _encoder.encode(verification).decode()


def squid_from(beat: str, seen: float, check: str | None, *, drained: bool) -> Squid:
    """The squid of two records; without a second one it has not been checked yet.

    Raises ValueError for records that none of the above made (msgspec's errors are ValueErrors).
    """
    kept = _kept.decode(beat)
    verification = _verification.decode(check) if check else Verification()
    return Squid(kept.beat, kept.created, seen, kept.load, verification, drained, kept.pressure, kept.takes)
