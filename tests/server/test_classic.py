"""The classic formula as a second policy: what it says, on the board and in the terms that are shown."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.heartbeat import AgentState
from shoal_server.board import Board
from shoal_server.classic import FULL_KM, RankBy, ranked
from shoal_server.ledger import Ledger
from shoal_server.lookup import Lookup, seat
from shoal_server.ranking import EARTH_RADIUS_KM, Policy, Requester, exclusion, great_circle_km
from shoal_server.registry import Registry, put_whole
from shoal_server.rendezvous import spot
from shoal_server.seat import Wanted
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import DEFAULT_MAX_LOAD, Listed, LivenessRules, Owner, Place, Reach, Verification
from shoal_server.stores.memory import MemoryStore
from tests.common.properties import PROPERTY
from tests.fakes import GENEVA, NOW, VICTORIA, Places, board_of, listed
from tests.server.test_board import requesters, squids, unique

VISITOR = Requester("203.0.113.50", VICTORIA)
MELBOURNE = Place(-37.8, 144.96, site="unimelb")


def by(number: int, place: Place | None = VICTORIA, **more: Any) -> Listed:
    return listed(place, public_ip=f"192.0.2.{number}", **more)


def classic_board(found: Sequence[Listed], *, verify: bool = True) -> Board:
    return board_of(found, verify=verify, rank_by=RankBy.CLASSIC)


def told(requester: Requester, board: Board, count: int = 100) -> list[Listed]:
    also = board.draining(requester.uses, requester.service)
    plan = board.plan(seat(requester, board), Wanted(requester.service), count, also)
    return [board.listed[plan.rows[place]] for place in plan.told(spot(requester.address), count)]


def order(requester: Requester, *found: Listed) -> list[str]:
    return [one.squid.address.rpartition(".")[2] for one in told(requester, classic_board(found))]


def cost(requester: Requester, one: Listed) -> float:
    """The formula as it was written, for places that are known."""
    assert requester.place
    assert one.place
    distance = great_circle_km(requester.place, one.place)
    return 0.5 * distance / (math.pi * EARTH_RADIUS_KM) + 0.5 * one.squid.load / one.squid.max_load


# --- the formula ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [VICTORIA, GENEVA, MELBOURNE])
@pytest.mark.parametrize("load", [0.0, 20_000.0, 100_000.0, 300_000.0])
def test_the_effective_distance_is_the_cost_in_kilometres(place: Place, load: float) -> None:
    one = by(1, place, load=load)
    terms = ranked(VISITOR, one, verify=True)
    assert terms.effective_km == pytest.approx(cost(VISITOR, one) * math.pi * EARTH_RADIUS_KM / 0.5)


def test_the_terms_add_up() -> None:
    terms = ranked(VISITOR, by(1, GENEVA, load=50_000.0), verify=True)
    assert terms.distance_km == great_circle_km(VICTORIA, GENEVA)
    assert (terms.network_km, terms.load_km) == (0.0, FULL_KM / 2)
    assert terms.effective_km == terms.distance_km + terms.load_km


def test_a_squid_in_full_use_is_as_far_as_the_other_end_of_the_world() -> None:
    assert great_circle_km(Place(0, 0), Place(0, 180)) == pytest.approx(FULL_KM)


def test_a_squid_that_does_not_say_its_capacity_has_the_one_of_the_old_servers() -> None:
    terms = ranked(VISITOR, by(1, load=61_000.0, max_load=None), verify=True)
    assert DEFAULT_MAX_LOAD == 122_000.0
    assert terms.load_km == pytest.approx(FULL_KM / 2)


# --- the order --------------------------------------------------------------------------------------


def test_an_idle_squid_far_away_comes_before_a_busy_one_nearby() -> None:
    assert order(VISITOR, by(1, load=90_000.0), by(2, GENEVA, load=0.0)) == ["2", "1"]


def test_of_squids_at_one_place_the_less_loaded_comes_first_for_everybody() -> None:
    found = [by(1, load=500.0), by(2, load=400.0), by(3, load=600.0)]
    workers = [Requester(f"198.51.100.{number}", VICTORIA) for number in range(1, 100)]
    assert {tuple(order(worker, *found)) for worker in workers} == {("2", "1", "3")}


def test_squids_of_one_cost_come_in_one_order_whatever_row_they_have() -> None:
    found = [by(number) for number in range(1, 9)]
    assert order(VISITOR, *found) == order(VISITOR, *reversed(found))


def test_no_place_is_crowded() -> None:
    full = replace(by(1), squid=replace(by(1).squid, takes=0.05, created=NOW - 86_400))
    board = classic_board([full, by(2, GENEVA)])
    workers = [Requester(f"198.51.100.{number}", VICTORIA) for number in range(1, 100)]
    assert {told(worker, board)[0].squid.id for worker in workers} == {full.squid.id}


def test_each_squid_is_a_group_of_its_own() -> None:
    board = classic_board([by(number) for number in range(1, 6)])
    assert board.plan(seat(VISITOR, board), Wanted(), 5).numbers.tolist() == [0, 1, 2, 3, 4]


def test_an_answer_spans_two_failure_domains() -> None:
    home = [by(number, load=0.0) for number in range(1, 6)]
    far = by(9, MELBOURNE, load=90_000.0)
    assert [one.squid.id for one in told(VISITOR, classic_board([*home, far]), count=3)][-1] == far.squid.id


def test_a_squid_that_could_not_be_checked_comes_after_those_that_could() -> None:
    doubtful = replace(
        by(1), squid=by(1).squid.with_verification(Verification(Reach.UNVERIFIED, "no origin", checked=NOW))
    )
    assert order(VISITOR, doubtful, by(2, load=50_000.0)) == ["2", "1"]


def test_a_path_that_costs_money_is_taken_after_those_that_do_not() -> None:
    metered = replace(by(1, Place(48.5, -123.3)), owner=Owner(asn=16509, metered=True))
    assert order(VISITOR, metered, by(2, GENEVA, load=50_000.0)) == ["2", "1"]


def test_a_load_that_changes_moves_a_squid_though_nothing_else_of_it_has_changed() -> None:
    ledger = Ledger(verify=True, rank_by=RankBy.CLASSIC)
    first, second = by(1, load=0.0), by(2, load=50.0)
    ledger.put(first)
    ledger.put(second)
    before = told(VISITOR, ledger.board())
    ledger.put(replace(first, squid=replace(first.squid, load=100.0)))
    after = told(VISITOR, ledger.board())
    assert [one.squid.id for one in before] == [first.squid.id, second.squid.id]
    assert [one.squid.id for one in after] == [second.squid.id, first.squid.id]


def test_a_draining_squid_is_told_to_those_alone_who_use_it() -> None:
    leaving, stays = by(1, state=AgentState.DRAINING), by(2, GENEVA)
    user = replace(VISITOR, uses=frozenset({"192.0.2.1:3128"}))
    assert (order(VISITOR, leaving, stays), order(user, leaving, stays)) == (["2"], ["1", "2"])


# --- rules and arrays -------------------------------------------------------------------------------


@given(st.lists(squids(), max_size=12), requesters(), st.booleans())
@PROPERTY
def test_those_are_told_whom_no_rule_excludes(
    found: list[Listed], requester: Requester, verify: bool
) -> None:
    board = classic_board(unique(found), verify=verify)
    expected = [one for one in board.listed if exclusion(requester, one, Policy(verify=verify)) is None]
    assert sorted(one.squid.id for one in told(requester, board)) == sorted(one.squid.id for one in expected)


@given(st.lists(squids(), max_size=12), requesters(), st.booleans())
@PROPERTY
def test_they_stand_in_the_order_of_their_cost(
    found: list[Listed], requester: Requester, verify: bool
) -> None:
    km = [
        ranked(requester, one, verify=verify).effective_km
        for one in told(requester, classic_board(unique(found), verify=verify))
    ]
    assert all(one <= later + 2 for one, later in itertools.pairwise(km))


def test_a_server_that_is_set_to_it_tells_by_it() -> None:
    store, places = (
        MemoryStore(),
        Places({"192.0.2.1": VICTORIA, "192.0.2.2": GENEVA, "203.0.113.50": VICTORIA}),
    )
    near, far = by(1, load=90_000.0).squid, by(2, load=0.0).squid
    put_whole(store, [near, far])
    keeper = SnapshotKeeper(Registry(store, LivenessRules()), places, rank_by=RankBy.CLASSIC)
    keeper.refresh(NOW)
    best = Lookup(keeper, places, verify=True).nearest("203.0.113.50")
    assert [(one.squid.id, one.group) for one in best] == [(far.id, 0), (near.id, 1)]
    assert [one.load_km for one in best] == [0.0, pytest.approx(0.9 * FULL_KM)]
    assert not any(one.crowded for one in best)


def test_a_busy_free_squid_at_the_end_of_the_world_comes_before_a_metered_one() -> None:
    metered = replace(by(1, Place(48.5, -123.4)), owner=Owner(region="aws us-east-1", metered=True))
    assert order(VISITOR, metered, by(2, Place(-48.46, 56.69), load=122_000.0)) == ["2", "1"]
