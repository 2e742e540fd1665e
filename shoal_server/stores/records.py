"""Squids as JSON records, for Redis and for the state file.

A squid is kept in two records with two writers: what heartbeats say (intake), and its verification
(verifiers). When it was last heard is kept beside them, since it changes most. What a newer server
may have added is left out, what an older one did not know has its default.
"""

import msgspec

from shoal_common.heartbeat import Heartbeat
from shoal_server.squid import Squid, Verification


class _Kept(msgspec.Struct):
    """What heartbeats say, and what the registry derives from them."""

    beat: Heartbeat
    created: float
    load: float
    pressure: float = 0.0
    settled: float | None = None


_kept = msgspec.json.Decoder(_Kept)
_verification = msgspec.json.Decoder(Verification)
_encoder = msgspec.json.Encoder()


def beat_record(squid: Squid) -> str:
    """What heartbeats say of a squid, and since when it is known."""
    kept = _Kept(squid.beat, squid.created, squid.load, squid.pressure, squid.settled)
    return _encoder.encode(kept).decode()


def check_record(verification: Verification) -> str:
    """A verification."""
    return _encoder.encode(verification).decode()


def squid_from(beat: str, seen: float, check: str | None, *, drained: bool) -> Squid:
    """The squid of two records; without a second one it has not been checked yet.

    Raises ValueError for records that none of the above made (msgspec's errors are ValueErrors).
    """
    kept = _kept.decode(beat)
    verification = _verification.decode(check) if check else Verification()
    return Squid(kept.beat, kept.created, seen, kept.load, verification, drained, kept.pressure, kept.settled)
