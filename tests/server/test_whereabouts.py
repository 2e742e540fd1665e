"""Numbers by id are those of a dictionary."""

import random

import pytest

from shoal_server import whereabouts
from shoal_server.whereabouts import Whereabouts


@pytest.mark.parametrize("few", [3, 1000])
def test_it_holds_what_a_dictionary_would(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "FEW", few)
    chance = random.Random(few)
    where, known = Whereabouts(), dict[str, int]()
    for number in range(3000):
        one = f"192.0.2.{chance.randrange(200)}:3128"
        if chance.random() < 0.4:
            assert where.pop(one) == known.pop(one, None)
        else:
            where.put(one, number)
            known[one] = number
        asked = f"192.0.2.{chance.randrange(250)}:3128"
        assert where.get(asked) == known.get(asked)
    assert {one: where.get(one) for one in known} == known


def test_what_is_gone_takes_no_room_for_long() -> None:
    where = Whereabouts()
    for number in range(100_000):
        where.put(str(number), number)
        where.pop(str(number))
    assert len(where._sorted[0]) + len(where._lately) < 3000
