"""The picture of the squids that lookups read: fresh, and kept while the store is away."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState
from shoal_server.absent import RETURN_SECONDS
from shoal_server.packed import Kept
from shoal_server.registry import Changes, Mark, Registry
from shoal_server.snapshot import NAME_SECONDS, SnapshotKeeper
from shoal_server.squid import LivenessRules, Owner, Place, squid_id
from shoal_server.stores.memory import MemoryStore
from testbed.process import wait_until
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, FlakyStore, Places, beat, squid

ID = "192.0.2.1:3128"


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore()


@pytest.fixture
def registry(store: FlakyStore) -> Registry:
    return Registry(store, LivenessRules())


def keeper_of(registry: Registry, places: Places | None = None) -> SnapshotKeeper:
    return SnapshotKeeper(registry, places or Places())


def ids(keeper: SnapshotKeeper) -> set[str]:
    return {one.squid.id for one in keeper.current.listed}


def test_before_the_first_look_nothing_is_listed(registry: Registry) -> None:
    assert len(keeper_of(registry).current.listed) == 0


def test_a_change_of_the_store_is_seen_at_the_next_look(registry: Registry) -> None:
    keeper = keeper_of(registry)
    keeper.refresh(NOW)
    registry.hear([beat()], NOW)
    keeper.refresh(NOW + 1)
    assert (ids(keeper), keeper.current.made) == ({ID}, NOW + 1)


def test_a_list_that_has_just_begun_fills(registry: Registry) -> None:
    keeper = keeper_of(registry)
    fills = []
    for second, hears in ((0, False), (1, True), (60, True), (89, False), (91, False)):
        if hears:
            registry.hear([beat(uuid=f"{second}", public_ip=f"192.0.2.{second}")], NOW + second)
        keeper.refresh(NOW + second)
        fills.append(keeper.fills)
    assert fills == [False, True, True, True, True]
    keeper.refresh(NOW + 92)
    assert not keeper.fills


def test_a_list_that_was_kept_is_whole_at_once(registry: Registry) -> None:
    registry.hear([beat()], NOW - 3600)
    registry.hear([beat(uuid="b", public_ip="192.0.2.2")], NOW)
    keeper = keeper_of(registry)
    keeper.refresh(NOW)
    assert not keeper.fills


def test_a_list_that_was_whole_stays_so_when_its_old_squids_leave(registry: Registry) -> None:
    registry.hear([beat()], NOW - 3600)
    keeper = keeper_of(registry)
    keeper.refresh(NOW)
    registry.hear([beat(uuid="b", public_ip="192.0.2.2")], NOW)
    registry.expire([ID], NOW)
    keeper.refresh(NOW + 1)
    assert ids(keeper) == {"192.0.2.2:3128"}
    assert not keeper.fills


def test_squids_heard_by_a_clock_that_went_wrong_do_not_let_a_list_fill_for_ever(registry: Registry) -> None:
    steady = [0.0]
    keeper = SnapshotKeeper(registry, Places(), steady=lambda: steady[0])
    registry.hear([beat()], NOW + 9000)
    fills = []
    for second in (0.0, 90.0, 91.0):
        steady[0] = second
        keeper.refresh(NOW + second)
        fills.append(keeper.fills)
    assert fills == [True, True, False]


def test_while_nothing_changes_the_picture_is_the_same_object(registry: Registry) -> None:
    keeper = keeper_of(registry)
    registry.hear([beat()], NOW)
    keeper.refresh(NOW)
    before = keeper.current
    keeper.refresh(NOW + 1)
    assert keeper.current is before


def test_a_picture_in_hand_does_not_change(registry: Registry) -> None:
    keeper = keeper_of(registry)
    registry.hear([beat()], NOW)
    keeper.refresh(NOW)
    in_hand = keeper.current
    registry.hear([beat(uuid="b", public_ip="192.0.2.2")], NOW)
    keeper.refresh(NOW + 1)
    assert (len(in_hand.listed), len(keeper.current.listed)) == (1, 2)


def test_while_the_store_is_away_the_last_picture_stays_and_its_age_is_told(
    registry: Registry, store: FlakyStore
) -> None:
    keeper = keeper_of(registry)
    registry.hear([beat()], NOW)
    keeper.refresh(NOW)
    store.away = True
    keeper.refresh(NOW + 5)
    keeper.refresh(NOW + 9)
    assert (ids(keeper), keeper.stale_since) == ({ID}, NOW + 5)


def test_it_catches_up_when_the_store_is_back(registry: Registry, store: FlakyStore) -> None:
    keeper = keeper_of(registry)
    store.away = True
    keeper.refresh(NOW)
    store.away = False
    registry.hear([beat()], NOW)
    keeper.refresh(NOW + 1)
    assert (ids(keeper), keeper.stale_since) == ({ID}, None)


def test_a_store_that_lost_its_contents_is_given_them_back(registry: Registry, store: FlakyStore) -> None:
    keeper = keeper_of(registry)
    registry.hear([beat(), beat(uuid="b", public_ip="192.0.2.2")], NOW)
    store.put_verification(ID, GOOD, [])
    keeper.refresh(NOW)
    MemoryStore.__init__(store)
    keeper.refresh(NOW + 1)
    assert ids(keeper) == {ID, "192.0.2.2:3128"}
    assert store.get([ID])[ID].verification == GOOD


def test_a_store_that_went_back_to_an_earlier_state_brings_nobody_back(
    registry: Registry, store: FlakyStore
) -> None:
    keeper = keeper_of(registry)
    gone, new = beat(uuid="b", public_ip="192.0.2.2"), beat(uuid="c", public_ip="192.0.2.3")
    registry.hear([beat(), gone], NOW)
    registry.hear([beat()], NOW + 30)
    registry.hear([replace(gone, state=AgentState.LEAVING)], NOW + 60)
    keeper.refresh(NOW + 60)
    MemoryStore.__init__(store)
    registry.hear([beat(), gone], NOW)
    registry.hear([new], NOW + 62)
    keeper.refresh(NOW + 63)
    assert ids(keeper) == {ID, squid_id(new)}
    assert {one.id for one in store.squids()} == {ID, squid_id(new)}


def test_what_a_store_has_heard_since_it_lost_its_contents_counts(
    registry: Registry, store: FlakyStore
) -> None:
    keeper = keeper_of(registry)
    for number in range(5):
        registry.hear([beat(load=float(number))], NOW + number)
    store.put_verification(ID, GOOD, [])
    keeper.refresh(NOW + 5)
    MemoryStore.__init__(store)
    registry.hear([beat(load=77.0)], NOW + 6)
    keeper.refresh(NOW + 7)
    (found,) = store.squids()
    assert (found.beat.load, found.seen, found.created, found.verification) == (77.0, NOW + 6, NOW, GOOD)


def test_an_emptied_store_is_given_back_what_a_squid_was_besides_its_heartbeats(
    registry: Registry, store: FlakyStore
) -> None:
    """Also what was heard between the loss and the restoration, and looks like a newcomer to the store."""
    keeper = keeper_of(registry)
    registry.hear([beat(load=10_000.0)], NOW)
    (known,) = store.squids()
    store.put([replace(known, takes=0.25, used=0.75, share=0.5, trend=-0.25, pressure=0.5)], [], [])
    store.put_drained(ID, True, [])
    keeper.refresh(NOW)
    before = store.get([ID])[ID]
    MemoryStore.__init__(store)
    registry.hear([heard := beat(load=90_000.0)], NOW + 30)
    keeper.refresh(NOW + 31)
    assert store.get([ID])[ID] == replace(before, beat=heard, seen=NOW + 30)


@pytest.mark.parametrize(
    ("addresses", "site"),
    [
        ({"public_ip": "192.0.2.1", "private_ip": "10.0.0.1"}, "cern"),
        ({"public_ip": None, "external_ip": "192.0.2.1", "private_ip": "10.0.0.1"}, "cern"),
        ({"public_ip": "192.0.2.9", "private_ip": "10.0.0.1"}, "uvic"),
        ({"public_ip": None, "private_ip": "10.0.0.1"}, "uvic"),
        ({"public_ip": None, "ipv6": "2001:db8::1"}, "uvic"),
        ({"public_ip": "192.0.2.9"}, None),
    ],
)
def test_a_squid_is_placed_by_the_first_of_its_addresses_that_is_known(
    registry: Registry, addresses: dict[str, str | None], site: str | None
) -> None:
    places = Places({"192.0.2.1": GENEVA, "10.0.0.1": VICTORIA, "2001:db8::1": VICTORIA})
    keeper = keeper_of(registry, places)
    registry.hear([beat(**addresses)], NOW)
    keeper.refresh(NOW)
    place = keeper.current.listed[0].place
    assert (place.site if place else None) == site


SEATTLE = Place(47.6, -122.3, city="Seattle")


def test_what_the_operator_says_of_an_inside_address_counts_more_than_what_a_database_does_of_the_outer(
    registry: Registry,
) -> None:
    places = Places({"192.0.2.1": SEATTLE, "10.0.0.1": VICTORIA})
    places.owners = {
        "192.0.2.1": Owner(16, "BCnet", region="aws us-west-2"),
        "10.0.0.1": Owner(region="campus", networks=frozenset({"CANARIE"})),
    }
    keeper = keeper_of(registry, places)
    registry.hear([beat(public_ip="192.0.2.1", private_ip="10.0.0.1")], NOW)
    keeper.refresh(NOW)
    found = keeper.current.listed[0]
    assert found.place == VICTORIA
    assert found.owner == Owner(16, "BCnet", region="campus", networks=frozenset({"CANARIE"}))


@pytest.mark.parametrize("outer", ["192.0.2.1", "2001:db8::1"])
def test_a_private_address_of_the_table_places_no_squid_whose_outer_one_is_in_another_part_of_the_world(
    registry: Registry, outer: str
) -> None:
    """Every cloud has a 10.0.0.1: who is in Frankfurt by the database is not in the operator's cellar."""
    frankfurt = Place(50.1, 8.7, city="Frankfurt")
    keeper = keeper_of(registry, Places({outer: frankfurt, "10.0.0.1": VICTORIA}))
    addresses = {"public_ip": None, "ipv6": outer} if ":" in outer else {"public_ip": outer}
    registry.hear([beat(private_ip="10.0.0.1", **addresses)], NOW)
    keeper.refresh(NOW)
    assert keeper.current.listed[0].place == frankfurt


