"""What becomes of a heartbeat, a verdict and a long silence."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pytest

from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState
from shoal_server.registry import LOAD_SMOOTHING_SECONDS, EventKind, Registry
from shoal_server.squid import LivenessRules, Past, Reach, Verification, squid_id
from tests.fakes import GOOD, NOW, FlakyStore, beat

ID = "192.0.2.1:3128"
RULES = LivenessRules(suspect_after=90, dead_after=180)


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore()


@pytest.fixture
def registry(store: FlakyStore) -> Registry:
    return Registry(store, RULES)


def kinds(store: FlakyStore) -> list[EventKind]:
    """All events, oldest first."""
    return [event.kind for event in reversed(store.events(100))]


# --- identity ---------------------------------------------------------------------------------------


def test_a_public_squid_is_its_public_endpoint() -> None:
    assert squid_id(beat(private_ip="10.0.0.1")) == ID


def test_squids_behind_one_nat_are_told_apart_by_their_inside_addresses() -> None:
    inside = [beat(public_ip=None, external_ip="192.0.2.1", private_ip=f"10.0.0.{n}") for n in (1, 2)]
    assert [squid_id(one) for one in inside] == [f"{ID}/10.0.0.1", f"{ID}/10.0.0.2"]


def test_an_external_address_alone_is_the_endpoint() -> None:
    assert squid_id(beat(public_ip=None, external_ip="192.0.2.1")) == ID


def test_a_squid_without_public_address_is_its_private_endpoint_under_its_name() -> None:
    said = beat(public_ip=None, private_ip="10.0.0.1", hostname="sq1")
    assert squid_id(said) == "10.0.0.1:3128/sq1"


def test_two_sites_may_have_squids_of_the_same_private_address(registry: Registry, store: FlakyStore) -> None:
    for turn in range(3):
        for uuid, name in (("a", "squid.uvic.ca"), ("b", "squid.cern.ch")):
            registry.hear(
                [beat(uuid=uuid, hostname=name, public_ip=None, private_ip="172.17.0.1")], NOW + 30 * turn
            )
    assert sorted(one.beat.hostname for one in store.squids()) == ["squid.cern.ch", "squid.uvic.ca"]
    assert kinds(store) == [EventKind.JOINED, EventKind.JOINED]


def test_a_private_squid_that_is_renamed_under_way_is_the_same_squid(
    registry: Registry, store: FlakyStore
) -> None:
    for name in ("sq1", "sq1.example.org"):
        registry.hear([beat(hostname=name, public_ip=None, private_ip="10.0.0.1")], NOW)
    assert [one.id for one in store.squids()] == ["10.0.0.1:3128/sq1.example.org"]
    assert kinds(store) == [EventKind.JOINED, EventKind.MOVED]


def test_a_squid_with_ipv6_alone_is_its_bracketed_endpoint() -> None:
    assert squid_id(beat(public_ip=None, ipv6="2001:db8::1")) == "[2001:db8::1]:3128"


def test_two_ports_of_one_address_are_two_squids(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat(uuid="a"), beat(uuid="b", port=3129)], NOW)
    assert len(store.squids()) == 2


# --- hearing ----------------------------------------------------------------------------------------


def test_a_stranger_joins_unverified_by_the_clock_of_the_server(
    registry: Registry, store: FlakyStore
) -> None:
    registry.hear([beat(timestamp=1.0)], NOW)
    (found,) = store.squids()
    assert (found.created, found.seen, found.verification) == (NOW, NOW, Verification())
    assert kinds(store) == [EventKind.JOINED]


def test_a_known_squid_keeps_its_history_and_its_verification(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat()], NOW)
    store.put_verification(ID, GOOD, [])
    registry.hear([beat(load=7.0)], NOW + 30)
    (found,) = store.squids()
    assert (found.created, found.seen, found.verification) == (NOW, NOW + 30, GOOD)
    assert found.beat.load == 7.0
    assert kinds(store) == [EventKind.JOINED]


def test_a_restarted_agent_makes_no_twin_and_keeps_the_verification(
    registry: Registry, store: FlakyStore
) -> None:
    registry.hear([beat(uuid="old")], NOW)
    store.put_verification(ID, GOOD, [])
    registry.hear([beat(uuid="new", hostname="renamed.example.org")], NOW + 30)
    (found,) = store.squids()
    assert (found.beat.uuid, found.created, found.verification) == ("new", NOW, GOOD)
    assert kinds(store) == [EventKind.JOINED, EventKind.RESTARTED]


def test_an_agent_at_a_new_address_moves_its_squid_and_is_verified_anew(
    registry: Registry, store: FlakyStore
) -> None:
    registry.hear([beat()], NOW)
    store.put_verification(ID, GOOD, [])
    registry.hear([beat(public_ip="198.51.100.9")], NOW + 30)
    (found,) = store.squids()
    assert found.id == "198.51.100.9:3128"
    assert (found.created, found.verification) == (NOW, Verification())
    assert kinds(store) == [EventKind.JOINED, EventKind.MOVED]


def test_a_squid_may_take_the_endpoint_that_another_left_in_the_same_batch(
    registry: Registry, store: FlakyStore
) -> None:
    registry.hear([beat(uuid="a")], NOW)
    store.put_verification(ID, GOOD, [])
    registry.hear([beat(uuid="a", public_ip="198.51.100.9"), beat(uuid="b")], NOW + 30)
    assert {one.id: one.beat.uuid for one in store.squids()} == {"198.51.100.9:3128": "a", ID: "b"}


def test_a_squid_that_another_server_puts_back_meanwhile_keeps_its_verification(
    registry: Registry, store: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.hear([beat(uuid="a")], NOW)
    registry.store.put_verification(ID, GOOD, [])
    really = store.recall

    def emptied(ids: Iterable[str]) -> Mapping[str, Past]:
        monkeypatch.setattr(store, "recall", really)
        return {}

    monkeypatch.setattr(store, "recall", emptied)
    registry.hear([beat(uuid="a")], NOW + 1)
    assert store.get([ID])[ID].verification == GOOD
    assert EventKind.MOVED not in kinds(store)


def test_of_several_heartbeats_in_a_batch_the_last_counts(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat(load=1.0), beat(load=2.0)], NOW)
    (found,) = store.squids()
    assert found.beat.load == 2.0


def test_a_goodbye_removes_a_squid_at_once(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat()], NOW)
    registry.hear([beat(state=AgentState.LEAVING)], NOW + 5)
    assert store.squids() == []
    assert kinds(store) == [EventKind.JOINED, EventKind.LEFT]


def test_a_squid_that_says_goodbye_without_having_been_heard_leaves_no_trace(
    registry: Registry, store: FlakyStore
) -> None:
    registry.hear([beat(), beat(state=AgentState.LEAVING)], NOW)
    assert store.squids() == []
    assert store.events(10) == []


def test_a_squid_that_left_and_came_back_in_one_batch_stays(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat()], NOW)
    registry.hear([beat(state=AgentState.LEAVING), beat(uuid="new")], NOW + 5)
    assert len(store.squids()) == 1


def test_a_squid_that_left_and_comes_back_is_verified_anew(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat()], NOW)
    store.put_verification(ID, GOOD, [])
    registry.hear([beat(state=AgentState.LEAVING)], NOW + 5)
    registry.hear([beat()], NOW + 9)
    (found,) = store.squids()
    assert (found.created, found.verification) == (NOW + 9, Verification())


def test_while_the_store_is_away_nothing_is_heard(registry: Registry, store: FlakyStore) -> None:
    store.away = True
    with pytest.raises(Unavailable):
        registry.hear([beat()], NOW)
    store.away = False
    assert store.squids() == []


# --- two agents of one squid ------------------------------------------------------------------------


def by_turns(registry: Registry, turns: int) -> float:
    """Two agents announce one squid, each every 30 s; returns when the second one spoke last."""
    for turn in range(turns):
        registry.hear([beat(uuid="one")], NOW + 30 * turn)
        registry.hear([beat(uuid="two")], NOW + 30 * turn + 15)
    return NOW + 30 * turns - 15


def test_two_agents_that_speak_by_turns_do_not_restart_each_other(
    registry: Registry, store: FlakyStore
) -> None:
    by_turns(registry, 10)
    assert kinds(store) == [EventKind.JOINED, EventKind.RESTARTED]


def test_an_agent_that_is_restarted_now_and_then_is_told_each_time(
    registry: Registry, store: FlakyStore
) -> None:
    for restart in range(3):
        for seconds in range(0, 600, 30):
            registry.hear([beat(uuid=f"run {restart}")], NOW + 600 * restart + seconds)
    assert kinds(store) == [EventKind.JOINED, EventKind.RESTARTED, EventKind.RESTARTED]


@pytest.mark.parametrize("leaves", ["one", "two"])
def test_the_goodbye_of_one_of_two_agents_leaves_the_squid_to_the_other(
    registry: Registry, store: FlakyStore, leaves: str
) -> None:
    last = by_turns(registry, 3)
    registry.hear([beat(uuid=leaves, state=AgentState.LEAVING)], last + 5)
    assert len(store.squids()) == 1


def test_in_one_batch_a_goodbye_of_one_agent_does_not_count_against_another(
    registry: Registry, store: FlakyStore
) -> None:
    registry.hear([beat(uuid="one")], NOW)
    registry.hear([beat(uuid="two", load=7.0), beat(uuid="one", state=AgentState.LEAVING)], NOW + 30)
    assert [(one.beat.uuid, one.beat.load) for one in store.squids()] == [("two", 7.0)]


def test_once_the_other_agent_is_long_silent_a_goodbye_counts(registry: Registry, store: FlakyStore) -> None:
    last = by_turns(registry, 3)
    for seconds in range(0, 120, 30):
        registry.hear([beat(uuid="two")], last + seconds)
    registry.hear([beat(uuid="two", state=AgentState.LEAVING)], last + 120)
    assert store.squids() == []


def states(registry: Registry, store: FlakyStore, said: Sequence[tuple[str, AgentState]]) -> list[AgentState]:
    """The squid's state after each heartbeat of these agents, 15 s one after the other."""
    found = []
    for turn, (uuid, state) in enumerate(said):
        registry.hear([beat(uuid=uuid, state=state)], NOW + 15 * turn)
        found.append(store.squids()[0].beat.state)
    return found


