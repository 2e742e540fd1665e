"""The squids of a failure domain are held against each other, window by window, and asked for alike."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.balance import (
    BUSY,
    EVEN,
    EVEN_AT_LEAST,
    FASTER,
    FULLER,
    LAST_SHARE,
    LEAST_SHARE,
    MEASURED_SECONDS,
    MOST_GAIN,
    MOST_SHARE,
    MOST_STEP,
    MOST_UTILISATION,
    SLOWER,
    Decision,
    Peers,
    alone,
    balanced,
    decided,
    measured,
)
from shoal_server.board import Board
from shoal_server.crowding import FREE, FULL, GUESTS_CUT, HALF, LOCALS_CUT, PHASE, SATURATED, WINDOW
from shoal_server.intake.reception import Reception
from shoal_server.lookup import seat
from shoal_server.ranking import Requester
from shoal_server.registry import Registry, heard_again
from shoal_server.rendezvous import spot
from shoal_server.seat import Wanted
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import Listed, LivenessRules, Place, Reach, Squid
from tests.common.properties import PROPERTY
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, FlakyStore, Places, beat, board_of, listed, squid

BEGIN = 1000 * WINDOW - PHASE
END = BEGIN + WINDOW
MEASURING = END - MEASURED_SECONDS
CAPACITY = squid().max_load
FIRST, SECOND = "192.0.2.1:3128", "192.0.2.2:3128"


def known(
    since: float = BEGIN - 86_400, *, takes: float = 1.0, used: float = 0.0, share: float = 1.0
) -> Squid:
    """A squid that was last heard just before the window's end."""
    return replace(squid(), created=since, seen=END - 10, takes=takes, used=used, share=share)


def after(past: Squid, domain: Peers | None, present: float = 0.5) -> tuple[float, float]:
    """What it takes and its share in the next window."""
    return decided(past, FIRST, lambda _: domain, present, END + 10)[:2]


# --- what is measured -----------------------------------------------------------------------------------


def test_until_the_measuring_begins_the_last_measure_stays() -> None:
    assert measured(0.7, 0.2, BEGIN, MEASURING - 1) == 0.7


def test_the_measure_is_the_mean_of_all_heartbeats_while_it_is_measured() -> None:
    used, seen = 0.9, MEASURING - 20
    for beats in range(30):
        now = MEASURING + 10 + 30 * beats
        used, seen = measured(used, beats % 2, seen, now), now
    assert used == pytest.approx(0.5, abs=0.02)


def test_with_the_first_of_them_the_measure_of_before_is_forgotten() -> None:
    assert measured(0.9, 0.3, MEASURING - 25, MEASURING + 5) == 0.3


@given(st.floats(0, 10), st.floats(0, 10), st.floats(BEGIN, END), st.floats(BEGIN, END))
@PROPERTY
def test_a_mean_is_between_what_it_is_the_mean_of(
    before: float, present: float, since: float, now: float
) -> None:
    used = measured(before, present, since, now)
    assert min(before, present) - 1e-9 <= used <= max(before, present) + 1e-9


# --- the share ------------------------------------------------------------------------------------------


def next_share(share: float, used: float, mean: float, trend: float = 0.0) -> float:
    return balanced(Decision(1.0, share, trend), used, mean).share


def test_who_is_used_more_than_its_peers_gets_a_smaller_share_and_who_is_used_less_a_larger() -> None:
    assert next_share(1.0, 0.8, 0.6) == pytest.approx((0.6 / 0.8) ** MOST_GAIN)
    assert next_share(0.9, 0.4, 0.6) == pytest.approx(0.9 * (0.6 / 0.4) ** MOST_GAIN)


@pytest.mark.parametrize("mean", [0.4, 0.6, 0.9])
def test_between_the_limits_the_share_stays(mean: float) -> None:
    limit = max(EVEN * mean, EVEN_AT_LEAST) - 1e-6
    assert next_share(1.2, mean - limit, mean) == 1.2
    assert next_share(1.2, min(mean + limit, SATURATED - 0.001), mean) == 1.2
    assert next_share(1.2, mean - limit - 0.001, mean) > 1.2


def test_of_a_full_squid_more_is_asked_than_its_load_tells() -> None:
    assert SATURATED / FULL < 1 + EVEN
    assert next_share(1.0, SATURATED, FULL) == pytest.approx(FULLER**-MOST_GAIN)


def test_where_all_are_full_the_shares_stay() -> None:
    assert next_share(1.0, 1.0, 0.99) == 1.0


def test_a_domain_that_is_little_used_needs_no_balance() -> None:
    assert next_share(1.0, 3 * BUSY, BUSY - 0.01) == 1.0


def after_windows(decision: Decision, used: float, mean: float, windows: int) -> Decision:
    for _ in range(windows):
        decision = balanced(decision, used, mean)
    return decision


@pytest.mark.parametrize("mean", [0.15, BUSY - 0.01, 0.6])
def test_a_squid_that_stays_full_beside_others_with_room_comes_last(mean: float) -> None:
    assert after_windows(Decision(1.0, 1.0, 0.0), 1.0, mean, 30).share == LAST_SHARE