def test_the_place_of_a_good_squid_that_went_is_kept_for_a_quarter_of_an_hour(registry: Registry) -> None:
    clock = [0.0]
    keeper = SnapshotKeeper(registry, Places(), steady=lambda: clock[0])
    good, invented, back = (beat(uuid=f"u{n}", public_ip=f"192.0.2.{n}") for n in (1, 2, 3))
    registry.hear([good, invented, back], NOW)
    for one in (good, back):
        registry.store.put_verification(squid_id(one), GOOD, [])
    keeper.refresh(NOW)
    registry.hear([replace(one, state=AgentState.LEAVING) for one in (good, invented, back)], NOW)
    keeper.refresh(NOW)
    registry.hear([replace(back, uuid="again")], NOW + 1)
    keeper.refresh(NOW + 1)
    assert (len(keeper.absent), squid_id(good) in keeper.absent) == (1, True)
    clock[0] = RETURN_SECONDS
    registry.hear([replace(back, uuid="again")], NOW + 31)
    keeper.refresh(NOW + 31)
    assert len(keeper.absent) == 0


class Counting(Places):
    """Counts how often it was asked."""

    asked = 0

    def find(self, address: str, host: str | None = None) -> tuple[Place | None, Owner]:
        self.asked += 1
        return super().find(address, host)


