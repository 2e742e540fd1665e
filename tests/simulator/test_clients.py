"""What simulated workers do with answers."""

import numpy as np
import pytest

from benchmarks.simulator.arrays import Flags
from benchmarks.simulator.clients import NOBODY, RESET_STEPS, Clients, Moves, Told
from benchmarks.simulator.world import Crowd, World, build
from shoal_client.candidates import Candidate, Source
from shoal_client.choice import Situation, decide
from shoal_common.hosts import HostPort
from shoal_common.probe import Outcome, Verdict

HEALTHY = np.zeros(8, dtype=np.bool_)


def world(*, in_order: bool, workers: int = 1) -> World:
    made = build([Crowd("BNL", 4), Crowd("CERN", 4)], [Crowd("BNL", workers)], 1)
    made.in_order[:] = in_order
    return made


def clients(*, in_order: bool, workers: int = 1) -> Clients:
    return Clients(world(in_order=in_order, workers=workers), np.random.default_rng(1))


def told(*pairs: tuple[int, float], workers: int = 1) -> Told:
    squids, km = zip(*pairs, strict=True)
    return Told(np.array([squids] * workers), np.array([km] * workers))


def ask(who: Clients, *pairs: tuple[int, float], lame: Flags = HEALTHY) -> Moves:
    return who.take(np.array([0]), told(*pairs), lame)


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


def test_a_timid_worker_leaves_a_squid_that_is_told_no_more() -> None:
    who = clients(in_order=False)
    ask(who, (0, 0.0), (4, 6000.0))
    ask(who, (1, 0.0), (4, 6000.0))
    assert who.chain[0, 0] == 1


def test_a_timid_worker_leaves_a_lame_squid() -> None:
    who = clients(in_order=False)
    ask(who, (0, 0.0), (4, 6000.0))
    ask(who, (1, 0.0), (0, 0.0), (4, 6000.0), lame=np.arange(8) == 0)
    assert who.chain[0, 0] == 1


def test_cvmfs_balances_over_squids_that_are_as_near() -> None:
    who = clients(in_order=False, workers=200)
    who.take(np.arange(200), told((0, 10.0), (4, 30.0), workers=200), HEALTHY)
    assert 0.4 < (who.using() == 0).mean() < 0.6


def test_cvmfs_takes_the_nearer_group_first() -> None:
    who = clients(in_order=False, workers=200)
    who.take(np.arange(200), told((0, 10.0), (4, 300.0), workers=200), HEALTHY)
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


@pytest.mark.parametrize("seed", range(40))
def test_a_timid_worker_decides_as_the_shoal_client_does(seed: int) -> None:
    """Where no two squids are as near: within a group the client's order is its own."""
    random = np.random.default_rng(seed)
    made = world(in_order=False)
    who = Clients(made, np.random.default_rng(1))
    chosen: tuple[tuple[Candidate, ...], ...] = ()
    for _ in range(6):
        squids = random.permutation(8)[:7]
        km = np.sort(
            random.choice([0.0, 80.0, 200.0, 500.0, 900.0, 1500.0, 3000.0, 6000.0], 7, replace=False)
        )
        answer = Told(squids[None, :], km[None, :])
        who.take(np.array([0]), answer, HEALTHY)
        candidates = [_candidate(made, int(squid), float(far)) for squid, far in zip(squids, km, strict=True)]
        verdicts = {one.place: Verdict(Outcome.GOOD, "", 0.01) for one in candidates}
        known = {member.place for group in chosen for member in group}
        missing = known - verdicts.keys()
        candidates += [
            Candidate(place, Source.REMEMBERED, str(place), None, domain="")
            for place in sorted(missing, key=str)
        ]
        verdicts |= {place: Verdict(Outcome.GOOD, "", 0.01) for place in missing}
        decision = decide(Situation(candidates, verdicts, chosen, 2, answered=True, node="n", now=0.0))
        chosen = decision.groups
        used = [int(member.squid) for member in decision.members]
        assert sorted(who.chain[0].tolist()) == sorted(used)


def _candidate(made: World, squid: int, km: float) -> Candidate:
    place = HostPort(f"192.0.2.{squid + 1}", 3128)
    return Candidate(place, Source.SERVER, str(squid), km, domain=str(made.squid_site[squid]))
