"""Squids as JSON records, for Redis and for the state file.

A squid is kept in two records with two writers: what heartbeats say (intake), and its verification
(verifiers). When it was last heard is kept beside them, since it changes most.
"""

import json
from dataclasses import asdict
from dataclasses import fields as fields_of
from typing import Any

from shoal_common import heartbeat
from shoal_server.squid import Reach, Squid, Verification


def beat_record(squid: Squid) -> str:
    """What heartbeats say of a squid, and since when it is known."""
    beat = json.loads(squid.beat.encode())
    return json.dumps({"beat": beat, "created": squid.created, "load": squid.load})


def check_record(verification: Verification) -> str:
    """A verification."""
    return json.dumps(asdict(verification))


def squid_from(beat: str, seen: float, check: str | None) -> Squid:
    """The squid of two records; without a second one it has not been checked yet.

    Raises ValueError, KeyError, TypeError or InvalidHeartbeat for records that none of the above made.
    """
    fields: dict[str, Any] = json.loads(beat)
    said = heartbeat.decode(json.dumps(fields["beat"]).encode())
    verification = _verification(check) if check else Verification()
    return Squid(said, float(fields["created"]), seen, float(fields["load"]), verification)


def _verification(record: str) -> Verification:
    """What a newer server may have added is left out, what an older one did not know has its default."""
    known: dict[str, Any] = json.loads(record)
    names = {field.name for field in fields_of(Verification)}
    said = {name: value for name, value in known.items() if name in names}
    return Verification(**{**said, "reach": Reach(said["reach"]), "lacks": tuple(said.get("lacks", ()))})