def test_a_squid_is_not_located_again_while_it_says_the_same_of_itself(registry: Registry) -> None:
    places = Counting({"192.0.2.1": GENEVA})
    keeper = keeper_of(registry, places)
    for number in range(3):
        registry.hear([beat(load=float(number))], NOW + number)
        keeper.refresh(NOW + number)
    assert (places.asked, keeper.current.listed[0].squid.beat.load) == (1, 2.0)


def test_a_squid_that_moves_inside_is_located_anew(registry: Registry) -> None:
    places = Counting({"10.0.0.1": GENEVA, "10.0.0.2": VICTORIA})
    keeper = keeper_of(registry, places)
    for number in (1, 2):
        registry.hear([beat(private_ip=f"10.0.0.{number}")], NOW + number)
        keeper.refresh(NOW + number)
    assert keeper.current.listed[0].place == VICTORIA


def test_a_name_that_is_found_out_later_shows_within_a_minute_of_heartbeats(registry: Registry) -> None:
    places = Places()
    keeper = keeper_of(registry, places)
    registry.hear([beat()], NOW)
    keeper.refresh(NOW)
    places.owners["192.0.2.1"] = Owner(domain="example.org")
    registry.hear([beat()], NOW + NAME_SECONDS)
    keeper.refresh(NOW + NAME_SECONDS)
    assert keeper.current.listed[0].owner.domain == "example.org"