def test_a_squid_drains_while_one_of_two_agents_says_so(registry: Registry, store: FlakyStore) -> None:
    up, draining = AgentState.UP, AgentState.DRAINING
    found = states(registry, store, [("one", up), ("two", draining)] * 5 + [("one", up)] * 8)
    assert found == [up] + [draining] * 15 + [up] * 2
    assert kinds(store).count(EventKind.AGENT_DRAINS) == 1
    assert kinds(store).count(EventKind.AGENT_RESUMES) == 1


def test_an_agent_that_is_alone_ends_its_draining_at_once(registry: Registry, store: FlakyStore) -> None:
    up, draining = AgentState.UP, AgentState.DRAINING
    said = [("one", up), ("one", draining), ("one", draining), ("one", up)]
    assert states(registry, store, said) == [state for _, state in said]


def test_of_two_agents_the_smaller_max_load_counts(registry: Registry, store: FlakyStore) -> None:
    found = []
    for turn, (uuid, max_load) in enumerate([("one", 2e5), ("two", 1e5), ("one", 2e5), ("old", None)] * 3):
        registry.hear([beat(uuid=uuid, max_load=max_load)], NOW + 15 * turn)
        found.append(store.squids()[0].max_load)
    assert found == [2e5] + [1e5] * 11
    for seconds in range(0, 150, 30):
        registry.hear([beat(uuid="one", max_load=2e5)], NOW + 180 + seconds)
    assert store.squids()[0].max_load == 2e5


