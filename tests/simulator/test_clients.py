"""What simulated workers do with answers."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulator.arrays import Flags
from benchmarks.simulator.clients import NOBODY, RESET_STEPS, Clients, Moves, Told
from benchmarks.simulator.world import Crowd, World, build
from shoal_client.candidates import Candidate, Source
from shoal_client.choice import (
    IN_USE_TIMES,
    SLUGGISH_TIMES,
    Decision,
    Groups,
    Preference,
    Situation,
    decide,
)
from shoal_common.distance import FEE_KM
from shoal_common.hosts import HostPort
from shoal_common.probe import Outcome, Verdict

HEALTHY = np.zeros(8, dtype=np.bool_)
FAST = np.ones(8)


def world(*, in_order: bool, workers: int = 1) -> World:
    made = build([Crowd("BNL", 4), Crowd("CERN", 4)], [Crowd("BNL", workers)], 1)
    made.in_order[:] = in_order
    return made


def clients(*, in_order: bool, workers: int = 1) -> Clients:
    return Clients(world(in_order=in_order, workers=workers), np.random.default_rng(1))


def told(*pairs: tuple[int, float], workers: int = 1) -> Told:
    squids, km = zip(*pairs, strict=True)
    return Told(np.array([squids] * workers), np.array([km] * workers))


def ask(
    who: Clients,
    *pairs: tuple[int, float],
    lame: Flags = HEALTHY,
    dead: Flags = HEALTHY,
    minutes: float = 0.0,
) -> Moves:
    return who.take(np.array([0]), told(*pairs), FAST + 200 * lame, dead, 60 * minutes)


def number(squid: int) -> Flags:
    """This squid alone."""
    alone: Flags = np.arange(8) == squid
    return alone


def test_a_worker_takes_the_first_two() -> None:
    who = clients(in_order=True)
    ask(who, (0, 0.0), (1, 0.0), (4, 6000.0))
    assert who.chain[0].tolist() == [0, 1]


def test_the_shoal_client_takes_squids_of_two_sites() -> None:
    who = clients(in_order=False)
    ask(who, (0, 0.0), (1, 0.0), (4, 6000.0))
    assert who.chain[0].tolist() == [0, 4]


def test_who_goes_in_order_follows_every_answer() -> None:
    who = clients(in_order=True)
    ask(who, (0, 0.0), (1, 0.0))
    moves = ask(who, (1, 0.0), (0, 0.0))
    assert who.using()[0].tolist() == [1] * 4
    assert moves.told.all()
    assert moves.configured.all()


def test_a_timid_worker_stays_while_nothing_is_much_nearer() -> None:
    who = clients(in_order=False)
    ask(who, (0, 100.0), (4, 6000.0))
    moves = ask(who, (1, 20.0), (0, 100.0), (4, 6000.0))
    assert who.chain[0, 0] == 0
    assert moves.told.all()
    assert not moves.configured.any()


def test_a_timid_worker_goes_to_what_is_much_nearer() -> None:
    who = clients(in_order=False)
    ask(who, (0, 1000.0), (4, 6000.0))
    ask(who, (1, 20.0), (0, 1000.0), (4, 6000.0))
    assert who.chain[0, 0] == 1


def test_a_timid_worker_does_not_follow_room_that_comes_and_goes() -> None:
    who = clients(in_order=False)
    ask(who, (0, 20.0), (4, 6000.0))
    for minutes in range(20, 200, 20):
        crowded = minutes % 40 == 20
        ask(
            who,
            *[(1, 300.0), (0, 2 * FEE_KM + 20)] if crowded else [(0, 20.0), (1, 300.0)],
            (4, 6000.0),
            minutes=minutes,
        )
        assert who.chain[0, 0] == 0


def test_a_timid_worker_leaves_a_squid_that_is_told_no_more() -> None:
    who = clients(in_order=False)
    ask(who, (0, 0.0), (4, 6000.0))
    ask(who, (1, 0.0), (4, 6000.0))
    assert who.chain[0, 0] == 1


def test_a_timid_worker_leaves_a_lame_squid() -> None:
    who = clients(in_order=False)
    ask(who, (0, 0.0), (4, 6000.0))
    ask(who, (1, 0.0), (0, 0.0), (4, 6000.0), lame=number(0))
    assert who.chain[0, 0] == 1


def test_a_timid_worker_stays_at_a_squid_that_it_would_not_take_for_being_slow() -> None:
    lagging = 1 + SLUGGISH_TIMES * np.ones(8)
    who = clients(in_order=False)
    ask(who, (0, 0.0), (4, 6000.0))
    who.take(
        np.array([0]), told((0, 0.0), (1, 0.0), (4, 6000.0)), np.where(number(0), lagging, 1), HEALTHY, 0.0
    )
    assert who.chain[0, 0] == 0
    fresh = clients(in_order=False)
    fresh.take(
        np.array([0]), told((0, 0.0), (1, 0.0), (4, 6000.0)), np.where(number(0), lagging, 1), HEALTHY, 0.0
    )
    assert fresh.chain[0, 0] == 1


def test_a_timid_worker_takes_no_dead_squid_and_a_lame_one_last() -> None:
    who = clients(in_order=False)
    ask(who, (0, 0.0), (1, 0.0), (2, 0.0), lame=number(1), dead=number(0))
    assert who.chain[0].tolist() == [2, 1]


def test_a_timid_worker_returns_to_what_comes_first_in_two_runs_a_quarter_of_an_hour_apart() -> None:
    who = clients(in_order=False)
    ask(who, (0, 100.0), (4, 6000.0))
    ask(who, (1, 20.0), (0, 100.0), (4, 6000.0), minutes=10)
    ask(who, (1, 20.0), (0, 100.0), (4, 6000.0), minutes=20)
    assert who.chain[0, 0] == 0
    moves = ask(who, (1, 20.0), (0, 100.0), (4, 6000.0), minutes=30)
    assert who.chain[0, 0] == 1
    assert moves.configured.all()


def test_a_timid_worker_does_not_return_to_a_squid_that_comes_and_goes() -> None:
    who = clients(in_order=False)
    ask(who, (0, 100.0), (4, 6000.0))
    for minutes in range(20, 200, 20):
        ask(who, (1, 20.0), (0, 100.0), (4, 6000.0), dead=number(1 if minutes % 40 else 7), minutes=minutes)
    assert who.chain[0, 0] == 0


def test_cvmfs_balances_over_squids_that_are_as_near() -> None:
    who = clients(in_order=False, workers=200)
    who.take(np.arange(200), told((0, 10.0), (4, 30.0), workers=200), FAST, HEALTHY, 0.0)
    assert 0.4 < (who.using() == 0).mean() < 0.6


def test_cvmfs_takes_the_nearer_group_first() -> None:
    who = clients(in_order=False, workers=200)
    who.take(np.arange(200), told((0, 10.0), (4, 300.0), workers=200), FAST, HEALTHY, 0.0)
    assert (who.using() == 0).all()


def test_a_dead_squid_is_left_at_once_and_tried_again_after_300_seconds() -> None:
    who = clients(in_order=True)
    ask(who, (0, 0.0), (1, 0.0))
    dead = np.arange(8) != 0
    who.fail_over(dead, 5)
    assert who.using()[0].tolist() == [1] * 4
    assert who.failed_over.all()
    who.fail_over(np.ones(8, dtype=np.bool_), 5 + RESET_STEPS)
    assert who.using()[0].tolist() == [0] * 4


def test_who_was_told_nothing_keeps_what_it_has() -> None:
    who = clients(in_order=True)
    ask(who, (0, 0.0), (1, 0.0))
    ask(who, (NOBODY, np.inf), (NOBODY, np.inf))
    assert who.chain[0].tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(80))
def test_a_timid_worker_decides_as_the_shoal_client_does(seed: int) -> None:
    """Where no two squids are as near: within a group the client's order is its own."""
    random = np.random.default_rng(seed)
    made = world(in_order=False)
    who = Clients(made, np.random.default_rng(1))
    present, preferred = Decision((), kept=False), None
    now = 0.0
    answers = [_answer(random) for _ in range(2)]
    for _ in range(12):
        now += 60 * float(random.integers(5, 31))
        answer = answers[int(random.random() < 0.2)]
        ill = random.permutation(8)
        lagging, lame, dead = (
            np.isin(np.arange(8), ill[part][: random.choice([0, 0, 1])])
            for part in (slice(2), slice(2, 4), slice(4, 6))
        )
        slow = np.select([lame, lagging], [200.0, 4.0], 1.0)
        who.take(np.array([0]), answer, slow, dead, now)
        verdicts = [_verdict(*one) for one in zip(slow.tolist(), dead.tolist(), strict=True)]
        situation = _situation(made, answer, verdicts, present.groups, preferred, now)
        present = decide(situation)
        preferred = present.preferred
        used = [int(member.squid) for member in present.members]
        assert sorted(who.chain[0].tolist()) == sorted(used)