def test_new_databases_locate_all_anew(registry: Registry) -> None:
    places = Places({"192.0.2.1": GENEVA})
    keeper = keeper_of(registry, places)
    registry.hear([beat()], NOW)
    keeper.refresh(NOW)
    places.places, places.generation = {"192.0.2.1": VICTORIA}, 1
    keeper.refresh(NOW + 1)
    assert keeper.current.listed[0].place == VICTORIA


def test_the_rows_of_the_picture_are_those_of_its_board(registry: Registry) -> None:
    keeper = keeper_of(registry)
    for number in range(1, 5):
        registry.hear([beat(uuid=str(number), public_ip=f"192.0.2.{number}")], NOW + number)
        keeper.refresh(NOW + number)
    registry.forget("192.0.2.2:3128", reason="", now=NOW)
    registry.hear([beat(uuid="1", load=9.0)], NOW + 8)
    keeper.refresh(NOW + 8)
    rows, board = keeper.current.listed, keeper.current.board.listed
    assert [one.squid.id for one in rows] == [one.squid.id for one in board]
    assert len(rows) == 3


class BreaksOff(FlakyStore):
    """A store that goes away in the middle of telling everything."""

    def changes(self, since: Mark | None) -> Changes:
        told = super().changes(None)
        return Changes(told.mark, self._some(told.squids) if self.breaks else told.squids, whole=True)

    breaks = False

    def _some(self, squids: Iterable[Kept]) -> Iterator[Kept]:
        yield from list(squids)[:1]
        raise Unavailable("the store is away")


def test_of_a_store_that_goes_away_in_the_middle_nothing_is_taken() -> None:
    store = BreaksOff()
    registry = Registry(store, LivenessRules())
    keeper = keeper_of(registry)
    registry.hear([beat(), beat(uuid="b", public_ip="192.0.2.2")], NOW)
    keeper.refresh(NOW)
    store.breaks = True
    keeper.refresh(NOW + 1)
    assert (len(keeper.current.listed), keeper.stale_since) == (2, NOW + 1)


def test_the_keeper_looks_again_and_again_until_it_is_told_to_stop(registry: Registry) -> None:
    keeper, stop = keeper_of(registry), threading.Event()
    thread = threading.Thread(target=keeper.run, args=[stop])
    thread.start()
    try:
        registry.store.put([squid()], [], [])
        wait_until(lambda: len(keeper.current.listed) == 1, 5.0, "the squid is in the picture")
    finally:
        stop.set()
        thread.join(5.0)
    assert not thread.is_alive()