# --- load -------------------------------------------------------------------------------------------


def test_the_load_is_smoothed_by_elapsed_time(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat(load=0.0)], NOW)
    registry.hear([beat(load=1000.0)], NOW + LOAD_SMOOTHING_SECONDS)
    (found,) = store.squids()
    assert found.load == pytest.approx(1000 * (1 - math.exp(-1)))


def test_the_pace_of_heartbeats_does_not_change_the_smoothed_load(
    registry: Registry, store: FlakyStore
) -> None:
    registry.hear([beat(load=0.0)], NOW)
    for second in range(1, 61):
        registry.hear([beat(load=1000.0)], NOW + second)
    (often,) = store.squids()
    assert often.load == pytest.approx(1000 * (1 - math.exp(-60 / LOAD_SMOOTHING_SECONDS)))


def test_a_clock_of_ours_that_steps_back_does_no_harm_to_the_load(
    registry: Registry, store: FlakyStore
) -> None:
    registry.hear([beat(load=100.0)], NOW)
    registry.hear([beat(load=5000.0)], NOW - 3600)
    (found,) = store.squids()
    assert found.load == 100.0


def test_a_wrong_clock_is_reported_as_skew(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat(timestamp=NOW - 3600)], NOW)
    (found,) = store.squids()
    assert found.clock_skew == 3600