def _answer(random: np.random.Generator) -> Told:
    way = random.choice([0.0, 80.0, 200.0, 500.0, 900.0, 1500.0, 3000.0, 6000.0], 7, replace=False)
    km = way + FEE_KM * random.choice([0, 0, 0, 1, 2], 7)
    return Told(random.permutation(8)[None, :7], np.sort(km)[None, :])


def _situation(
    made: World,
    answer: Told,
    found: list[Verdict],
    present: Groups,
    preferred: Preference | None,
    now: float,
) -> Situation:
    squids, km = answer.squids[0].tolist(), answer.km[0].tolist()
    candidates = [_candidate(made, squid, far) for squid, far in zip(squids, km, strict=True)]
    listed = {one.place for one in candidates}
    candidates += [
        replace(member, source=Source.REMEMBERED, lapsed=True)
        for group in present
        for member in group
        if member.place not in listed
    ]
    verdicts = {one.place: found[int(one.squid)] for one in candidates}
    return Situation(candidates, verdicts, present, 2, True, "n", now, preferred)


def _verdict(slow: float, dead: bool) -> Verdict:
    """Of a squid so many times slower than a fast one; 0.4 s are too many of one that is not in use."""
    seconds = 2.0 if slow > IN_USE_TIMES * SLUGGISH_TIMES else 0.4 if slow > SLUGGISH_TIMES else 0.01
    return Verdict(Outcome.UNREACHABLE if dead else Outcome.GOOD, "", seconds)


def _candidate(made: World, squid: int, km: float) -> Candidate:
    place = HostPort(f"192.0.2.{squid + 1}", 3128)
    return Candidate(place, Source.SERVER, str(squid), km, domain=str(made.squid_site[squid]))
