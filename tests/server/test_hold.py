"""Rules of the hold: when silence is believed, and when too many fall silent to be true."""

import random
from dataclasses import replace

import pytest

from shoal_common.heartbeat import Heartbeat
from shoal_server.hold import Hearing, HoldRules, awaits_check, improbable, listen
from shoal_server.squid import LivenessRules, Reach, Squid, Verification

LIVENESS = LivenessRules(suspect_after=90.0, dead_after=180.0)
RULES = HoldRules(cap=900.0)
NOW = 1_000_000.0
GOOD = Verification(Reach.GLOBAL, "served", checked=NOW - 2000)


def squid(number: int, silent: float, verification: Verification = GOOD) -> Squid:
    address = f"198.51.{number // 250}.{number % 250 + 1}"
    beat = Heartbeat(f"u{number}", f"sq{number}.example.org", 3128, NOW - silent, 10.0, public_ip=address)
    return Squid(beat, NOW - 9000, NOW - silent, 10.0, verification)


def fleet(*silences: float) -> list[Squid]:
    return [squid(number, silent) for number, silent in enumerate(silences)]


def test_silence_is_not_believed_before_we_have_listened_for_as_long() -> None:
    hearing = Hearing().after(True, NOW)
    assert not hearing.believes_silence(NOW + 179, 180)
    assert hearing.believes_silence(NOW + 180, 180)


def test_a_broken_link_starts_the_listening_anew() -> None:
    hearing = Hearing().after(True, NOW).after(False, NOW + 500).after(True, NOW + 501)
    assert not hearing.believes_silence(NOW + 600, 180)


@pytest.mark.parametrize("total", [1, 2, 3, 10, 100, 5000])
def test_a_single_death_never_causes_a_hold(total: int) -> None:
    assert not improbable(1, total, RULES)


@pytest.mark.parametrize("total", [2, 3, 10, 100, 5000])
def test_the_silence_of_half_the_fleet_always_does(total: int) -> None:
    assert improbable(max(2, -(-total // 2)), total, RULES)


@pytest.mark.parametrize(("total", "from_here_on"), [(2, 2), (10, 3), (100, 8), (1000, 35)])
def test_how_many_silent_squids_are_too_many_grows_slower_than_the_fleet(
    total: int, from_here_on: int
) -> None:
    assert not improbable(from_here_on - 1, total, RULES)
    assert improbable(from_here_on, total, RULES)


def test_a_squid_that_is_suspect_does_not_go() -> None:
    silence = listen(fleet(179, 5, 5, 5), NOW, LIVENESS, RULES)
    assert silence.overdue == 1
    assert silence.gone == ()


def test_a_dead_squid_goes_when_its_time_is_up() -> None:
    silence = listen(fleet(181, 5, 5, 5), NOW, LIVENESS, RULES)
    assert silence.gone == (squid(0, 181).id,)
    assert not silence.held


def test_nobody_goes_while_half_of_the_fleet_is_silent_together() -> None:
    silence = listen(fleet(*[200] * 5, *[5] * 5), NOW, LIVENESS, RULES)
    assert silence.held
    assert silence.gone == ()


def test_a_held_squid_goes_once_a_direct_check_fails() -> None:
    failed = Verification(Reach.GLOBAL, "refused the connection", checked=NOW - 50, failures=1)
    squids = [squid(0, 200, failed), *fleet(*[200] * 5)[1:]]
    assert listen(squids, NOW, LIVENESS, RULES).gone == (squids[0].id,)


def test_a_failure_from_before_the_silence_releases_nobody() -> None:
    failed = Verification(Reach.GLOBAL, "did not answer", checked=NOW - 150, failures=1)
    squids = [squid(number, 200, failed) for number in range(5)]
    assert listen(squids, NOW, LIVENESS, RULES).gone == ()


def test_a_check_that_could_not_judge_releases_nobody() -> None:
    unjudged = Verification(Reach.GLOBAL, "no origin could be reached to check it by", checked=NOW - 50)
    squids = [squid(number, 200, unjudged) for number in range(5)]
    assert listen(squids, NOW, LIVENESS, RULES).gone == ()


def test_the_cap_ends_a_hold_whatever_happens() -> None:
    silence = listen(fleet(*[180 + 900 + 1] * 5), NOW, LIVENESS, RULES)
    assert len(silence.gone) == 5


def test_those_that_left_in_order_are_not_in_the_count() -> None:
    """Nine of ten said goodbye and are off the list; the silence of the tenth is a single death."""
    silence = listen(fleet(181), NOW, LIVENESS, RULES)
    assert len(silence.gone) == 1


def test_an_overdue_squid_is_to_be_tried_once() -> None:
    assert awaits_check(squid(0, 100).times, NOW, LIVENESS)
    tried = replace(squid(0, 100), verification=replace(GOOD, checked=NOW - 5))
    assert not awaits_check(tried.times, NOW, LIVENESS)
    assert not awaits_check(squid(0, 80).times, NOW, LIVENESS)


def test_a_squid_that_stays_silent_is_tried_again_before_it_could_be_dead_for_long() -> None:
    tried = replace(squid(0, 400), verification=replace(GOOD, checked=NOW - 91))
    assert awaits_check(tried.times, NOW, LIVENESS)
    assert not awaits_check(replace(tried, verification=replace(GOOD, checked=NOW - 89)).times, NOW, LIVENESS)


@pytest.mark.parametrize("total", [5, 30, 100, 1000])
def test_false_holds_are_rarer_than_one_in_a_hundred(total: int) -> None:
    """Ordinary life: each squid is silent with the usual share's probability, independently."""
    dice = random.Random(total)
    windows = 2000
    silent = [sum(dice.random() < RULES.usual_share for _ in range(total)) for _ in range(windows)]
    assert sum(improbable(count, total, RULES) for count in silent) < windows / 100


@pytest.mark.parametrize(
    ("total", "share", "limit"), [(5, 0.7, 0.2), (30, 0.3, 0.01), (100, 0.2, 0.01), (1000, 0.1, 0.01)]
)
def test_false_drops_are_rare_and_rarer_in_larger_fleets(total: int, share: float, limit: float) -> None:
    """A part of the network is cut off: each squid is silenced with probability `share`.

    With five squids, two silent ones are taken for two deaths.
    """
    dice = random.Random(total)
    windows = 2000
    silent = [sum(dice.random() < share for _ in range(total)) for _ in range(windows)]
    dropped = sum(count > 1 and not improbable(count, total, RULES) for count in silent)
    assert dropped < windows * limit
