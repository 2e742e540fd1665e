"""What heartbeats change of a squid's row, worked out for many at once, is what the rules for one say."""

from dataclasses import replace

import pytest

from shoal_server.balance import MOST_UTILISATION
from shoal_server.packed import Packed
from shoal_server.passing import passing
from shoal_server.registry import heard_again
from shoal_server.squid import UNKNOWN_OWNER, Squid
from tests.fakes import NOW, beat, squid


def column(name: str, *squids: Squid) -> list[float]:
    found = passing([Packed.of(one, None, UNKNOWN_OWNER) for one in squids])
    values: list[float] = found[name].tolist()
    return values


def test_the_load_is_that_of_the_scarcest_resource() -> None:
    idle = squid(load=10_000.0)
    strained = replace(idle, pressure=0.5)
    unstated = squid(load=61_000.0, max_load=None)
    assert column("load", idle, strained, unstated) == [
        one.utilisation * one.max_load for one in (idle, strained, unstated)
    ]


def test_a_load_far_beyond_an_understated_capacity_has_an_end() -> None:
    assert column("load", squid(load=1e9, max_load=1e-300)) == [MOST_UTILISATION * 1e-300]


@pytest.mark.parametrize(
    ("age", "part"), [(0.0, 0.1), (59.0, 0.1), (60.0, 0.25), (180.0, 0.5), (599.0, 0.5), (600.0, 1.0)]
)
def test_a_new_squid_has_a_part_of_its_weight(age: float, part: float) -> None:
    one = replace(squid(), seen=NOW + age)
    assert column("weight", one) == [part * one.max_load]


def test_a_squid_is_known_long_after_a_window() -> None:
    young, old = (replace(squid(), seen=NOW + age) for age in (1800.0, 1801.0))
    assert column("known_long", young, old) == [False, True]


def test_what_a_squid_takes_is_what_the_registry_says() -> None:
    full = heard_again(squid(load=1e6), beat(load=1e6), NOW + 1800)
    assert full.takes < 1
    assert column("takes", full) == pytest.approx([full.takes])


def test_so_is_its_share() -> None:
    assert column("share", replace(squid(), share=1.25)) == [1.25]
