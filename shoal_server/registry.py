"""The one door to what is known of the squids: every heartbeat, verdict and expiry passes here.

A squid is its endpoint (`squid_id`). A known endpoint under a new uuid is a restart; a known uuid at
a new endpoint is a move, which keeps the history and starts verification anew. An orderly goodbye
removes a squid at once. Where two agents announce one squid by turns, as when the old one was forgotten in
an upgrade, neither is a restart of the other, and the goodbye of one says nothing of the other. Where they
disagree nothing goes to and fro with each heartbeat: the squid drains while either says so, and the smaller
max_load counts.

Two servers may store an agent's words in another order than they were said, the older ones even long after,
when the store was away meanwhile: what was overtaken by a goodbye, or by news from another endpoint, is
dropped. The agent's clock orders its own words, and counts for nothing else.
"""

import logging
import math
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from shoal_common.heartbeat import AgentState, Heartbeat
from shoal_server.balance import MOST_UTILISATION, FindPeers, alone, decided, measured
from shoal_server.packed import Kept
from shoal_server.squid import (
    LivenessRules,
    Past,
    Reach,
    Squid,
    Verification,
    pressure,
    squid_id,
    utilisation,
)

LOAD_SMOOTHING_SECONDS = 180.0
"""Time constant of the smoothed load: workers ask every 10 to 30 minutes, so faster load is noise."""
MAX_EVENTS = 100_000
"""How many events a store keeps."""
MAX_CHANGES = 10_000
"""After so many writes, whoever has not followed reads everything."""
FAREWELL_SECONDS = 120
"""How long a store keeps that an agent said goodbye."""

log = logging.getLogger(__name__)


class EventKind(StrEnum):
    """What can happen to a squid."""

    JOINED = "joined"
    MOVED = "moved"
    RESTARTED = "restarted"
    LEFT = "left"
    EXPIRED = "expired"
    VERIFIED = "verified"
    LOCAL = "local"
    FAILED = "failed"
    DRAINED = "drained"
    UNDRAINED = "undrained"
    FORGOTTEN = "forgotten"
    HELD = "held"
    AGENT_DRAINS = "agent-drains"
    AGENT_RESUMES = "agent-resumes"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a squid at `at` (seconds since 1970); `detail` is for people."""

    at: float
    kind: EventKind
    squid_id: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in the life of a store: the life's name, its count of writes, the store's own word for it.

    Another life, or a smaller count, means that the store has lost what it knew: it was restarted empty, or a
    replica that lagged behind took over.
    """

    life: str
    count: int
    word: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """The squids that were written, as `Kept` of them, and the ids of those that went, up to `mark`.

    `whole`: the squids are all there are, to be gone through once; they may be read only then, and raise
    Unavailable.
    """

    mark: Mark
    squids: Iterable[Kept]
    gone: Sequence[str] = ()
    whole: bool = False


class Store(Protocol):
    """Where squids are kept. Every method raises Unavailable when the store cannot be used now.

    `put` writes what heartbeats say, `put_verification` and `put_drained` what verifiers and operators
    do, and none touches the others' part: intake, verifier and operator, maybe on several servers,
    cannot undo each other's work.
    """

    def now(self) -> float:
        """The time (seconds since 1970) by the one clock of all who use this store. Never waits."""

    def changes(self, since: Mark | None) -> Changes:
        """What has changed since the mark of earlier changes; everything, if that cannot be told."""

    def get(self, ids: Iterable[str]) -> Mapping[str, Squid]:
        """Those of the ids that are known."""

    def recall(self, ids: Iterable[str]) -> Mapping[str, Past]:
        """What the next heartbeats of those of the ids that are known are to be judged by."""

    def ids_of(self, uuids: Iterable[str]) -> Mapping[str, str]:
        """Under which id each known agent uuid was last heard."""

    def farewells(self, uuids: Iterable[str]) -> Mapping[str, float]:
        """When (by its own clock) each of these agents said goodbye, if it did lately."""

    def put_farewells(self, said: Mapping[str, float]) -> None:
        """Keep for FAREWELL_SECONDS when agents said goodbye."""

    def put(self, squids: Sequence[Squid], gone: Sequence[str], events: Sequence[Event]) -> None:
        """Write squids as heard and remove the ids in `gone`, with the events, as one step."""

    def put_verification(self, squid_id: str, verification: Verification, events: Sequence[Event]) -> None:
        """Write a verification, unless the squid is gone."""

    def put_drained(self, squid_id: str, drained: bool, events: Sequence[Event]) -> None:
        """Set or remove the operator's mark; it outlasts the squid's absence."""

    def expire(self, ids: Sequence[str], silent_since: float, at: float) -> list[str]:
        """Remove those of `ids` still not heard since `silent_since`, with an event each; returns them."""

    def claim(self, name: str, seconds: float) -> bool:
        """Take the named lock, for so long at most; False if another server has it."""

    def release(self, name: str) -> None:
        """Give back a lock that this store took; one that has passed to another stays the other's."""