def test_one_that_is_used_more_and_is_not_full_keeps_a_part() -> None:
    assert after_windows(Decision(1.0, 1.0, 0.0), SATURATED - 0.01, 0.5, 30).share == LEAST_SHARE
    assert after_windows(Decision(1.0, LAST_SHARE, 0.0), SATURATED - 0.01, 0.5, 30).share == LAST_SHARE


@pytest.mark.parametrize("mean", [0.1, 0.5])
def test_one_that_was_full_comes_back_when_it_is_used_less_than_the_others(mean: float) -> None:
    last = after_windows(Decision(1.0, 1.0, 0.0), 1.0, mean, 30)
    assert after_windows(last, 0.05 * mean, mean, 10).share >= LEAST_SHARE


def test_whoever_went_too_far_goes_back_by_half_a_step() -> None:
    down = balanced(Decision(1.0, 1.0, 0.0), 0.9, 0.6)
    back = balanced(down, 0.3, 0.6)
    assert (down.trend, back.trend) == (-MOST_GAIN, MOST_GAIN * SLOWER)
    assert back.share == pytest.approx(down.share * 2 ** (MOST_GAIN * SLOWER))


def test_whoever_has_farther_to_go_goes_faster_again() -> None:
    once = balanced(Decision(1.0, 1.0, 0.1), 0.3, 0.6)
    assert (once.trend, balanced(once, 0.3, 0.6).trend) == pytest.approx((0.1 * FASTER, 0.1 * FASTER**2))
    assert balanced(Decision(1.0, 1.0, MOST_GAIN), 0.3, 0.6).trend == MOST_GAIN


def test_two_squids_between_which_most_workers_change_at_once_come_to_rest() -> None:
    """Chance may have it that a small change of their shares moves half of what both have."""
    mean, left = 0.5, Decision(1.0, 1.5, 0.0)
    right = Decision(1.0, 1.0, 0.0)
    for _ in range(20):
        used = 1 / (1 + (right.share / left.share / 0.8) ** 10)
        left, right = balanced(left, used, mean), balanced(right, 1 - used, mean)
    assert used == pytest.approx(mean, abs=EVEN * mean)


@given(
    st.floats(LAST_SHARE, MOST_SHARE),
    st.floats(-MOST_GAIN, MOST_GAIN),
    st.floats(0, MOST_UTILISATION),
    st.floats(0, MOST_UTILISATION),
)
@PROPERTY
def test_a_share_has_its_limits_and_changes_by_steps(
    share: float, trend: float, used: float, mean: float
) -> None:
    changed = balanced(Decision(1.0, share, trend), used, mean)
    full = used >= SATURATED
    assert (LAST_SHARE if full else min(share, LEAST_SHARE)) <= changed.share <= MOST_SHARE
    assert 1 / MOST_STEP - 1e-9 <= changed.share / share <= MOST_STEP + 1e-9
    assert abs(changed.trend) <= MOST_GAIN


def test_its_share_multiplies_a_squids_weight() -> None:
    board = board_of([at(1, share=2.0), at(2)], verify=True)
    assert firsts(board, 2000) == pytest.approx({FIRST: 4000 / 3, SECOND: 2000 / 3}, rel=0.1)


# --- when it is decided ---------------------------------------------------------------------------------


def test_within_a_window_nothing_changes() -> None:
    past = replace(known(takes=0.6, used=0.99, share=1.3), seen=BEGIN + 1)
    assert decided(past, FIRST, lambda _: Peers(0.5, 0.5), 1.0, END - 1) == (0.6, 1.3, 0.0)


def test_windows_end_between_the_hours_and_half_hours_at_which_cron_starts() -> None:
    assert END % 3600 in (900, 2700)


def test_a_place_with_room_turns_nobody_away_though_one_of_its_squids_is_full() -> None:
    takes, share = after(known(used=1.0), Peers(1.0, 0.7))
    assert (takes, share < 0.9) == (1.0, True)


def test_the_squids_of_a_full_place_turn_away_alike_however_full_each_is() -> None:
    assert {after(known(used=used), Peers(1.0, 0.99))[0] for used in (0.95, 1.0)} == {
        HALF + HALF * GUESTS_CUT
    }


def test_a_squid_whose_peers_are_unknown_goes_by_itself() -> None:
    assert after(known(takes=0.5, used=0.99), None) == (0.5 * LOCALS_CUT, 1.0)
    assert decided(known(used=FREE), FIRST, alone, 2.0, END + 10) == (1.0, 1.0, 0.0)


def test_a_new_squid_takes_what_the_others_of_its_place_take() -> None:
    assert after(known(since=END - WINDOW, used=0.1), Peers(0.3, 0.9)) == (0.3, 1.0)


def test_what_a_server_of_before_did_not_measure_is_taken_from_the_heartbeat() -> None:
    assert after(known(takes=0.5), None, present=FREE) == (0.5, 1.0)


