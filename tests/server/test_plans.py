"""A plan is worked out by bunches of squids that are alike, and outlasts the board that it was made on."""

import tracemalloc
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from shoal_server import bunches, plans
from shoal_server.board import Board
from shoal_server.bunches import ALIKE, Bunches
from shoal_server.classic import RankBy
from shoal_server.columns import COLUMNS, ROW, Codes
from shoal_server.crowding import Door
from shoal_server.ledger import Ledger
from shoal_server.plan import Part, Plan
from shoal_server.seat import Seat, Wanted
from shoal_server.squid import Listed, Place
from shoal_server.surge import Surge
from tests.fakes import GENEVA, NOW, VICTORIA, listed

NEAR_VICTORIA = Place(48.2, -122.9, site="nearby")
PARIS = Place(48.86, 2.35, site="paris")


def squid(
    number: int,
    place: Place,
    age: float = 86_400.0,
    takes: float = 1.0,
    load: float = 0.0,
    share: float = 1.0,
) -> Listed:
    one = listed(place, public_ip=f"192.0.2.{number}", load=load)
    return replace(one, squid=replace(one.squid, created=NOW - age, takes=takes, share=share))


class Booting(Surge):
    """Says what part of those who come some domains have room for."""

    room: Mapping[int, float] = {}

    def parts(self, *_: object) -> Mapping[int, float]:
        return self.room


def ledger_of(*squids: Listed) -> Ledger:
    ledger = Ledger(verify=True)
    for one in squids:
        ledger.put(one)
    return ledger


def four_places() -> Ledger:
    """A squid at each; GENEVA's is number 2."""
    places = VICTORIA, NEAR_VICTORIA, GENEVA, PARIS
    return ledger_of(*(squid(number, place) for number, place in enumerate(places)))


def plan(board: Board, place: Place, count: int = 1) -> Plan:
    return board.plan(Seat(place), Wanted(), count)


# --- bunches --------------------------------------------------------------------------------------------


def columns(alike: int, rows: int = 30) -> dict[str, np.ndarray]:
    """Columns of random rows, of so many different kinds, that differ in the rest."""
    chance = np.random.default_rng(alike)
    drawn = {name: chance.integers(0, 2, rows).astype(ROW[name]) for name in COLUMNS}
    kind = chance.integers(0, alike, rows)
    return drawn | {name: drawn[name][kind] for name in ALIKE}