@dataclass(frozen=True, slots=True)
class Registry:
    """What may be done to the list of squids."""

    store: Store
    rules: LivenessRules

    def hear(
        self,
        beats: Sequence[Heartbeat],
        now: float,
        peers: FindPeers = alone,
        room: int = sys.maxsize,
        absent: Container[str] = (),
    ) -> Sequence[str]:
        """Take a batch of heartbeats, oldest first. Raises Unavailable: then none of them was stored.

        There is `room` for so many squids that are not known yet, and for those that are `absent`; returns
        the ids of those beyond that, which were left out.
        """
        latest = _latest(beats)
        known = dict(self.store.recall(latest))
        strangers = [beat.uuid for key, beat in latest.items() if key not in known]
        former = self.store.ids_of(strangers) if strangers else {}
        origins = self.store.recall(former.values()) if former else {}
        # a store that was emptied is filled by any server: a squid may have come back between the reads
        known.update((key, origin) for key, origin in origins.items() if key in latest)
        farewells = self.store.farewells(strangers) if strangers else {}
        change = _Change(peers, self.rules.suspect_after, room, absent)
        for key, beat in latest.items():
            previous = known.get(key)
            if beat.state is AgentState.LEAVING:
                change.leave(beat, key, previous, now)
            elif previous:
                change.hear(beat, key, previous, now)
            elif not _overtaken(
                beat, origin := origins.get(former.get(beat.uuid, "")), farewells.get(beat.uuid)
            ):
                change.meet(beat, key, former.get(beat.uuid, ""), origin, now)
        if change.farewells:
            self.store.put_farewells(change.farewells)
        self.store.put(change.squids, change.gone, change.events)
        for event in change.events:
            log.info("%s %s %s", event.squid_id, event.kind.value, event.detail)
        return change.refused

    def record(self, squid: Squid, verification: Verification, now: float) -> None:
        """Keep the outcome of a check; an event is made when its reach changed."""
        events = []
        if verification.reach is not squid.verification.reach and verification.reach in _REACH_EVENTS:
            events.append(Event(now, _REACH_EVENTS[verification.reach], squid.id, verification.reason))
            log.info("%s is %s: %s", squid.id, verification.reach.value, verification.reason)
        self.store.put_verification(squid.id, verification, events)

    def drain(self, squid_id: str, *, drained: bool, reason: str, now: float) -> None:
        """Mark a squid as not to be offered to new workers, or lift the mark; `reason` says who and why."""
        kind = EventKind.DRAINED if drained else EventKind.UNDRAINED
        self.store.put_drained(squid_id, drained, [Event(now, kind, squid_id, reason)])
        log.info("%s %s %s", squid_id, kind.value, reason)

    def forget(self, squid_id: str, *, reason: str, now: float) -> None:
        """Take a squid off the list as an operator said (`reason`: who and why). Heard again, it joins."""
        self.store.put([], [squid_id], [Event(now, EventKind.FORGOTTEN, squid_id, reason)])
        log.info("%s forgotten %s", squid_id, reason)

    def restore(self, squids: Sequence[Squid]) -> None:
        """Put back what the store has lost; what it has heard since counts, with the history added."""
        present = self.store.get([squid.id for squid in squids])
        put_whole(self.store, [_merged(squid, present.get(squid.id)) for squid in squids])
        log.warning("the store has lost its contents; %d squids were put back", len(squids))

    def drop(self, ids: Sequence[str], silent_since: float, now: float) -> None:
        """A store that went back to an earlier state lists who has gone since: take off again who was not
        heard."""
        for key in self.store.expire(ids, silent_since, now):
            log.info("%s expired: it had gone before the store went back to an earlier state", key)

    def correct_clock(self, squids: Sequence[Squid], now: float) -> None:
        """Our clock was ahead and has been set back: what was heard in the future was heard by now."""
        self.store.put([replace(squid, seen=now) for squid in squids if squid.seen > now], [], [])

    def note_held(self, ids: Sequence[str], now: float) -> None:
        """Log that these are silent and stay listed, since improbably many fell silent with them."""
        told = "silent, and kept: improbably many squids fell silent together"
        self.store.put([], [], [Event(now, EventKind.HELD, key, told) for key in ids])

    def expire(self, ids: Sequence[str], now: float) -> None:
        """Remove the dead; one that was heard in the last moment stays."""
        for key in self.store.expire(ids, now - self.rules.dead_after, now):
            log.info("%s expired: silent for more than %g s", key, self.rules.dead_after)


