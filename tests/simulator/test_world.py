"""The world of the simulator, its workload and its optimum."""

import numpy as np
import pytest

from benchmarks.simulator.optimum import least_distance
from benchmarks.simulator.scenarios import SCENARIOS
from benchmarks.simulator.sites import SITES, Kind
from benchmarks.simulator.workload import COLD_WORKER_TIMES, Habits, Workload
from benchmarks.simulator.world import Crowd, World, build, spread_out


def world(workers: int = 100) -> World:
    return build([Crowd("BNL", 2), Crowd("CERN", 1)], [Crowd("BNL", workers)], 1)


def test_there_are_sixty_sites_at_places_of_their_own() -> None:
    assert len(SITES) >= 60
    assert len({site.name for site in SITES}) == len(SITES)
    assert len({(site.latitude, site.longitude) for site in SITES}) == len(SITES)


def test_a_cloud_region_is_not_in_the_operators_table() -> None:
    assert all((site.place.site is None) == (site.kind is Kind.CLOUD) for site in SITES)


def test_a_world_has_as_many_squids_and_workers_as_were_asked_for() -> None:
    drawn = spread_out(150, 3000, 1, {1000.0: 1.0})
    assert (drawn.squids, drawn.workers) == (150, 3000)


def test_no_two_workers_share_an_address() -> None:
    drawn = spread_out(150, 3000, 1, {1000.0: 1.0})
    assert len(set(drawn.address.tolist())) == drawn.workers


def test_the_same_seed_draws_the_same_world() -> None:
    one, other = (spread_out(150, 3000, 5, {1000.0: 0.5, 100.0: 0.5}) for _ in range(2))
    assert (one.capacity == other.capacity).all()
    assert (one.share == other.share).all()


def test_workers_that_ask_together_ask_on_the_hour_and_half_hour() -> None:
    load = Workload(world(), Habits(together=True), 1.0, np.full(100, -3600.0), 1)
    assert [step for step in range(121) if len(load.asks(step))] == [0, 60, 120]


def test_workers_that_do_not_ask_every_ten_to_thirty_minutes() -> None:
    load = Workload(world(1), Habits(), 1.0, np.full(1, -3600.0), 1)
    asked = [step for step in range(600) if len(load.asks(step))]
    assert set(np.diff(asked)) <= set(range(20, 61))


def test_a_worker_asks_at_its_birth_and_for_nothing_before() -> None:
    load = Workload(world(1), Habits(), 1.0, np.array([100.0]), 1)
    assert not load.demand(3).any()
    assert load.asks(4).tolist() == [0]


def test_a_booting_worker_wants_more() -> None:
    load = Workload(world(1), Habits(), 1.0, np.array([100.0]), 1)
    assert load.demand(4)[0] == pytest.approx(COLD_WORKER_TIMES * load.demand(100)[0])


def test_steady_demand_never_changes() -> None:
    load = Workload(world(), Habits(), 1.0, np.full(100, -3600.0), 1)
    assert (load.demand(0) == load.demand(2000)).all()


KM = np.array([[0.0, 100.0], [100.0, 0.0]])


def test_the_optimum_keeps_everybody_at_home_while_there_is_room() -> None:
    assert least_distance(KM, np.array([5.0, 5.0]), np.array([5.0, 5.0])) == pytest.approx(0)


def test_the_optimum_sends_away_what_has_no_room() -> None:
    assert least_distance(KM, np.array([6.0, 2.0]), np.array([5.0, 5.0])) == pytest.approx(100 / 8)


def test_there_is_no_optimum_without_room() -> None:
    assert least_distance(KM, np.array([6.0, 6.0]), np.array([5.0, 5.0])) is None


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_called_what_it_is_listed_as(name: str) -> None:
    scenario = SCENARIOS[name]()
    assert scenario.name == name
    assert scenario.settled < scenario.hours
