"""What is explained is what is told."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_common.heartbeat import Upstream
from shoal_server.lookup import ANY_TYPE, Lookup
from shoal_server.registry import Registry
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules, Owner, Place
from tests.common.properties import PROPERTY
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, FlakyStore, Places, squid

NEARBY = Place(48.2, -122.9, site="nearby")
FARTHER = Place(47.6, -122.3, site="farther")
WORKER = "203.0.113.7"


def lookup_of(places: dict[str, Place], store: FlakyStore) -> tuple[Lookup, SnapshotKeeper]:
    locator = Places({**places, WORKER: VICTORIA})
    keeper = SnapshotKeeper(Registry(store, LivenessRules()), locator)
    return Lookup(keeper, locator, verify=True), keeper


@given(st.lists(st.sampled_from([VICTORIA, NEARBY, FARTHER, GENEVA]), max_size=14), st.integers(1, 8))
@PROPERTY
def test_an_explanation_tells_the_squids_that_a_worker_is_told(sites: list[Place], count: int) -> None:
    store = FlakyStore()
    places = {f"192.0.2.{number}": site for number, site in enumerate(sites, 1)}
    for address in places:
        one = squid(public_ip=address, uuid=address)
        store.put([one], [], [])
        store.put_verification(one.id, GOOD, [])
    lookup, keeper = lookup_of(places, store)
    keeper.refresh(NOW)
    for last in range(1, 6):
        address = f"203.0.113.{last}"
        told = lookup.nearest(address, count=count)
        explained = lookup.explain(address, address, Upstream.BOTH, ANY_TYPE, count=count)
        assert list(explained.told) == list(told)
    told = lookup.nearest(WORKER, count=count)
    assert list(lookup.explain(WORKER, None, Upstream.BOTH, count=count).told) == list(told)


def test_an_explanation_is_of_one_moment() -> None:
    store = FlakyStore()
    keeper = SnapshotKeeper(Registry(store, LivenessRules()), Places(), verify=False)
    for number in range(1, 4):
        store.put([squid(public_ip=f"192.0.2.{number}", uuid=str(number))], [], [])
    keeper.refresh(NOW)

    class Meanwhile(Places):
        """While it looks, a squid goes."""

        def find(self, address: str, host: str | None = None) -> tuple[Place | None, Owner]:
            store.put([], [next(one.id for one in store.squids())], [])
            keeper.refresh(NOW + 10)
            return super().find(address, host)

    explained = Lookup(keeper, Meanwhile(), verify=False).explain(WORKER, WORKER, Upstream.BOTH, count=2)
    assert len(explained.told) == 2
    assert explained.allowed == 3
