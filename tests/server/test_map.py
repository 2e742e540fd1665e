"""Squids as marks on the map: at their places, together where they would hide each other."""

import random
from typing import Any

import pytest

from shoal_server.squid import LivenessRules, Place, Reach, Verification
from shoal_server.web.map import AREAS, LARGEST, MOST_MARKS, WORLD, Area, marks, path, project
from shoal_server.web.rows import Row, State
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, listed


def row(place: Place | None, check: Verification = GOOD, number: int = 1, **changes: Any) -> Row:
    address = f"198.18.{number // 250}.{number % 250 + 1}"
    one = listed(place, check, public_ip=address, uuid=str(number), hostname=f"n{number}", **changes)
    return Row.of(one, NOW, LivenessRules(), local=False)


@pytest.mark.parametrize(
    ("place", "spot"),
    [
        ((0, 0), (500, 250)),
        ((90, -180), (0, 0)),
        ((-90, 180), (1000, 500)),
        ((48.46, -123.31), (157.47, 115.39)),
    ],
)
def test_a_place_is_where_the_projection_says(place: tuple[float, float], spot: tuple[float, float]) -> None:
    assert project(*place) == pytest.approx(spot, abs=0.01)


def test_a_squid_is_one_mark_in_the_colour_of_its_state() -> None:
    failed = Verification(Reach.FAILED, "refused", NOW, NOW)
    (mark,) = marks([row(VICTORIA, failed)])
    assert (mark.x, mark.y) == (157.5, 115.4)
    assert mark.state is State.FAILED
    assert "n1, uvic, Victoria, CA: failed" in mark.label


def test_a_squid_without_a_place_has_no_mark() -> None:
    assert marks([row(None)]) == []


def test_neighbours_share_a_mark_at_the_place_of_the_largest() -> None:
    near = Place(46.5, 6.5, city="Lausanne")
    (mark,) = marks([row(near, number=1, max_load=1e5), row(GENEVA, number=2, max_load=1e6)])
    assert (mark.x, mark.y) == tuple(round(units, 1) for units in project(46.23, 6.05))
    assert mark.count == 2
    assert mark.label.startswith("cern, Geneva, CH: 2 squids: 2 verified")


def test_a_shared_mark_shows_how_many_are_in_each_state() -> None:
    failed = Verification(Reach.FAILED, "refused", NOW, NOW)
    (mark,) = marks([row(GENEVA, GOOD, n) for n in range(3)] + [row(GENEVA, failed, 9)])
    assert mark.arcs == [(State.VERIFIED, 0.0, 75.0), (State.FAILED, 75.0, 25.0)]
    assert mark.state is State.FAILED


def test_areas_of_marks_are_as_capacities_within_bounds() -> None:
    small, large, huge = (
        marks([row(GENEVA, max_load=capacity)])[0].radius for capacity in (4e5, 1.6e6, 1e12)
    )
    assert large == pytest.approx(2 * small, abs=0.1)
    assert huge == LARGEST


def test_however_many_squids_there_are_the_marks_stay_few_and_hold_them_all() -> None:
    dice = random.Random(7)
    rows = [row(Place(dice.uniform(-80, 80), dice.uniform(-180, 180)), number=n) for n in range(3_000)]
    made = marks(rows)
    assert len(made) <= MOST_MARKS
    assert sum(mark.count for mark in made) == len(rows)


def test_an_area_shows_its_own_squids_alone_and_farther_apart() -> None:
    lyon = Place(45.78, 4.87)
    rows = [row(GENEVA, number=1), row(lyon, number=2), row(VICTORIA, number=3)]
    assert sorted(mark.count for mark in marks(rows)) == [1, 2]
    assert [mark.count for mark in marks(rows, AREAS["europe"])] == [1, 1]


@pytest.mark.parametrize("name", AREAS)
def test_every_area_lies_on_the_map(name: str) -> None:
    area = AREAS[name]
    assert area.x >= 0
    assert area.y >= 0
    assert area.x + 1000 / area.zoom <= 1000.01
    assert area.y + 398 / area.zoom <= 500.01


@pytest.mark.parametrize("places", [[GENEVA], [GENEVA, VICTORIA], [Place(-89, 170), Place(80, -170)], []])
def test_an_area_for_places_shows_them_all(places: list[Place]) -> None:
    area = Area.holding(places)
    assert all(area.shows(*area.spot(place.latitude, place.longitude)) for place in places)
    assert area.zoom >= 1


def test_a_way_is_a_great_circle_and_is_cut_at_the_edge_of_the_map() -> None:
    way = path(GENEVA, VICTORIA)
    assert way.startswith("M516.8,121.6L")
    assert way.endswith("L157.5,115.4")
    assert min(float(point.split(",")[1]) for point in way[1:].split("L")) < 60  # by way of Greenland
    assert path(Place(35.7, 139.8), VICTORIA).count("M") == 2
    assert path(GENEVA, GENEVA) == path(Place(0, 0), Place(0, 180)) == ""


def test_the_whole_world_is_shown_as_it_is() -> None:
    assert WORLD.spot(46.23, 6.05) == project(46.23, 6.05)
    assert WORLD.box == "0 12 1000 398"
