"""Who was listed when: a roll of all squids at one time, continued by the events since.

What stands of a squid is decided by the last event that touches it, so that events which a roll
already includes may be counted again: a roll and its events need not be cut at the same instant.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState
from shoal_server.registry import Event, EventKind
from shoal_server.squid import Reach, Squid

OVERLAP_SECONDS = 10.0
"""How much earlier than the roll its events are counted from: an event is stamped before it is stored."""

_REACHED = {
    EventKind.VERIFIED: Reach.GLOBAL,
    EventKind.LOCAL: Reach.LOCAL,
    EventKind.FAILED: Reach.FAILED,
}
_GONE = frozenset({EventKind.LEFT, EventKind.EXPIRED, EventKind.FORGOTTEN})
_WAS = "was "


@dataclass(frozen=True, slots=True)
class Presence:
    """A squid on the list at some time.

    `told`: workers were told of it, as far as checks and draining decide that; `draining`: it was for
    those alone who used it already.
    """

    id: str
    hostname: str
    address: str
    port: int
    reach: Reach
    draining: bool
    told: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One squid on a roll; `offered` is what its checks decide, `withdrawn` what its agent says."""

    hostname: str
    reach: Reach
    offered: bool
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Roll:
    """All squids at the time `at` by id, and which ids (absent ones too) an operator was draining."""

    at: float
    entries: Mapping[str, Entry]
    drained: frozenset[str] = frozenset()

    @classmethod
    def of(cls, at: float, squids: Iterable[Squid], drained: frozenset[str], *, verify: bool) -> "Roll":
        """The roll of a snapshot made at `at`; `drained` are the ids known to be drained before."""
        entries: dict[str, Entry] = {}
        now_drained = set(drained)
        for squid in squids:
            check = squid.verification
            offered = not verify or check.reach in (Reach.GLOBAL, Reach.LOCAL)
            doubtful = check.reach is Reach.UNVERIFIED and check.checked is not None
            withdrawn = squid.beat.state is AgentState.DRAINING
            entries[squid.id] = Entry(squid.beat.hostname, check.reach, offered or doubtful, withdrawn)
            (now_drained.add if squid.drained else now_drained.discard)(squid.id)
        return cls(at, entries, frozenset(now_drained))

    def after(self, events: Sequence[Event], *, verify: bool) -> "Roll":
        """This roll as the events, oldest first, have changed it."""
        entries, drained = dict(self.entries), set(self.drained)
        for event in events:
            if event.kind in (EventKind.DRAINED, EventKind.UNDRAINED):
                (drained.add if event.kind is EventKind.DRAINED else drained.discard)(event.squid_id)
            else:
                _apply(event, entries, verify=verify)
        at = max([self.at, *(event.at for event in events)])
        return Roll(at, entries, frozenset(drained))

    def present(self) -> list[Presence]:
        """Everybody on the roll, by id."""
        return [
            _presence(squid_id, entry, drained=squid_id in self.drained)
            for squid_id, entry in sorted(self.entries.items())
        ]

    def pack(self) -> bytes:
        """The roll in few bytes."""
        entries = {squid_id: list(asdict(entry).values()) for squid_id, entry in self.entries.items()}
        body = {"at": self.at, "entries": entries, "drained": sorted(self.drained)}
        return zlib.compress(json.dumps(body, separators=(",", ":")).encode())

    @classmethod
    def unpack(cls, packed: bytes) -> "Roll":
        """The roll that was packed; raises Unavailable for bytes that are none."""
        try:
            body = json.loads(zlib.decompress(packed))
            entries = {
                squid_id: Entry(str(hostname), Reach(reach), bool(offered), bool(withdrawn))
                for squid_id, (hostname, reach, offered, withdrawn) in body["entries"].items()
            }
            return cls(float(body["at"]), entries, frozenset(body["drained"]))
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"a record of who was listed cannot be read: {error}") from None


def _apply(event: Event, entries: dict[str, Entry], *, verify: bool) -> None:
    """What an event does to the list; one about a squid that is not on it does nothing."""
    squid_id, known = event.squid_id, entries.get(event.squid_id)
    if event.kind in _GONE:
        entries.pop(squid_id, None)
    elif event.kind is EventKind.JOINED:
        entries[squid_id] = Entry(event.detail, Reach.UNVERIFIED, not verify)
    elif event.kind is EventKind.MOVED:
        origin = entries.pop(event.detail.removeprefix(_WAS), None) or known
        base = origin or Entry("", Reach.UNVERIFIED, offered=False)
        entries[squid_id] = replace(base, reach=Reach.UNVERIFIED, offered=not verify)
    elif known and event.kind in _REACHED:
        reach = _REACHED[event.kind]
        offered = not verify or reach is not Reach.FAILED
        entries[squid_id] = replace(known, reach=reach, offered=offered)
    elif known and event.kind in (EventKind.AGENT_DRAINS, EventKind.AGENT_RESUMES):
        entries[squid_id] = replace(known, withdrawn=event.kind is EventKind.AGENT_DRAINS)


def _presence(squid_id: str, entry: Entry, *, drained: bool) -> Presence:
    host, _, port = squid_id.partition("/")[0].rpartition(":")
    draining = drained or entry.withdrawn
    told = entry.offered and not draining
    number = int(port) if port.isdecimal() else 0
    return Presence(squid_id, entry.hostname, host.strip("[]"), number, entry.reach, draining, told)
