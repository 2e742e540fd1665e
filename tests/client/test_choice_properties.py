"""What holds for every choice, whatever the squids."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shoal_client.candidates import Candidate, Source
from shoal_client.choice import RETURN_SECONDS, Groups, Preference, Situation, decide, placed, sluggish, stale
from shoal_client.remarks import remarks
from shoal_common.hosts import HostPort
from shoal_common.probe import Outcome, Verdict

NOW = 1.7e9


def _candidate(
    host: int,
    squid: int,
    source: Source,
    distance: float | None,
    domain: str,
    heard: bool,
    lapsed: bool,
) -> Candidate:
    place = HostPort(f"192.0.2.{host}", 3128)
    local = domain == "own site"
    heard = heard and source is not Source.SERVER
    unlisted = NOW - 300 if source is Source.REMEMBERED and not heard else None
    return Candidate(
        place, source, f"squid{squid}", distance, local, heard, domain, unlisted=unlisted, lapsed=lapsed
    )


_VERDICTS = st.one_of(
    st.just(Verdict(Outcome.UNREACHABLE, "did not answer", 3.0)),
    st.builds(
        Verdict,
        st.just(Outcome.GOOD),
        st.just("served it"),
        st.sampled_from([0.01, 0.02, 0.3, 1.5]),
        st.sampled_from([None, NOW - 60, NOW - 90000, NOW - 7200, NOW + 90000]),
    ),
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    candidates = draw(
        st.lists(
            st.builds(
                _candidate,
                st.integers(1, 12),
                st.integers(1, 8),
                st.sampled_from(Source),
                st.sampled_from([None, 0.0, 3.0, 40.0, 60.0, 400.0, 5000.0, 100_400.0]),
                st.sampled_from(["own site", "here", "there", "far"]),
                st.booleans(),
                st.booleans(),
            ),
            max_size=9,
            unique_by=lambda candidate: candidate.place,
        )
    )
    verdicts = {candidate.place: draw(_VERDICTS) for candidate in candidates}
    answered = any(candidate.source is Source.SERVER for candidate in candidates)
    members = draw(st.lists(st.sampled_from(candidates), max_size=3, unique=True)) if candidates else []
    present: Groups = tuple((replace(member, source=Source.REMEMBERED),) for member in members)
    return Situation(candidates, verdicts, present, draw(st.integers(1, 4)), answered, "node", NOW)


@st.composite
def returning(draw: st.DrawFn) -> Situation:
    """Some of them have long preferred what they would choose anew."""
    situation = draw(situations())
    anew = placed(decide(replace(situation, present=())).groups)
    return replace(situation, preferred=Preference(anew, NOW - draw(st.integers(0, 2000))))


@given(st.one_of(situations(), returning()))
def test_only_good_squids_are_used_none_twice_and_none_too_many(situation: Situation) -> None:
    decision = decide(situation)
    places = [member.place for member in decision.members]
    assert len(set(places)) == len(places)
    assert all(situation.verdicts[place].good for place in places)
    assert decision.kept or len(places) <= max(situation.wanted, len(situation.present))
    assert all(decision.groups)


@given(st.one_of(situations(), returning()))
def test_a_second_run_that_finds_the_same_changes_nothing(situation: Situation) -> None:
    first = decide(situation)
    again = replace(situation, present=first.groups, preferred=first.preferred)
    assert [[m.place for m in group] for group in decide(again).groups] == [
        [m.place for m in group] for group in first.groups
    ]


@given(returning())
def test_what_has_not_been_preferred_for_long_moves_nobody(situation: Situation) -> None:
    new = replace(situation, preferred=None)
    early = situation.preferred is not None and NOW - situation.preferred.since < RETURN_SECONDS
    if early or not situation.answered:
        assert decide(situation).groups == decide(new).groups


@given(returning())
def test_who_returns_has_what_it_would_choose_anew(situation: Situation) -> None:
    decision, new = decide(situation), replace(situation, preferred=None)
    if decision.groups != decide(new).groups:
        assert decision.groups == decide(replace(new, present=())).groups
        assert len(decision.members) >= len({member.place for group in situation.present for member in group})


@given(st.one_of(situations(), returning()))
def test_something_good_that_may_be_used_is_used(situation: Situation) -> None:
    assert bool(decide(situation).groups) == any(
        candidate.usable or candidate.place in {m.place for group in situation.present for m in group}
        for candidate in situation.good
    )


@given(st.one_of(situations(), returning()))
def test_two_failure_domains_are_used_if_two_are_good_and_free(situation: Situation) -> None:
    decision = decide(situation)
    by_squid: dict[str, Candidate] = {}
    lame = sluggish(situation) | stale(situation)
    for candidate in sorted(situation.usable, key=lambda candidate: candidate.place in lame):
        by_squid.setdefault(candidate.squid, candidate)
    domains = {squid.domain for squid in by_squid.values() if squid.distance != 100_400.0}
    if not decision.kept and situation.wanted > 1 and len(domains) > 1 and not situation.present:
        assert len({member.domain for member in decision.members}) > 1


@given(st.one_of(situations(), returning()))
def test_every_candidate_has_a_reason(situation: Situation) -> None:
    decision = decide(situation)
    told = remarks(situation, decision)
    assert [remark.candidate for remark in told] == list(situation.candidates)
    assert {remark.candidate.place for remark in told if remark.taken} == {m.place for m in decision.members}
    assert all(remark.reason for remark in told)