@pytest.mark.parametrize("alike", [1, 5, 1000])
@pytest.mark.parametrize("mixed", [True, False])
def test_rows_of_one_bunch_are_equal_in_all_that_terms_depend_on(
    alike: int, mixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not mixed:
        monkeypatch.setattr(bunches, "_ODD", np.uint64(0))  # as if all rows got the same number
    everybody = columns(min(alike, 30))
    found = Bunches.of(everybody, Codes(), RankBy.DISTANCE)
    members = [found.rows(np.array([number])) for number in range(len(found.sizes))]
    assert sorted(row for rows in members for row in rows.tolist()) == list(range(30))
    for name in ALIKE:
        for rows, value in zip(members, found.terms.columns[name], strict=True):
            assert (everybody[name][rows] == value).all()


def test_squids_that_differ_in_address_and_load_alone_are_one_bunch() -> None:
    board = ledger_of(*(squid(n, VICTORIA, load=100.0 * n) for n in range(1, 9)), squid(9, GENEVA)).board()
    assert sorted(board.plans.bunches.sizes.tolist()) == [1, 8]


def test_the_rows_of_several_bunches_are_told_in_ascending_order() -> None:
    board = ledger_of(*(squid(n, (VICTORIA, NEAR_VICTORIA)[n % 2]) for n in range(1, 9))).board()
    assert list(plan(board, PARIS, 5).rows) == list(range(8))


# --- plans that outlast a board -------------------------------------------------------------------------


def test_a_plan_holds_while_loads_and_times_alone_change() -> None:
    ledger = ledger_of(squid(1, VICTORIA), squid(2, GENEVA))
    before = plan(ledger.board(), VICTORIA)
    ledger.put(squid(1, VICTORIA, load=50_000.0))
    assert plan(ledger.board(), VICTORIA) is before


def test_plans_are_forgotten_before_they_take_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    board = ledger_of(*(squid(number, VICTORIA) for number in range(100))).board()
    first, second = plan(board, VICTORIA, 1), plan(board, VICTORIA, 2)
    assert second.size < first.size, "which has their part counted"
    monkeypatch.setattr(plans, "MOST_BYTES", 2 * plans.KEY_BYTES + first.size + second.size)
    seen = [len(board.plans.made) for count in range(2, 7) if plan(board, VICTORIA, count)]
    assert seen[:2] == [2, 1]
    assert max(seen) < 5


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize(("rows", "domains"), [(1, 1), (10, 10), (100, 1), (600, 30), (600, 600)])
def test_what_a_plan_takes_is_known(rows: int, domains: int, crowded: bool) -> None:
    numbers = np.arange(rows)
    seeds = np.random.default_rng(1).integers(1 << 33, 1 << 63, rows, np.uint64)
    columns = {"domain": numbers % domains + 1000, "weight": np.ones(rows), "share": np.ones(rows)}
    columns |= {"seed": seeds}
    doors = {1000 + number: Door.of(number + (1 << 33), 0.4) for number in range(domains)} if crowded else {}
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        made = [Plan([Part(numbers, columns)], None, doors) for _ in range(20)]
        taken = (tracemalloc.get_traced_memory()[0] - before) / len(made)
    finally:
        tracemalloc.stop()
    assert 0.5 < taken / made[0].size < 1.2


def test_a_plan_is_made_anew_when_a_squid_comes() -> None:
    ledger = ledger_of(squid(1, VICTORIA), squid(2, GENEVA))
    before = plan(ledger.board(), VICTORIA)
    ledger.put(squid(3, VICTORIA))
    assert len(plan(ledger.board(), VICTORIA).rows) == len(before.rows) + 1


def test_a_plan_is_made_anew_when_a_squid_leaves() -> None:
    ledger = ledger_of(squid(1, VICTORIA), squid(2, GENEVA))
    plan(ledger.board(), VICTORIA)
    ledger.remove(squid(1, VICTORIA).squid.id)
    assert list(plan(ledger.board(), VICTORIA).rows) == [0]


@pytest.mark.parametrize("changed", [{"age": 30.0}, {"share": 0.5}])
def test_plans_that_tell_a_squid_of_another_weight_or_share_are_made_anew_and_no_others(
    changed: dict[str, float],
) -> None:
    ledger = four_places()
    board = ledger.board()
    here, there = plan(board, VICTORIA), plan(board, GENEVA)
    ledger.put(squid(2, GENEVA, **changed))
    board = ledger.board()
    assert plan(board, VICTORIA) is here
    assert not plan(board, GENEVA).alike(there)


def test_plans_that_tell_a_crowded_place_are_made_anew_and_no_others() -> None:
    ledger = four_places()
    board = ledger.board()
    here, there = plan(board, VICTORIA), plan(board, GENEVA)
    ledger.put(squid(2, GENEVA, takes=0.5))
    board = ledger.board()
    assert plan(board, VICTORIA) is here
    assert plan(board, GENEVA).doors != there.doors


def test_plans_that_tell_a_place_where_many_boot_are_made_anew_and_no_others() -> None:
    ledger, surge = four_places(), Booting(0.0)
    board = ledger.board(surge)
    here, (crowded, *_) = plan(board, VICTORIA), plan(board, GENEVA).domains
    for part in (0.5, 0.3):
        surge.room = {crowded: part}
        board = ledger.board(surge)
        assert plan(board, VICTORIA) is here
        assert plan(board, GENEVA).doors[crowded].part == part


def test_all_plans_are_made_anew_when_a_place_is_no_longer_crowded() -> None:
    ledger = ledger_of(squid(1, VICTORIA), squid(2, GENEVA, takes=0.5), squid(3, Place(-37.8, 145.0)))
    assert plan(ledger.board(), VICTORIA).rows[1] == 2
    ledger.put(squid(2, GENEVA))
    assert plan(ledger.board(), VICTORIA).rows[1] == 1


def test_by_the_classic_policy_a_load_changes_plans() -> None:
    ledger = Ledger(verify=True, rank_by=RankBy.CLASSIC)
    ledger.put(squid(1, VICTORIA))
    ledger.put(squid(2, VICTORIA))
    first = plan(ledger.board(), VICTORIA).rows[0]
    ledger.put(squid(1 + first, VICTORIA, load=50_000.0))
    assert plan(ledger.board(), VICTORIA).rows[0] == 1 - first
