"""The picture of the squids that lookups read: fresh, and kept while the store is away."""

import threading

import pytest

from shoal_server.registry import Registry
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules
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
    assert keeper_of(registry).current.listed == ()


def test_a_change_of_the_store_is_seen_at_the_next_look(registry: Registry) -> None:
    keeper = keeper_of(registry)
    keeper.refresh(NOW)
    registry.hear([beat()], NOW)
    keeper.refresh(NOW + 1)
    assert (ids(keeper), keeper.current.made) == ({ID}, NOW + 1)


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
