"""Each requester's own order of equals: fair by weight, and moved by nothing but need."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.rendezvous import _STEEP, MANY, SPOTS, Equals, _is_weak, seed
from tests.common.properties import PROPERTY


def equals(weights: list[float], names: list[str] | None = None) -> Equals:
    names = names or [f"squid {number}" for number in range(len(weights))]
    return Equals(np.array([seed(name) for name in names], np.uint64), np.array(weights))


def firsts(group: Equals) -> Counter[int]:
    return Counter(group.order(spot, 1)[0] for spot in range(SPOTS))


@pytest.mark.parametrize("size", [2, 5, 32, 60])
def test_equal_squids_get_equal_shares(size: int) -> None:
    shares = firsts(equals([100.0] * size))
    expected = SPOTS / size
    assert all(abs(shares[index] - expected) < 4.5 * expected**0.5 for index in range(size))


def test_a_share_is_in_proportion_to_the_weight() -> None:
    shares = firsts(equals([100.0, 300.0, 600.0]))
    assert shares[0] / SPOTS == pytest.approx(0.1, abs=0.02)
    assert shares[2] / SPOTS == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize("count", [0, 1, 5, MANY - 1])
@pytest.mark.parametrize("size", [MANY - 1, MANY, 3 * MANY])
def test_the_first_are_those_that_come_first_of_all(size: int, count: int) -> None:
    group = equals([float(n % 7 + 1) for n in range(size)])
    for spot in range(100):
        assert group.order(spot, count) == group.order(spot, size)[:count]


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40), st.integers(0, SPOTS - 1), st.integers(0, 50))
@PROPERTY
def test_the_first_of_an_order_are_the_same_however_many_are_asked_for(
    weights: list[float], spot: int, count: int
) -> None:
    group = equals(weights)
    whole = group.order(spot, len(weights))
    assert sorted(whole) == list(range(len(weights)))
    assert group.order(spot, count) == whole[:count]


def test_a_squid_that_grows_moves_nobody_between_the_others() -> None:
    before, after = equals([100.0] * 6), equals([100.0] * 5 + [300.0])
    for spot in range(500):
        first = after.order(spot, 1)[0]
        assert first in (5, before.order(spot, 1)[0])


@pytest.mark.parametrize(("turns", "off"), [(1, 0.0), (3, 0.001), (7, -0.0001), (250, 1e-6)])
def test_a_factor_that_comes_back_to_where_it_was_after_few_spots_is_weak(turns: int, off: float) -> None:
    assert _is_weak(round((1 / turns + off) * 2**32) % 2**32)


def test_the_golden_section_is_the_strongest_factor() -> None:
    assert not _is_weak(round((5**0.5 - 1) / 2 * 2**32))


@given(st.integers(0, 255))
@PROPERTY
def test_neighbouring_workers_fall_evenly_on_the_numbers_of_any_squid(number: int) -> None:
    factor = seed(f"192.0.2.{number}:3128") >> 32
    for workers in (100, 1000, 10_000):
        numbers = np.sort(np.arange(workers, dtype=np.uint64) * np.uint64(factor) % np.uint64(2**32))
        widest = float(np.diff(np.append(numbers, numbers[0] + np.uint64(2**32))).max())
        assert widest * workers / 2**32 < _STEEP + 2
