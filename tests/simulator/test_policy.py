"""The shipped ranking in small worlds: it keeps what docs/policy.md promises."""

import pytest

from benchmarks.simulator.engine import Record, run
from benchmarks.simulator.policies import POLICIES
from benchmarks.simulator.scenarios import SCENARIOS
from benchmarks.simulator.targets import verdicts

SMALL = ("farm-20", "farm-60", "boot", "added", "removed", "occupied")


@pytest.fixture(scope="module", params=SMALL)
def record(request: pytest.FixtureRequest) -> Record:
    return run(SCENARIOS[request.param](), POLICIES["shipped"])


def test_the_shipped_ranking_keeps_every_target(record: Record) -> None:
    missed = [str(verdict) for verdict in verdicts(record) if not verdict.kept]
    assert not missed