def test_each_heartbeat_brings_it_up_to_date() -> None:
    past = known(used=0.9)
    later = heard_again(past, beat(load=0.4 * CAPACITY), END + 10, lambda _: Peers(1.0, 0.6))
    assert (later.used, later.trend) == (0.9, -MOST_GAIN)
    assert later.share == pytest.approx((0.6 / 0.9) ** MOST_GAIN)
    measuring = heard_again(later, beat(load=0.4 * CAPACITY), END + WINDOW - 10)
    assert measuring.used == pytest.approx(0.4)
    assert (measuring.share, measuring.trend) == (later.share, later.trend)


def test_a_load_far_beyond_an_understated_capacity_has_an_end() -> None:
    assert heard_again(known(), beat(load=1e9, max_load=1e-300), END + WINDOW - 10).used <= MOST_UTILISATION


# --- whom a squid is held against -----------------------------------------------------------------------


def at(
    number: int,
    place: Place = VICTORIA,
    age: float = 86_400.0,
    *,
    takes: float = 1.0,
    used: float = 0.0,
    share: float = 1.0,
) -> Listed:
    one = listed(place, public_ip=f"192.0.2.{number}", uuid=f"u{number}")
    squid = replace(one.squid, created=NOW - age, takes=takes, used=used, share=share)
    return replace(one, squid=squid)


def firsts(board: Board, workers: int) -> dict[str, int]:
    """How many workers at Victoria are told each squid first."""
    told: dict[str, int] = {}
    for number in range(workers):
        asks = Requester(f"198.51.{number // 250}.{number % 250}", VICTORIA)
        plan = board.plan(seat(asks, board), Wanted(), 2)
        first = board.listed[plan.rows[plan.told(spot(asks.address), 2)[0]]].squid.id
        told[first] = told.get(first, 0) + 1
    return told


def peers_of_first(squids: Iterable[Listed]) -> Peers | None:
    return board_of(squids, verify=True).peers(0)


def test_peers_are_the_squids_of_the_failure_domain_by_their_capacity() -> None:
    large = at(2, used=0.9, takes=0.8)
    large = replace(large, squid=replace(large.squid, beat=replace(large.squid.beat, max_load=3 * CAPACITY)))
    found = peers_of_first([at(1, used=0.5, takes=0.4), large, at(9, GENEVA, used=0.1)])
    assert found
    assert (found.takes, found.used) == pytest.approx((0.7, 0.8))


def test_who_is_new_or_serves_nobody_does_not_count() -> None:
    failed = at(3, used=0.1)
    failed = replace(failed, squid=failed.squid.with_verification(replace(GOOD, reach=Reach.FAILED)))
    assert peers_of_first([at(1, used=0.5), at(2, age=700.0, used=0.1), failed]) == Peers(1.0, 0.5)


@pytest.mark.parametrize("changed", [{"drained": True}, {"verification": replace(GOOD, reach=Reach.FAILED)}])
def test_a_squid_that_nobody_is_told_of_is_held_against_nobody(changed: dict[str, Any]) -> None:
    out = at(1, used=0.1)
    out = replace(out, squid=replace(out.squid, **changed))
    assert peers_of_first([out, at(2, used=0.8)]) is None


def test_where_all_are_new_there_are_no_peers() -> None:
    assert peers_of_first([at(1, age=700.0), at(2, age=700.0)]) is None


def test_who_was_not_measured_counts_with_his_load() -> None:
    one = at(1)
    one = replace(one, squid=replace(one.squid, load=0.6 * CAPACITY))
    found = peers_of_first([one, at(2, used=0.8)])
    assert found
    assert found.used == pytest.approx(0.7)


def test_of_two_squids_at_a_place_the_fuller_one_is_told_to_fewer_after_some_windows() -> None:
    """The way that heartbeats go: received, noted, seen in the picture, held against it."""
    store = FlakyStore()
    registry = Registry(store, LivenessRules())
    keeper = SnapshotKeeper(registry, Places({"192.0.2.1": VICTORIA, "192.0.2.2": VICTORIA}))
    reception = Reception(registry, lambda _: False, keeper.peers)
    clock = [BEGIN]
    store.now = lambda: clock[0]  # type: ignore[method-assign]
    loads = {1: 0.9 * CAPACITY, 2: 0.3 * CAPACITY}
    for step in range(4 * 60 + 1):
        clock[0] = BEGIN + 30 * step
        said = [
            beat(uuid=f"u{n}", public_ip=f"192.0.2.{n}", load=load, timestamp=clock[0]).encode()
            for n, load in loads.items()
        ]
        reception.take(said)
        for key in (FIRST, SECOND) if not step else ():
            store.put_verification(key, GOOD, [])
        keeper.refresh(clock[0])
    shares = {one.squid.id: one.squid.share for one in keeper.current.listed}
    assert shares[FIRST] == pytest.approx((0.6 / 0.9) ** (3 * MOST_GAIN))
    told = firsts(keeper.current.board, 1000)
    assert told[FIRST] / told[SECOND] == pytest.approx(shares[FIRST] / shares[SECOND], rel=0.15)


def test_a_squid_that_is_on_no_board_has_no_peers() -> None:
    keeper = SnapshotKeeper(Registry(FlakyStore(), LivenessRules()), Places())
    assert keeper.peers(FIRST) is None
