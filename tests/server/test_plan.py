"""Many spots at once are told what each of them is told alone."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from shoal_server.crowding import Door
from shoal_server.plan import Part, Plan


def plan(chance: random.Random, sizes: Sequence[int], away: int, domains: int, crowded: int) -> Plan:
    """Groups of these sizes and so many squids away, in some failure domains of which some are crowded."""
    ends = np.cumsum([*sizes, away])
    rows = [np.arange(end - size, end) for end, size in zip(ends, [*sizes, away], strict=True)]
    columns = {
        "seed": np.array([chance.getrandbits(64) for _ in range(ends[-1])], np.uint64),
        "weight": np.array([chance.choice([1e5, 2e5, 122_000.0]) for _ in range(ends[-1])]),
        "share": np.array([chance.choice([1.0, 0.7, 1.5]) for _ in range(ends[-1])], np.float32),
        "domain": np.array([chance.randrange(domains) for _ in range(ends[-1])], np.int32),
    }
    doors = {number: Door.of(chance.getrandbits(64), chance.random()) for number in range(crowded)}
    parts = [Part(part, columns) for part in rows]
    return Plan(parts[:-1], parts[-1] if away else None, doors)


@pytest.mark.parametrize("sizes", [[], [1], [20], [40], [3, 2, 30]], ids=str)
@pytest.mark.parametrize("away", [0, 3, 45])
@pytest.mark.parametrize("domains", [1, 2, 4])
@pytest.mark.parametrize("crowded", [0, 1, 2])
def test_many_spots_are_told_what_each_is_told_alone(
    sizes: Sequence[int], away: int, domains: int, crowded: int
) -> None:
    one = plan(random.Random(str((sizes, away, domains))), sizes, away, domains, crowded)
    spots = np.arange(320, 336)
    for count in (1, 2, 5, 50):
        assert one.told_each(spots, count).tolist() == [one.told(spot, count) for spot in spots.tolist()]