_REACH_EVENTS = {
    Reach.GLOBAL: EventKind.VERIFIED,
    Reach.LOCAL: EventKind.LOCAL,
    Reach.FAILED: EventKind.FAILED,
}


@dataclass(slots=True)
class _Change:
    """What one batch does to the store. Who was heard in the last `lately` seconds is there still.

    There is `room` for so many squids more beside those that are `absent`; who finds none is `refused`.
    """

    peers: FindPeers
    lately: float
    room: int
    absent: Container[str]
    squids: list[Squid] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    farewells: dict[str, float] = field(default_factory=dict)

    def hear(self, beat: Heartbeat, key: str, previous: Past, now: float) -> None:
        """A squid that we know."""
        said = _drains_said(beat, previous.drains_said, now)
        if now - _other_seen(previous, beat) <= self.lately:
            beat = _agreed(previous, beat, drains=now - said <= self.lately)
        self.squids.append(heard_again(previous, beat, now, self.peers, drains_said=said))
        if previous.beat.uuid != beat.uuid and now - previous.other_seen > self.lately:
            self.events.append(Event(now, EventKind.RESTARTED, key, f"agent {beat.uuid}"))
        if beat.state is not previous.beat.state:
            self._note_draining(beat, key, previous, now)

    def meet(self, beat: Heartbeat, key: str, origin_id: str, origin: Past | None, now: float) -> None:
        """A squid that we do not know, at least not there."""
        if origin:
            said = _drains_said(beat, origin.drains_said, now)
            self.squids.append(heard_again(origin, beat, now, self.peers, drains_said=said))
            self.gone.append(origin_id)
            self.events.append(Event(now, EventKind.MOVED, key, f"was {origin_id}"))
        elif key not in self.absent and self.room <= 0:
            self.refused.append(key)
            return
        else:
            if key not in self.absent:
                self.room -= 1
            said, strain = _drains_said(beat, 0.0, now), pressure(beat.metrics)
            self.squids.append(Squid(beat, now, now, beat.load, pressure=strain, drains_said=said))
            self.events.append(Event(now, EventKind.JOINED, key, beat.hostname))
        self._note_draining(beat, key, origin, now)

    def _note_draining(self, beat: Heartbeat, key: str, before: Past | None, now: float) -> None:
        was = before is not None and before.beat.state is AgentState.DRAINING
        drains = beat.state is AgentState.DRAINING
        if drains is not was:
            kind = EventKind.AGENT_DRAINS if drains else EventKind.AGENT_RESUMES
            self.events.append(Event(now, kind, key, beat.hostname))

    def leave(self, beat: Heartbeat, key: str, previous: Past | None, now: float) -> None:
        """A goodbye."""
        if previous and previous.beat.timestamp > beat.timestamp:
            return  # it has come back since
        self.farewells[beat.uuid] = beat.timestamp
        if previous and now - _other_seen(previous, beat) > self.lately:
            self.gone.append(key)
            self.events.append(Event(now, EventKind.LEFT, key, previous.beat.hostname))


