"""A squid's past as curves."""

import re

import pytest

from shoal_server.history import Grain, Sample
from shoal_server.squid import Reach
from shoal_server.web.charts import HEIGHT, WIDTH, hits_chart, load_chart, nice
from tests.fakes import NOW

SPAN = Grain.FINE.seconds


def sample(back: int, load: float, hits: float | None = None) -> Sample:
    """Of the span that began `back` spans ago."""
    return Sample(NOW - back * SPAN, SPAN, load, load * 2, load / 1e5, hits, 10, Reach.GLOBAL, draining=False)


def test_a_curve_ends_at_the_right_edge_and_stays_in_its_frame() -> None:
    chart = load_chart([sample(n, 1000.0 * n) for n in range(288, 0, -1)], 1e6, Grain.FINE, NOW)
    assert chart.line.endswith(f"H{WIDTH:.1f}")
    xs = [float(x) for x in re.findall(r"H([\d.]+)", chart.line)]
    ys = [float(y) for y in re.findall(r"V([\d.]+)", chart.line)]
    assert xs == sorted(xs)
    assert min(ys) >= 0
    assert max(ys) <= HEIGHT


def test_where_nothing_was_recorded_the_curve_has_a_gap() -> None:
    chart = load_chart([sample(9, 1.0), sample(8, 1.0), sample(3, 1.0)], None, Grain.FINE, NOW)
    assert chart.line.count("M") == 2
    assert chart.area.count("Z") == 2


@pytest.mark.parametrize(
    ("load", "capacity", "shown"), [(40_000.0, 122_000.0, True), (100.0, 1_220_000.0, False)]
)
def test_the_capacity_is_drawn_where_it_does_not_flatten_the_curve(
    load: float, capacity: float, shown: bool
) -> None:
    limit = load_chart([sample(1, load)], capacity, Grain.FINE, NOW).limit
    assert (limit is not None) is shown


def test_a_hit_ratio_that_nobody_tells_leaves_gaps_and_counts_for_nothing() -> None:
    chart = hits_chart([sample(3, 1.0, 0.8), sample(2, 1.0), sample(1, 1.0, 0.6)], Grain.FINE, NOW)
    assert chart.line.count("M") == 2
    assert chart.summary == "mean 70 %"


@pytest.mark.parametrize("grain", Grain)
def test_times_are_marked_at_round_hours_and_days(grain: Grain) -> None:
    ticks = load_chart([], None, grain, NOW).ticks
    assert 3 <= len(ticks) <= 6
    assert all(0 < x < WIDTH for x, _ in ticks)


@pytest.mark.parametrize(("value", "round_"), [(100, 100), (101, 150), (1.7, 2), (7e5, 8e5), (9.1, 10)])
def test_frames_end_at_round_numbers(value: float, round_: float) -> None:
    assert nice(value) == pytest.approx(round_)
