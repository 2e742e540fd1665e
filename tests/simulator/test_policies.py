"""The policies that the shipped one is compared with."""

import numpy as np
import pytest

from benchmarks.simulator.fleet import Fleet
from benchmarks.simulator.policies import COUNT, POLICIES, Policy, Shipped, dotted
from benchmarks.simulator.world import GIGABIT, Crowd, World, build


def world() -> World:
    return build(
        [Crowd("BNL", 4), Crowd("MIT", 2), Crowd("CERN", 2)], [Crowd("BNL", 50), Crowd("MIT", 50)], 1
    )


def looked(name: str, reported: dict[int, float] | None = None) -> Policy:
    made = world()
    fleet = Fleet.of(made, np.ones(made.squids, dtype=np.bool_), np.random.default_rng(1))
    for squid, load in (reported or {}).items():
        fleet.reported[squid] = load
    policy = POLICIES[name](made, np.random.default_rng(2))
    policy.look(fleet)
    return policy


@pytest.mark.parametrize("name", POLICIES)
def test_the_first_two_told_are_two_squids(name: str) -> None:
    told = looked(name).told(np.arange(100)).squids
    assert (told[:, 0] != told[:, 1]).all()
    assert (told[:, :2] >= 0).all()


def test_nearest_tells_everybody_the_same() -> None:
    told = looked("nearest").told(np.arange(50)).squids
    assert (told[:, 0] == 0).all()


def test_the_classic_formula_prefers_an_idle_squid_across_the_sea_to_a_busy_one_at_home() -> None:
    busy = dict.fromkeys(range(6), GIGABIT)
    told = looked("classic", busy).told(np.arange(50)).squids
    assert (told[:, 0] >= 6).all()


def test_two_choices_takes_the_less_loaded_one() -> None:
    told = looked("two choices", {0: GIGABIT, 1: GIGABIT, 2: GIGABIT}).told(np.arange(50)).squids
    assert (told[:, 0] == 3).mean() > 0.3


def test_mirrorbits_sends_all_to_mirrors_on_the_spot() -> None:
    told = looked("mirrorbits").told(np.arange(50)).squids
    assert set(told[:, 0].tolist()) == {0, 1, 2, 3}


def test_the_shipped_ranking_is_sticky_and_spread() -> None:
    policy = looked("shipped")
    told = policy.told(np.arange(50)).squids
    assert set(told[:, 0].tolist()) == {0, 1, 2, 3}
    assert (policy.told(np.arange(50)).squids == told).all()


def test_a_squid_that_says_goodbye_is_told_no_more() -> None:
    made = world()
    fleet = Fleet.of(made, np.ones(made.squids, dtype=np.bool_), np.random.default_rng(1))
    fleet.stop(np.arange(8) == 0, orderly=True)
    policy = POLICIES["shipped"](made, np.random.default_rng(2))
    policy.look(fleet)
    assert not (policy.told(np.arange(50)).squids == 0).any()


def test_the_shipped_answers_are_those_of_the_servers_lookup() -> None:
    policy = looked("shipped")
    assert isinstance(policy, Shipped)
    made = world()
    told = policy.told(np.arange(100))
    for worker in range(100):
        answer = policy.lookup.nearest(dotted(int(made.address[worker])), count=COUNT)
        assert [one.effective_km for one in answer] == told.km[worker].tolist()
        assert [int(one.squid.beat.uuid.removeprefix("squid-")) for one in answer] == told.squids[
            worker
        ].tolist()