def put_whole(store: Store, squids: Sequence[Squid]) -> None:
    """Write squids with all that is known of them."""
    store.put(squids, [], [])
    for squid in squids:
        if squid.verification.checked is not None:
            store.put_verification(squid.id, squid.verification, [])
        if squid.drained:
            store.put_drained(squid.id, True, [])


def _last_words(beats: Sequence[Heartbeat]) -> Iterable[Heartbeat]:
    """What each agent of a batch said last."""
    said: dict[str, Heartbeat] = {}
    for beat in beats:
        if beat.uuid not in said or said[beat.uuid].timestamp <= beat.timestamp:
            said[beat.uuid] = beat
    return said.values()


def _latest(beats: Sequence[Heartbeat]) -> dict[str, Heartbeat]:
    """What was said last of each squid; a goodbye of one agent does not count against what another says."""
    latest: dict[str, Heartbeat] = {}
    for beat in _last_words(beats):
        key = squid_id(beat)
        said = latest.get(key, beat)
        if beat.state is not AgentState.LEAVING or said.state is AgentState.LEAVING:
            latest[key] = beat
    return latest


def _other_seen(previous: Past, beat: Heartbeat) -> float:
    """When another agent than the one of the heartbeat was last heard there (0: never)."""
    return previous.seen if previous.beat.uuid != beat.uuid else previous.other_seen


def _drains_said(beat: Heartbeat, before: float, now: float) -> float:
    """When an agent of the squid last said that it drains (0: never)."""
    return now if beat.state is AgentState.DRAINING else before


def _agreed(previous: Past, beat: Heartbeat, *, drains: bool) -> Heartbeat:
    """What a heartbeat comes to where another agent, heard a moment ago, may have said otherwise."""
    stated = [max_load for max_load in (previous.beat.max_load, beat.max_load) if max_load]
    state = AgentState.DRAINING if drains else beat.state
    return replace(beat, state=state, max_load=min(stated, default=None))


def _overtaken(beat: Heartbeat, origin: Past | None, farewell: float | None) -> bool:
    """Whether a heartbeat from an endpoint that we do not know is older than what its agent said last."""
    if origin and origin.beat.timestamp > beat.timestamp:
        return True
    return farewell is not None and farewell > beat.timestamp


def _merged(known: Squid, present: Squid | None) -> Squid:
    """What is known of a squid, with what a store says that has lost it and may have heard it since.

    To that store it is new: of its past, and of what was found out about it, it says nothing.
    """
    if present is None:
        return known
    heard = max(known, present, key=lambda squid: squid.seen)
    checked = max(known, present, key=lambda squid: squid.verification.checked or 0.0)
    return replace(
        known,
        beat=heard.beat,
        seen=heard.seen,
        created=min(known.created, present.created),
        verification=checked.verification,
        drained=known.drained or present.drained,
    )


def heard_again(
    previous: Past, beat: Heartbeat, now: float, peers: FindPeers = alone, *, drains_said: float = 0.0
) -> Squid:
    """What intake writes of a known squid after one more heartbeat: nothing of verifiers and operators."""
    seconds, strain = now - previous.seen, pressure(beat.metrics)
    present = utilisation(beat, beat.load, strain)
    decision = decided(previous, squid_id(beat), peers, present, now)
    return Squid(
        beat,
        previous.created,
        now,
        smoothed(previous.load, beat.load, seconds),
        pressure=smoothed(previous.pressure, strain, seconds),
        takes=decision.takes,
        used=measured(previous.used, min(present, MOST_UTILISATION), previous.seen, now),
        share=decision.share,
        trend=decision.trend,
        other_seen=_other_seen(previous, beat),
        drains_said=drains_said,
    )


def smoothed(before: float, present: float, seconds: float) -> float:
    """Exponential smoothing by elapsed time, so that the pace of heartbeats does not matter."""
    weight = 1 - math.exp(-max(0.0, seconds) / LOAD_SMOOTHING_SECONDS)
    return before + weight * (present - before)
