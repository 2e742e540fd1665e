"""What of a squid is for everybody, what for its own site, what for operators: one rule for pages and API.

`whole` is said of somebody who may know the squid's inside address: those on its own site, and operators.
"""

from dataclasses import replace

from shoal_common.heartbeat import Heartbeat
from shoal_common.hosts import HostPort
from shoal_server.registry import Event, EventKind
from shoal_server.squid import Squid

_OPERATORS = frozenset({EventKind.DRAINED, EventKind.UNDRAINED, EventKind.FORGOTTEN})
"""Their detail says who did it and why."""
_OPEN = frozenset(
    {
        *(EventKind.JOINED, EventKind.LEFT, EventKind.EXPIRED, EventKind.HELD),
        *(EventKind.VERIFIED, EventKind.LOCAL, EventKind.FAILED),
        *(EventKind.AGENT_DRAINS, EventKind.AGENT_RESUMES),
    }
)
"""Their detail is the squid's name, how its check ended, or always the same. What is in neither set tells
former addresses or the agent's id.
"""


def id_for(squid: Squid, *, whole: bool) -> str:
    """The `whole` id, or what outsiders may know of it; a private-only squid has no other."""
    return squid.id if whole or squid.private_only else str(HostPort(squid.address, squid.beat.port))


def beat_for(squid: Squid, *, whole: bool) -> Heartbeat:
    """Its last heartbeat; to outsiders without its inside address and uuid: with that others could speak in
    its name.
    """
    return squid.beat if whole else replace(squid.beat, uuid="", private_ip=None)


def detail_for(event: Event, *, whole: bool, operator: bool) -> str:
    """The detail of an event; empty if it is not for whoever asks."""
    if event.kind in _OPERATORS:
        return event.detail if operator else ""
    return event.detail if whole or event.kind in _OPEN else ""
