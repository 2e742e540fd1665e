"""A squid as bytes is the same squid."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.heartbeat import AgentState, CacheType, Metrics, Upstream
from shoal_server.packed import Packed, Roster
from shoal_server.squid import UNKNOWN_OWNER, Owner, Reach, Squid, Verification
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, beat, listed, squid

_NUMBERS = st.floats(0, 1e9)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
_BEATS = st.builds(
    beat,
    uuid=_TEXTS,
    hostname=_TEXTS,
    port=st.integers(1, 65535),
    timestamp=_NUMBERS,
    load=_NUMBERS,
    private_ip=st.none() | st.just("10.0.0.1"),
    ipv6=st.none() | st.just("2001:db8::1"),
    max_load=st.none() | _NUMBERS,
    cache_type=st.sampled_from(CacheType),
    upstream=st.sampled_from(Upstream),
    state=st.sampled_from(AgentState),
    interval=st.none() | _NUMBERS,
    agent=st.none() | _TEXTS,
    metrics=st.builds(
        Metrics, requests_per_s=st.none() | _NUMBERS, fds_used=st.none() | st.integers(0, 2**40)
    ),
)
_CHECKS = st.builds(
    Verification,
    st.sampled_from(Reach),
    _TEXTS,
    st.none() | _NUMBERS,
    _NUMBERS,
    st.integers(0, 1000),
    st.lists(st.sampled_from(["cvmfs", "frontier"]), unique=True).map(tuple),
)
_DERIVED = st.floats(-1, 8, width=32)
_SQUIDS = st.builds(Squid, _BEATS, _NUMBERS, _NUMBERS, _NUMBERS, _CHECKS, st.booleans(), *[_DERIVED] * 6)


def packed(one: Squid) -> Packed:
    return Packed.of(one, VICTORIA, UNKNOWN_OWNER)


@given(_SQUIDS)
def test_a_squid_is_unpacked_as_it_was(one: Squid) -> None:
    assert packed(one).squid == one


@given(_SQUIDS)
def test_its_times_are_told_without_the_rest(one: Squid) -> None:
    assert packed(one).times == one.times


@pytest.mark.parametrize(
    "after",
    [
        replace(squid(), seen=NOW + 30, load=7.0, pressure=0.5),
        squid(load=99.0, timestamp=NOW + 30, metrics=Metrics(requests_per_s=3.0)),
        squid(replace(GOOD, checked=NOW + 30, due=NOW + 330, failures=1, reason="slow")),
        squid(uuid="another", agent="shoal-2.0.0", interval=15.0),
    ],
)
def test_loads_times_words_and_who_speaks_decide_nothing_about_who_is_told(after: Squid) -> None:
    assert packed(after).stands_as(packed(squid()))


@pytest.mark.parametrize(
    "after",
    [
        squid(hostname="other.example.org"),
        squid(private_ip="10.0.0.1"),
        squid(port=3129),
        squid(max_load=1.0),
        squid(state=AgentState.DRAINING),
        replace(squid(), drained=True),
        squid(replace(GOOD, reach=Reach.LOCAL)),
        squid(replace(GOOD, lacks=("cvmfs",))),
        squid(replace(GOOD, checked=None)),
    ],
)
def test_what_else_it_says_and_what_checks_found_does(after: Squid) -> None:
    assert not packed(after).stands_as(packed(squid()))


def test_so_do_its_place_and_its_owner() -> None:
    one = squid()
    before = packed(one)
    assert not Packed.of(one, GENEVA, UNKNOWN_OWNER).stands_as(before)
    assert not Packed.of(one, VICTORIA, Owner(asn=271)).stands_as(before)


def test_what_squids_have_in_common_is_there_once() -> None:
    one, other = packed(squid()), packed(squid(public_ip="192.0.2.2", uuid="b"))
    assert one.kind is other.kind


def test_a_roster_holds_the_squids_in_order() -> None:
    found = [listed(VICTORIA), listed(GENEVA, public_ip="192.0.2.2")]
    roster = Roster(tuple(Packed.of(one.squid, one.place, one.owner) for one in found))
    assert list(roster) == found
    assert (roster[1], list(roster[1:]), len(roster)) == (found[1], found[1:], 2)


def test_a_roster_tells_the_squids_of_certain_times() -> None:
    late, early = replace(squid(), seen=NOW + 1), squid(public_ip="192.0.2.2")
    roster = Roster((packed(late), packed(early)))
    assert list(roster.where(lambda times: times.seen > NOW)) == [late]
