"""Who was listed when: a roll and the events since give what the list was."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState
from shoal_server.history import History
from shoal_server.registry import Event, EventKind, Registry
from shoal_server.roll import OVERLAP_SECONDS, Presence, Roll
from shoal_server.squid import LivenessRules, Reach, Squid, Verification
from shoal_server.stores.history_memory import MemoryHistory
from shoal_server.stores.memory import MemoryStore
from tests.fakes import NOW, beat

ADDRESSES = [f"192.0.2.{n}" for n in range(1, 5)]
UUIDS = [f"u{n}" for n in range(5)]


@dataclass
class World:
    """A registry over a memory store, with what was on its list after every step."""

    verify: bool
    store: MemoryStore = field(default_factory=MemoryStore)
    seen: list[tuple[float, list[Presence]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = Registry(self.store, LivenessRules())
        self.history = MemoryHistory(self.store.log)

    def step(self, act: str, address: str, uuid: str, now: float) -> None:
        squid_id = f"{address}:3128"
        known = self.store.get([squid_id]).get(squid_id)
        if act in HEARTBEATS:
            said = beat(uuid=uuid, public_ip=address, hostname=f"{uuid}.example.org", state=AgentState(act))
            self.registry.hear([said], now)
        elif act in ("drain", "undrain"):
            self.registry.drain(squid_id, drained=act == "drain", reason="test", now=now)
        elif act == "expire":
            self.store.expire([squid_id], now + 1, now)
        elif act == "forget" and known:
            self.registry.forget(squid_id, reason="test", now=now)
        elif act == "checkpoint":
            self.checkpoint(now)
        elif known and act in set(Reach):
            self.registry.record(known, Verification(Reach(act), "test", now, now), now)
        self.seen.append((now, self.list()))

    def list(self) -> list[Presence]:
        """What a reader of the store itself would say, names apart (a restarted agent may have another)."""
        return sorted((self.presence(one) for one in self.store.squids()), key=lambda one: one.id)

    def presence(self, one: Squid) -> Presence:
        told = (not self.verify or one.verification.reach in (Reach.GLOBAL, Reach.LOCAL)) and not one.draining
        address, reach = str(one.beat.public_ip), one.verification.reach
        return Presence(one.id, "", address, one.beat.port, reach, one.draining, told)

    def checkpoint(self, now: float) -> None:
        before = History(self.history, verify=self.verify).roll_at(now)
        drained = before.drained if before else frozenset()
        roll = Roll.of(now, self.store.squids(), drained, verify=self.verify)
        self.history.put_checkpoint(now, roll.pack())


HEARTBEATS = ("up", "up", "draining", "leaving")
OTHER_ACTS = ("drain", "undrain", "expire", "forget", "checkpoint", "global", "global", "local", "failed")
acts = st.sampled_from((*HEARTBEATS, *OTHER_ACTS))
steps = st.lists(
    st.tuples(acts, st.sampled_from(ADDRESSES), st.sampled_from(UUIDS), st.floats(0.5, 40.0)), max_size=40
)


@settings(max_examples=300, deadline=None)
@given(steps, st.booleans())
def test_what_is_told_of_any_past_time_is_what_the_list_was_then(
    taken: Sequence[tuple[str, str, str, float]], verify: bool
) -> None:
    world, now = World(verify), NOW
    world.checkpoint(now)
    for act, address, uuid, pause in taken:
        now += pause
        world.step(act, address, uuid, now)
    history = History(world.history, verify=verify)
    for at, expected in world.seen:
        found = history.listed_at(at + 0.1)
        assert found is not None
        assert [without_name(one) for one in found] == expected


def without_name(one: Presence) -> Presence:
    return Presence(one.id, "", one.address, one.port, one.reach, one.draining, one.told)


# --- single rules -----------------------------------------------------------------------------------


def squid(verification: Verification, drained: bool = False, **changes: Any) -> Squid:
    said = beat(**changes)
    return Squid(said, NOW, NOW, said.load, verification, drained)


def told(*squids: Squid, verify: bool = True) -> list[bool]:
    return [one.told for one in Roll.of(NOW, squids, frozenset(), verify=verify).present()]


def after(*events: Event, roll: Roll | None = None, verify: bool = True) -> list[Presence]:
    start = roll or Roll(NOW, {})
    return start.after(events, verify=verify).present()


ID = "192.0.2.1:3128"
JOINED = Event(NOW, EventKind.JOINED, ID, "sq1.example.org")


def test_a_squid_that_joined_is_there_by_name_address_and_port_and_not_told_yet() -> None:
    assert after(JOINED) == [
        Presence(ID, "sq1.example.org", "192.0.2.1", 3128, Reach.UNVERIFIED, draining=False, told=False)
    ]


def test_a_server_that_does_not_verify_tells_of_everybody() -> None:
    assert [one.told for one in after(JOINED, verify=False)] == [True]


def test_a_squid_that_could_not_be_judged_was_told_all_the_same() -> None:
    assert told(squid(Verification(Reach.UNVERIFIED, "no origin", checked=NOW))) == [True]
    assert told(squid(Verification())) == [False]


def test_a_squid_that_moved_keeps_its_name() -> None:
    moved = Event(NOW + 1, EventKind.MOVED, "192.0.2.9:3128", f"was {ID}")
    assert [(one.id, one.hostname) for one in after(JOINED, moved)] == [("192.0.2.9:3128", "sq1.example.org")]


def test_a_move_that_the_roll_includes_already_changes_nothing() -> None:
    moved = Event(NOW + 1, EventKind.MOVED, "192.0.2.9:3128", f"was {ID}")
    once = Roll(NOW, {}).after([JOINED, moved], verify=True)
    assert once.after([moved], verify=True) == once


@pytest.mark.parametrize(
    ("squid_id", "address", "port"),
    [
        ("192.0.2.1:3128", "192.0.2.1", 3128),
        ("192.0.2.1:3128/10.0.0.1", "192.0.2.1", 3128),
        ("[2001:db8::1]:3128", "2001:db8::1", 3128),
        ("nonsense", "", 0),
    ],
)
def test_address_and_port_are_those_of_the_id(squid_id: str, address: str, port: int) -> None:
    joined = Event(NOW, EventKind.JOINED, squid_id, "sq1")
    assert [(one.address, one.port) for one in after(joined)] == [(address, port)]


def test_an_operators_mark_outlasts_a_squids_absence() -> None:
    drained = Event(NOW, EventKind.DRAINED, ID, "operator")
    left = Event(NOW, EventKind.LEFT, ID)
    back = after(JOINED, drained, left, JOINED)
    assert [one.draining for one in back] == [True]


def test_an_event_of_a_squid_that_is_not_there_does_nothing() -> None:
    strangers = [
        Event(NOW, kind, ID) for kind in EventKind if kind not in (EventKind.JOINED, EventKind.MOVED)
    ]
    assert after(*strangers) == []


def test_a_roll_comes_back_from_its_bytes() -> None:
    roll = Roll.of(
        NOW, [squid(Verification(Reach.LOCAL, "denied"), drained=True)], frozenset({"x"}), verify=True
    )
    assert Roll.unpack(roll.pack()) == roll


@pytest.mark.parametrize("spoilt", [b"", b"nonsense", Roll(NOW, {}).pack()[:-3]])
def test_bytes_that_are_no_roll_are_refused(spoilt: bytes) -> None:
    with pytest.raises(Unavailable):
        Roll.unpack(spoilt)


# --- what is recorded -------------------------------------------------------------------------------


def test_a_time_before_the_first_checkpoint_is_not_recorded() -> None:
    world = World(verify=True)
    world.checkpoint(NOW)
    history = History(world.history)
    assert history.listed_at(NOW - 1) is None
    assert history.listed_at(NOW) == []


def test_a_time_whose_events_were_dropped_is_not_recorded() -> None:
    world = World(verify=True)
    world.checkpoint(NOW)
    world.store.log.extend([Event(NOW + 60, EventKind.JOINED, ID, "sq1")])
    world.store.log.drop_before(NOW + 61)
    assert History(world.history).listed_at(NOW + 120) is None


def test_a_checkpoint_after_the_dropped_events_counts_again() -> None:
    world = World(verify=True)
    world.store.log.extend([Event(NOW, EventKind.JOINED, ID, "sq1")])
    world.store.log.drop_before(NOW + 1)
    world.checkpoint(NOW + OVERLAP_SECONDS + 1)
    assert History(world.history).listed_at(NOW + 60) == []
