"""Scenarios in other worlds of the same kind."""

from pathlib import Path

import pytest

from benchmarks.simulator import seeds
from benchmarks.simulator.scenarios import SCENARIOS
from benchmarks.simulator.seeds import Tally
from benchmarks.simulator.targets import Verdict

TWICE = Tally("farm-20", (Verdict("evenness", 1.0, 1.15), Verdict("evenness", 1.3, 1.15)))


@pytest.mark.parametrize("name", ["busy", "failures", "farm-60", "lone"])
def test_another_draw_is_another_world(name: str) -> None:
    one, other = SCENARIOS[name](), SCENARIOS[name](1)
    assert one.seed != other.seed
    assert one.world.draw != other.world.draw
    assert one.world.share[0] != other.world.share[0]


def test_a_draw_is_the_same_each_time() -> None:
    one, other = SCENARIOS["failures"](3), SCENARIOS["failures"](3)
    assert (one.world.share == other.world.share).all()
    assert one.happenings == other.happenings


def test_a_tally_counts_the_draws_that_missed() -> None:
    assert TWICE.missed == 1
    assert TWICE.row == "| farm-20 | evenness | **1** of 2 | 1.15 | 1.3 | 1.15 |"


def test_the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "policy.md"
    page.write_text(f"before\n{seeds.BEGIN}\nold\n{seeds.END}\nafter\n")
    seeds.write([TWICE], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert TWICE.row in text
    assert "old" not in text
