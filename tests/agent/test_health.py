"""The rise/fall rules, and who is to blame for a failed probe."""

import pytest

from shoal_agent.health import Finding, Health, HealthRules, blames_squid
from shoal_common.probe import Outcome, Verdict

RULES = HealthRules(rise=2, fall=3)


def after(*findings: bool) -> Health:
    health = Health()
    for number, good in enumerate(findings):
        health = health.after(Finding(good, f"finding {number}"), RULES)
    return health


def verdict(outcome: Outcome) -> Verdict:
    return Verdict(outcome, "", 0.1)


def test_before_the_first_finding_nothing_is_known() -> None:
    assert Health().healthy is None


@pytest.mark.parametrize("good", [True, False])
def test_the_first_finding_decides_alone(good: bool) -> None:
    assert after(good).healthy is good


def test_fewer_bad_findings_than_fall_change_nothing() -> None:
    assert after(True, False, False).healthy is True


def test_as_many_bad_findings_as_fall_make_it_bad() -> None:
    assert after(True, False, False, False).healthy is False


def test_a_good_finding_in_between_starts_the_count_anew() -> None:
    assert after(True, False, False, True, False, False).healthy is True


def test_a_bad_squid_is_good_again_after_rise_good_findings() -> None:
    assert after(False, True).healthy is False
    assert after(False, True, True).healthy is True


@pytest.mark.parametrize("findings", [(True, True), (True, False, True), (False, True, True)])
def test_a_state_that_the_latest_finding_agrees_with_is_settled(findings: tuple[bool, ...]) -> None:
    assert after(*findings).settled


def test_a_contradicted_state_is_not_settled() -> None:
    assert after(True).settled
    assert not after(True, False).settled
    assert not Health().settled


def test_the_reason_is_that_of_the_latest_finding() -> None:
    assert after(True, False).reason == "finding 1"


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.GOOD])
def test_a_failure_that_the_origin_does_not_share_is_the_squids(outcome: Outcome) -> None:
    assert blames_squid(verdict(outcome), verdict(Outcome.GOOD))


def test_a_probe_that_did_not_fail_blames_nobody() -> None:
    assert not blames_squid(verdict(Outcome.GOOD), verdict(Outcome.GOOD))


@pytest.mark.parametrize("straight", [each for each in Outcome if each is not Outcome.GOOD])
def test_a_failure_that_the_origin_shares_is_not_the_squids(straight: Outcome) -> None:
    assert not blames_squid(verdict(Outcome.UPSTREAM), verdict(straight))