# --- verdicts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reach", "kind"),
    [
        (Reach.GLOBAL, EventKind.VERIFIED),
        (Reach.LOCAL, EventKind.LOCAL),
        (Reach.FAILED, EventKind.FAILED),
    ],
)
def test_a_change_of_reach_is_kept_with_an_event(
    registry: Registry, store: FlakyStore, reach: Reach, kind: EventKind
) -> None:
    registry.hear([beat()], NOW)
    (found,) = store.squids()
    registry.record(found, Verification(reach, "why"), NOW + 1)
    assert store.squids()[0].verification.reach is reach
    newest = store.events(1)[0]
    assert (newest.kind, newest.squid_id, newest.detail) == (kind, ID, "why")


def test_an_unchanged_reach_makes_no_event(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat()], NOW)
    store.put_verification(ID, GOOD, [])
    (found,) = store.squids()
    registry.record(found, Verification(Reach.GLOBAL, "again", NOW + 9), NOW + 9)
    assert store.squids()[0].verification.checked == NOW + 9
    assert kinds(store) == [EventKind.JOINED]


def test_a_verdict_on_a_squid_that_is_gone_brings_it_not_back(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat()], NOW)
    (found,) = store.squids()
    registry.hear([beat(state=AgentState.LEAVING)], NOW)
    registry.record(found, GOOD, NOW + 1)
    assert store.squids() == []
    assert kinds(store) == [EventKind.JOINED, EventKind.LEFT]


def test_an_agent_that_moves_within_a_batch_leaves_no_twin(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat(), beat(public_ip="198.51.100.9")], NOW)
    assert [one.id for one in store.squids()] == ["198.51.100.9:3128"]


# --- an agent that drains ---------------------------------------------------------------------------


def test_an_agent_that_begins_to_drain_or_no_longer_does_makes_an_event(
    registry: Registry, store: FlakyStore
) -> None:
    for seconds, state in enumerate((AgentState.UP, AgentState.DRAINING, AgentState.DRAINING, AgentState.UP)):
        registry.hear([beat(state=state)], NOW + seconds)
    assert kinds(store) == [EventKind.JOINED, EventKind.AGENT_DRAINS, EventKind.AGENT_RESUMES]


def test_an_agent_that_joins_draining_makes_both_events(registry: Registry, store: FlakyStore) -> None:
    registry.hear([beat(state=AgentState.DRAINING)], NOW)
    assert kinds(store) == [EventKind.JOINED, EventKind.AGENT_DRAINS]
