"""Workers that boot together fill no squid before their load shows."""

import random
from collections.abc import Mapping

import numpy as np
import pytest

from shoal_server.ledger import Ledger
from shoal_server.lookup import Lookup
from shoal_server.registry import Registry
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules
from shoal_server.surge import BOOT_SECONDS, FEW, GOAL, LEARNING_SECONDS, TIMES, Surge
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, FlakyStore, Places, squid

HOME, AWAY = 11, 22
DOMAINS = {1: HOME, 2: AWAY}
KNOWN = 1000
CAPACITY = np.array([0.0, 1000.0, 1000.0])
"""kB/s, by number of the domain."""
LOAD = np.array([0.0, 200.0, 0.0])
START = 2 * LEARNING_SECONDS
EACH = TIMES * 200.0 / KNOWN


def surge(known: int = KNOWN, began: float = 0.0) -> Surge:
    """One that knows so many workers, all of them at home."""
    made = Surge(began)
    for number in range(known):
        made.note(f"192.0.2.{number}", HOME, HOME, began + 60.0)
    parts(made, began + 100.0)
    parts(made, START)
    return made


def parts(made: Surge, now: float) -> Mapping[int, float]:
    return made.parts(DOMAINS, LOAD, CAPACITY, now)


def come(made: Surge, count: int, told: int = HOME, now: float = START, first: int = 0) -> None:
    for number in range(first, first + count):
        made.note(f"2001:{number:x}::1", HOME, told, now)


def test_who_has_asked_before_is_no_newcomer() -> None:
    made = surge()
    for number in range(KNOWN):
        made.note(f"192.0.2.{number}", HOME, HOME, START)
    assert parts(made, START + 5) == {}


@pytest.mark.parametrize("block", ["2001:db8:0:1", "2001:db8:1", "2001:db8"])
def test_somebody_with_a_block_of_ipv6_addresses_closes_no_door(block: str) -> None:
    """A stranger's /64 has more addresses than there are workers; he may own a /48 or a /32 as well."""
    made, chance, groups = surge(), random.Random(1), 8 - len(block.split(":"))
    for _ in range(5000):
        rest = ":".join(f"{chance.getrandbits(16):x}" for _ in range(groups))
        made.note(f"{block}:{rest}", HOME, HOME, START)
    assert parts(made, START + 5) == {}


def test_a_block_that_sent_its_most_newcomers_may_send_as_many_when_these_have_booted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shoal_server.surge.MOST_OF_BLOCK", {64: 3000.0})
    made = surge()
    for moment in (START, START + 10 * BOOT_SECONDS):
        assert parts(made, moment) == {}
        for number in range(3000):
            made.note(f"2001:db8::{round(moment):x}:{number:x}", HOME, HOME, moment)
        assert parts(made, moment + 5)[1] < 1


def test_newcomers_that_there_is_room_for_turn_nobody_away() -> None:
    made = surge()
    come(made, round(0.3 * GOAL * 1000 / EACH))
    assert parts(made, START + 5) == {}


def test_as_many_more_are_taken_as_there_is_room_for() -> None:
    made = surge()
    room = GOAL * 1000 - 200.0
    come(made, round(0.75 * room / EACH))
    assert parts(made, START + 5) == {1: pytest.approx(0.25 / 0.75, rel=0.15)}


def test_where_newcomers_will_ask_for_all_that_there_is_no_more_are_taken() -> None:
    made = surge()
    come(made, round(1.2 * (GOAL * 1000 - 200.0) / EACH))
    assert parts(made, START + 5) == {1: 0.0}


def test_those_who_were_told_of_another_place_fill_that_one() -> None:
    made = surge()
    come(made, round(1.2 * GOAL * 1000 / EACH), told=AWAY)
    found = parts(made, START + 5)
    assert found[2] == 0.0
    assert 0 < found[1] <= 1 - 200 / 1000


def test_when_no_more_come_a_place_takes_the_part_of_all_that_it_has_room_for() -> None:
    made = surge()
    newcomers = round(2.0 * GOAL * 1000 / EACH)
    come(made, newcomers)
    parts(made, START + 5)
    demand = 200.0 + newcomers * EACH
    assert parts(made, START + 10) == {1: pytest.approx(GOAL * 1000 / demand, rel=0.1)}


def test_a_surge_passes() -> None:
    made = surge()
    come(made, round(2.0 * GOAL * 1000 / EACH))
    parts(made, START + 5)
    assert parts(made, START + 4 * BOOT_SECONDS) == {}


def test_a_few_newcomers_are_no_surge() -> None:
    made = surge(known=1)  # each of them would count for three times all the load there is
    come(made, round(FEW) - 2)
    assert parts(made, START + 5) == {}


def test_who_has_just_started_knows_nobody_and_takes_nobody_for_a_surge() -> None:
    made = Surge(0.0)
    come(made, 5000, now=60.0)
    assert parts(made, 65.0) == {}


def test_without_load_nobody_is_turned_away() -> None:
    made = surge()
    come(made, 5000)
    assert made.parts(DOMAINS, 0 * LOAD, CAPACITY, START + 5)[1] == 0.0  # by what they asked for before
    idle = Surge(0.0)
    idle.parts(DOMAINS, 0 * LOAD, CAPACITY, START)
    come(idle, 5000)
    assert idle.parts(DOMAINS, 0 * LOAD, CAPACITY, START + 5) == {}


def test_who_has_not_asked_for_hours_is_new_again() -> None:
    made = surge()
    later = START + 8 * 3600.0
    parts(made, later)
    for number in range(KNOWN):
        made.note(f"192.0.2.{number}", HOME, HOME, later)
    assert 1 in parts(made, later + 5)


def test_lookups_are_counted_and_the_next_board_reckons_with_them() -> None:
    clock = [0.0]
    store = FlakyStore()
    places = Places({"192.0.2.1": VICTORIA, "192.0.2.2": GENEVA})
    workers = [f"198.51.{number // 250}.{number % 250}" for number in range(3000)]
    places.places.update(dict.fromkeys(workers, VICTORIA))
    keeper = SnapshotKeeper(Registry(store, LivenessRules()), places, steady=lambda: clock[0])
    for number in (1, 2):
        one = squid(public_ip=f"192.0.2.{number}", uuid=str(number), load=10_000.0)
        store.put([one], [], [])
        store.put_verification(one.id, GOOD, [])
    keeper.refresh(NOW)
    lookup = Lookup(keeper, places, verify=True)
    for worker in workers[:500]:
        lookup.nearest(worker)
    clock[0] = START
    store.put([squid(public_ip="192.0.2.1", uuid="1", load=10_000.0)], [], [])
    keeper.refresh(NOW + 6)
    assert {lookup.nearest(worker)[0].squid.public_address for worker in workers[500:]} == {"192.0.2.1"}
    store.put([squid(public_ip="192.0.2.1", uuid="1", load=10_000.0)], [], [])
    keeper.refresh(NOW + 12)
    assert {lookup.nearest(worker)[0].squid.public_address for worker in workers[500:]} == {"192.0.2.2"}


def test_an_unused_ledger_has_no_surge() -> None:
    assert len(Ledger(verify=True).board(Surge(0.0), START).listed) == 0
