"""A crowded place turns a part of its requesters away, the same ones each time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.crowding import (
    FEWEST,
    FREE,
    FULL,
    GOAL,
    GUEST,
    GUESTS_CUT,
    LEAST,
    LOCALS_CUT,
    MOST_GROWTH,
    SHRINK,
    Door,
    openings,
    parts,
    taken,
)
from shoal_server.lookup import Lookup, seat
from shoal_server.ranking import CROWDED_KM, Ranked, Requester
from shoal_server.registry import Registry
from shoal_server.rendezvous import SPOTS, seed, spot
from shoal_server.seat import Wanted
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import Listed, LivenessRules, Place
from tests.common.properties import PROPERTY
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, FlakyStore, Places, board_of, listed

NEARBY = Place(48.2, -122.9, site="nearby")
WORKERS = [Requester(f"198.51.{number // 250}.{number % 250}", VICTORIA) for number in range(2000)]


def crowded(number: int, place: Place, takes: float, age: float = 86_400.0, load: float = 90_000.0) -> Listed:
    one = listed(place, public_ip=f"192.0.2.{number}")
    return replace(one, squid=replace(one.squid, takes=takes, created=NOW - age, load=load))


def told(squids: list[Listed], requester: Requester, count: int = 10) -> list[tuple[str | None, bool]]:
    """The addresses told, best first, and whether there is room for the requester."""
    board = board_of(squids, verify=True)
    plan = board.plan(seat(requester, board), Wanted(), count)
    return [
        (board.listed[plan.rows[place]].squid.public_address, place < plan.first_late)
        for place in plan.told(spot(requester.address), count)
    ]


def kept(squids: list[Listed], home: Place = VICTORIA) -> set[str]:
    """The workers at a place who are told one of its own squids first."""
    board = board_of(squids, verify=True)
    plan = board.plan(seat(replace(WORKERS[0], place=home), board), Wanted(), 5)
    return {
        worker.address
        for worker in WORKERS
        if board.listed[plan.rows[plan.told(spot(worker.address), 5)[0]]].place == home
    }


# --- the part that a squid takes ------------------------------------------------------------------------


@pytest.mark.parametrize("utilisation", [FREE, 0.88, FULL])
def test_between_the_limits_the_part_stays(utilisation: float) -> None:
    assert taken(0.5, utilisation) == 0.5


def test_down_to_one_half_guests_alone_are_turned_away() -> None:
    assert openings(1.0) == (1.0, 1.0)
    assert openings(0.6) == pytest.approx((1.0, 0.2))
    assert openings(0.5) == (1.0, 0.0)
    assert openings(0.2) == (0.4, 0.0)


def test_a_squid_with_room_takes_as_many_more_guests_as_it_would_have_room_for_if_all_were_guests() -> None:
    assert openings(taken(0.75, 0.7))[1] == pytest.approx(0.5 * GOAL / 0.7)


def test_a_full_squid_takes_fewer_guests_more_quickly() -> None:
    assert openings(taken(0.75, 0.95))[1] == pytest.approx(0.5 * (GOAL / 0.95) ** SHRINK)


def test_a_squid_that_takes_locals_alone_takes_as_many_as_it_has_room_for() -> None:
    assert taken(0.25, 0.7) == pytest.approx(0.25 * GOAL / 0.7)
    assert taken(0.25, 0.95) == pytest.approx(0.25 * GOAL / 0.95)


def test_locals_are_turned_away_when_no_guest_is_left() -> None:
    assert taken(0.5 + 0.5 * FEWEST, 0.95) == 0.5
    assert taken(0.5, 0.95) < 0.5


def test_guests_come_again_when_there_is_room_for_all_locals() -> None:
    assert taken(0.49, 0.8) == taken(0.5, 0.8) == 0.5 + 0.5 * FEWEST


def test_a_saturated_squid_takes_much_less_since_nobody_knows_how_much_more_is_asked_for() -> None:
    assert openings(taken(1.0, 1.0)) == openings(taken(1.0, 3.0)) == pytest.approx((1.0, GUESTS_CUT))
    assert taken(0.4, 1.0) == 0.4 * LOCALS_CUT


def test_an_idle_squid_takes_all_again_step_by_step() -> None:
    assert taken(0.2, 0.0) == 0.2 * MOST_GROWTH
    assert openings(taken(0.6, 0.0))[1] == pytest.approx(0.2 * MOST_GROWTH)
    assert taken(0.9, 0.0) == 1.0


@given(st.floats(LEAST, 1.0), st.floats(0, 1e9))
@PROPERTY
def test_a_part_is_always_a_part(before: float, utilisation: float) -> None:
    assert LEAST <= taken(before, utilisation) <= 1.0


# --- who is turned away ---------------------------------------------------------------------------------


def test_a_place_that_has_room_for_its_locals_keeps_them_all() -> None:
    assert len(kept([crowded(1, VICTORIA, 0.5), crowded(9, GENEVA, 1.0)])) == len(WORKERS)


def test_a_crowded_place_keeps_its_part_of_its_locals() -> None:
    squids = [crowded(1, VICTORIA, 0.3), crowded(2, VICTORIA, 0.3), crowded(9, GENEVA, 1.0)]
    assert len(kept(squids)) == pytest.approx(0.6 * len(WORKERS), rel=0.1)


def test_those_who_are_kept_stay_when_it_takes_more_and_those_turned_away_when_less() -> None:
    less, more = (kept([crowded(1, VICTORIA, takes), crowded(9, GENEVA, 1.0)]) for takes in (0.2, 0.4))
    assert less < more


def doors(home: Place, takes: float) -> dict[Place | None, float]:
    """What two crowded places take of those who are at a place."""
    squids = [crowded(1, VICTORIA, takes), crowded(2, NEARBY, takes), crowded(9, GENEVA, 1.0)]
    board = board_of(squids, verify=True)
    plan = board.plan(seat(replace(WORKERS[0], place=home), board), Wanted(), 3)
    place = {plan.domains[at]: board.listed[row].place for at, row in enumerate(plan.rows)}
    return {place[domain]: door.part for domain, door in plan.doors.items()}


def test_who_is_at_a_place_keeps_it_while_guests_are_turned_away() -> None:
    assert doors(VICTORIA, 0.6) == {VICTORIA: 1.0, NEARBY: pytest.approx(0.2)}


def test_whoever_is_far_from_every_place_is_a_guest_of_the_nearest_too() -> None:
    assert doors(Place(51.0, -114.0), 0.6) == {VICTORIA: pytest.approx(0.2), NEARBY: pytest.approx(0.2)}


def test_who_is_within_50_km_is_local_though_his_network_is_unknown() -> None:
    assert doors(Place(48.6, -123.4), 0.3)[VICTORIA] == pytest.approx(0.6)


def test_a_lower_preference_makes_nobody_a_guest_at_his_own_place() -> None:
    tiered = replace(VICTORIA, tier=1)
    board = board_of([crowded(1, tiered, 0.6)], verify=True)
    plan = board.plan(seat(replace(WORKERS[0], place=tiered), board), Wanted(), 3)
    assert [door.part for door in plan.doors.values()] == [1.0]


def test_a_surge_turns_away_those_to_whom_another_place_is_nearer_sooner() -> None:
    door = Door.of(seed("uvic"), 1.0, 0.5)
    assert door.part == 0.5
    assert door.for_guests(nearest=True).part == 0.5
    assert door.for_guests(nearest=False).part == 0.5**GUEST


def test_a_guest_finds_less_room_than_who_is_at_home() -> None:
    squids = [crowded(1, VICTORIA, 0.0), crowded(2, GENEVA, 0.6)]
    guests = [told(squids, worker)[0] for worker in WORKERS[:500]]
    hosts = [told(squids, replace(worker, place=GENEVA))[0] for worker in WORKERS[:500]]
    welcome = [sum(one == ("192.0.2.2", True) for one in group) for group in (guests, hosts)]
    assert welcome[0] == pytest.approx(500 * 0.2, abs=25)
    assert welcome[1] == 500


def test_whom_it_has_no_room_for_is_told_of_it_last() -> None:
    squids = [crowded(1, VICTORIA, 0.0), crowded(9, GENEVA, 1.0)]
    assert told(squids, WORKERS[0]) == [("192.0.2.9", True), ("192.0.2.1", False)]


def test_where_no_place_has_room_everybody_is_told_of_all_the_nearest_first() -> None:
    squids = [crowded(1, VICTORIA, 0.0), crowded(9, GENEVA, 0.0)]
    assert told(squids, WORKERS[0]) == [("192.0.2.1", False), ("192.0.2.9", False)]


def test_the_last_place_of_an_answer_goes_to_another_site_that_has_room() -> None:
    home = [crowded(number, VICTORIA, 1.0) for number in range(1, 6)]
    squids = [*home, crowded(8, NEARBY, 0.0), crowded(9, GENEVA, 1.0)]
    assert told(squids, WORKERS[0], count=3)[-1] == ("192.0.2.9", True)


def test_the_last_place_goes_to_another_site_without_room_rather_than_to_none() -> None:
    home = [crowded(number, VICTORIA, 1.0) for number in range(1, 6)]
    assert told([*home, crowded(8, NEARBY, 0.0)], WORKERS[0], count=3)[-1] == ("192.0.2.8", False)


def test_squids_of_one_place_count_together() -> None:
    squids = [crowded(1, VICTORIA, 0.2), crowded(2, VICTORIA, 0.4), crowded(9, GENEVA, 1.0)]
    assert len(kept(squids)) == pytest.approx(0.6 * len(WORKERS), rel=0.1)


def test_a_place_turns_nobody_away_while_another_of_its_squids_has_room() -> None:
    squids = [crowded(1, VICTORIA, 0.7, load=100_000.0), crowded(2, VICTORIA, 1.0, load=80.0)]
    squids.append(crowded(9, GENEVA, 1.0))
    first = [told(squids, worker)[0] for worker in WORKERS]
    assert {address for address, _ in first} == {"192.0.2.1", "192.0.2.2"}


def test_a_newcomer_does_not_count() -> None:
    squids = [crowded(1, VICTORIA, 0.2), crowded(2, VICTORIA, 1.0, age=700.0), crowded(9, GENEVA, 1.0)]
    assert len(kept(squids)) == pytest.approx(0.4 * len(WORKERS), rel=0.1)


def test_a_squid_that_serves_nobody_does_not_count() -> None:
    bad = crowded(2, VICTORIA, 1.0)
    bad = replace(bad, squid=bad.squid.with_verification(replace(GOOD, lacks=("cvmfs", "frontier"))))
    failed = replace(bad, squid=replace(bad.squid, drained=True))
    squids = [crowded(1, VICTORIA, 0.2), failed, crowded(9, GENEVA, 1.0)]
    assert len(kept(squids)) == pytest.approx(0.4 * len(WORKERS), rel=0.1)


@pytest.mark.parametrize("takes", [0.05, 1.0])
def test_as_many_as_were_asked_for_are_told_however_many_places_that_takes(takes: float) -> None:
    sites = [Place(60.0 - 2 * number, -100.0, site=f"site-{number}") for number in range(45)]
    squids = [crowded(number, site, takes) for number, site in enumerate(sites)]
    assert len(told(squids, WORKERS[0], count=40)) == 40


def test_a_door_opens_for_its_part_of_the_spots() -> None:
    door = Door.of(seed("uvic"), 0.125)
    assert sum(door.opens(number) for number in range(SPOTS)) == pytest.approx(SPOTS / 4, rel=0.1)


@pytest.mark.parametrize("takes", [0.025, 0.5, 0.75])
def test_a_door_opens_for_the_same_spots_asked_one_by_one_and_together(takes: float) -> None:
    door = Door.of(seed("uvic"), takes).for_guests(nearest=True)
    assert door.opens_each(np.arange(SPOTS)).tolist() == [door.opens(number) for number in range(SPOTS)]


def test_without_weights_a_place_takes_all() -> None:
    assert parts_of([0.0, 0.0]) == 1.0
    assert parts_of([1.0, 3.0]) == 0.5 * 0.25 + 1.0 * 0.75


def parts_of(weights: list[float]) -> float:
    return float(parts(np.array([0, 0]), np.array([0.5, 1.0]), np.array(weights))[0])


def test_the_terms_tell_that_there_is_no_room() -> None:
    store = FlakyStore()
    keeper = SnapshotKeeper(Registry(store, LivenessRules()), Places({"192.0.2.1": VICTORIA}))
    store.put([crowded(1, VICTORIA, 0.75).squid], [], [])
    store.put_verification("192.0.2.1:3128", GOOD, [])
    keeper.refresh(NOW)
    lookup = Lookup(keeper, Places(), verify=True)
    answers: list[Ranked] = [lookup.nearest(worker.address)[0] for worker in WORKERS[:200]]
    assert {one.load_km for one in answers} == {0.0, CROWDED_KM}
    assert all(one.effective_km >= one.load_km for one in answers)
