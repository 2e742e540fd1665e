"""Which squids a requester is told, in what order, and why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.heartbeat import AgentState, CacheType, Metrics, Upstream
from shoal_server.lookup import seat
from shoal_server.ranking import (
    ASSUMED_KM,
    Policy,
    Ranked,
    Relation,
    Requester,
    exclusion,
    great_circle_km,
    relation,
    secrecy,
)
from shoal_server.ranking import (
    ranked as terms,
)
from shoal_server.rendezvous import spot
from shoal_server.seat import Wanted
from shoal_server.squid import Listed, Owner, Place, Reach, Verification, pressure
from tests.common.properties import PROPERTY
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, board_of, listed

POLICY = Policy()
VISITOR = Requester("203.0.113.50", VICTORIA)
NOWHERE = Requester("203.0.113.50", None)
MELBOURNE = Place(-37.8, 144.96, site="unimelb")
LOCAL = Verification(Reach.LOCAL, "refused with 403 ERR_ACCESS_DENIED", checked=NOW)
FAILED = Verification(Reach.FAILED, "refused the connection", checked=NOW)
UNJUDGED = Verification(Reach.UNVERIFIED, "no origin could be reached to check it by", checked=NOW)


def by(address: str, place: Place | None = None, **more: Any) -> Listed:
    return listed(place, public_ip=address, **more)


def rank(
    requester: Requester, squids: list[Listed], policy: Policy = POLICY, count: int = 100
) -> list[Ranked]:
    """What the requester is told."""
    board = board_of(squids, verify=policy.verify)
    also = board.draining(requester.uses, requester.service)
    plan = board.plan(seat(requester, board), Wanted(requester.service, policy.types), count, also)
    told = plan.told(spot(requester.address), count)
    return [
        terms(
            requester,
            board.listed[plan.rows[n]],
            verify=policy.verify,
            group=plan.numbers[n],
            crowded=n >= plan.first_late,
        )
        for n in told
    ]


def order(
    requester: Requester, squids: list[Listed], policy: Policy = POLICY, count: int = 100
) -> list[str | None]:
    return [one.squid.public_address for one in rank(requester, squids, policy, count)]


def workers(count: int) -> list[Requester]:
    return [Requester(f"198.51.{number // 250}.{number % 250 + 1}", VICTORIA) for number in range(count)]


# --- distance and load ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [
        (VICTORIA, VICTORIA, 0),
        (Place(40.64, -73.78), Place(51.47, -0.45), 5540),
        (Place(0, 0), Place(0, 180), 20015),
        (Place(90, 0), Place(-90, 77), 20015),
        (Place(10, 179.5), Place(10, -179.5), 109.5),
    ],
)
def test_the_distance_is_along_the_great_circle(a: Place, b: Place, km: float) -> None:
    assert great_circle_km(a, b) == pytest.approx(km, rel=0.005)
    assert great_circle_km(b, a) == great_circle_km(a, b)


@given(
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)), st.tuples(st.floats(-90, 90), st.floats(-180, 180))
)
@PROPERTY
def test_no_distance_is_longer_than_half_the_globe(a: tuple[float, float], b: tuple[float, float]) -> None:
    assert 0 <= great_circle_km(Place(*a), Place(*b)) <= 20016


def test_a_quarter_of_load_on_the_local_squid_does_not_lose_to_an_idle_one_far_away() -> None:
    near = by("192.0.2.1", VICTORIA, load=25_000.0)
    far = by("192.0.2.2", GENEVA, load=0.0)
    assert order(VISITOR, [far, near]) == ["192.0.2.1", "192.0.2.2"]


def test_the_nearest_comes_first() -> None:
    squids = [by("192.0.2.1", MELBOURNE), by("192.0.2.2", GENEVA), by("192.0.2.3", VICTORIA)]
    assert order(VISITOR, squids) == ["192.0.2.3", "192.0.2.2", "192.0.2.1"]


def test_the_terms_of_a_rank_add_up() -> None:
    (one,) = rank(VISITOR, [by("192.0.2.1", GENEVA, load=85_000.0)], POLICY)
    assert one.distance_km == great_circle_km(VICTORIA, GENEVA)
    assert (one.load_km, one.doubt_km, one.group) == (0.0, 0.0, 0)
    assert one.effective_km == pytest.approx(one.distance_km + 100)


def test_a_squid_is_not_told_for_a_service_that_it_failed_to_deliver() -> None:
    partial = replace(GOOD, lacks=("frontier",), reason="served; not frontier: refused with 403")
    one = listed(VICTORIA, partial)
    assert exclusion(replace(NOWHERE, service=Upstream.CVMFS), one, POLICY) is None
    assert "not frontier" in str(exclusion(replace(NOWHERE, service=Upstream.FRONTIER), one, POLICY))


def test_an_organisation_is_told_of_its_own_local_squids_alone() -> None:
    own = Owner(asn=16)
    local = replace(listed(VICTORIA, replace(GOOD, reach=Reach.LOCAL)), owner=own)
    assert exclusion(replace(NOWHERE, owner=own), local, POLICY) is None
    assert exclusion(replace(NOWHERE, owner=Owner(asn=17)), local, POLICY)
    assert exclusion(NOWHERE, replace(local, owner=Owner()), POLICY)


def test_a_draining_squid_is_told_to_those_alone_who_use_it() -> None:
    one = listed(VICTORIA, state=AgentState.DRAINING)
    assert exclusion(NOWHERE, one, POLICY)
    assert exclusion(replace(NOWHERE, uses=frozenset({"192.0.2.1:3128"})), one, POLICY) is None


def test_an_unknown_place_still_gets_an_answer() -> None:
    squids = [by("192.0.2.1", GENEVA), by("192.0.2.2", None)]
    ranked = rank(NOWHERE, squids, POLICY)
    assert {one.effective_km for one in ranked} == {ranked[0].effective_km}
    assert ranked[0].effective_km >= ASSUMED_KM[Relation.OTHER]
    assert [one.distance_km for one in ranked] == [None, None]


def test_a_squid_at_an_unknown_place_comes_after_those_that_are_near() -> None:
    assert order(VISITOR, [by("192.0.2.1", None), by("192.0.2.2", VICTORIA)]) == ["192.0.2.2", "192.0.2.1"]


# --- relation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requester", "squid", "tie"),
    [
        (Requester("192.0.2.1", None), by("192.0.2.1"), Relation.LAN),
        (Requester("10.0.0.1", None), by("192.0.2.1", None, private_ip="10.0.0.1"), Relation.LAN),
        (Requester("10.0.0.1", None), by("192.0.2.1", GENEVA, private_ip="10.0.0.1"), Relation.OTHER),
        (Requester("10.0.0.1", VICTORIA), by("192.0.2.1", None, private_ip="10.0.0.1"), Relation.OTHER),
        (Requester("10.0.0.1", VICTORIA), by("192.0.2.1", GENEVA, private_ip="10.0.0.1"), Relation.OTHER),
        (Requester("192.0.2.1", None), listed(public_ip=None, external_ip="192.0.2.1"), Relation.LAN),
        (Requester("10.0.0.9", None), listed(public_ip=None, private_ip="10.0.0.1"), Relation.LAN),
        (
            Requester("10.0.0.9", None),
            listed(verification=LOCAL, public_ip=None, private_ip="10.0.0.1"),
            Relation.OTHER,
        ),
        (Requester("203.0.113.5", VICTORIA), by("192.0.2.1", VICTORIA), Relation.SITE),
        (Requester("203.0.113.5", VICTORIA), by("192.0.2.1", GENEVA), Relation.OTHER),
        (Requester("203.0.113.5", None), by("192.0.2.1", None), Relation.OTHER),
        (Requester("203.0.113.5", Place(1, 2)), by("192.0.2.1", Place(1, 2)), Relation.OTHER),
        (
            Requester("203.0.113.5", Place(1, 2, site="")),
            by("192.0.2.1", Place(1, 2, site="")),
            Relation.OTHER,
        ),
        (Requester("10.0.0.9", None), by("192.0.2.1", private_ip="10.0.0.1"), Relation.OTHER),
    ],
)
def test_requester_and_squid_belong_together_only_by_what_is_known(
    requester: Requester, squid: Listed, tie: Relation
) -> None:
    assert relation(requester, squid) is tie


@pytest.mark.parametrize(
    ("requester", "squid", "together", "apart"),
    [
        (Owner(asn=16), Owner(asn=16), 50, 1_050),
        (Owner(region="aws us-east-1"), Owner(region="aws us-east-1"), 50, 150),
        (Owner(networks=frozenset({"LHCONE"})), Owner(networks=frozenset({"LHCONE"})), 75, 10_075),
        (Owner(asn=16), Owner(asn=513), 100, 10_100),
    ],
)
def test_the_closer_the_tie_the_less_it_costs_where_places_are_known_and_where_they_are_not(
    requester: Owner, squid: Owner, together: float, apart: float
) -> None:
    here = Place(48.46, -123.31)
    near = rank(
        Requester("203.0.113.5", here, owner=requester), [replace(by("192.0.2.1", here), owner=squid)]
    )
    assert near[0].effective_km == together
    unknown = rank(Requester("203.0.113.5", None, owner=requester), [replace(by("192.0.2.1"), owner=squid)])
    assert unknown[0].effective_km == apart


# --- exclusion --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requester", "policy", "squid", "why"),
    [
        (VISITOR, POLICY, by("192.0.2.1"), None),
        (
            Requester("203.0.113.5", None, Upstream.FRONTIER),
            POLICY,
            by("192.0.2.1", upstream=Upstream.CVMFS),
            "it serves cvmfs alone",
        ),
        (
            Requester("203.0.113.5", None, Upstream.CVMFS),
            POLICY,
            by("192.0.2.1", upstream=Upstream.CVMFS),
            None,
        ),
        (
            Requester("203.0.113.5", None, Upstream.CVMFS),
            POLICY,
            by("192.0.2.1", upstream=Upstream.BOTH),
            None,
        ),
        (VISITOR, POLICY, by("192.0.2.1", upstream=Upstream.CVMFS), None),
        (
            VISITOR,
            Policy(types=frozenset({CacheType.SQUID})),
            by("192.0.2.1", cache_type=CacheType.VARNISH),
            "it is a varnish, which this kind of answer does not list",
        ),
        (
            VISITOR,
            POLICY,
            by("192.0.2.1", verification=FAILED),
            "its last check failed: refused the connection",
        ),
        (VISITOR, POLICY, by("192.0.2.1", verification=Verification()), "it has not been checked yet"),
        (VISITOR, Policy(verify=False), by("192.0.2.1", verification=Verification()), None),
        (VISITOR, POLICY, by("192.0.2.1", verification=UNJUDGED), None),
        (
            VISITOR,
            POLICY,
            listed(public_ip=None, private_ip="10.0.0.1"),
            "it has a private address only, and the requester is not on its site",
        ),
        (VISITOR, POLICY, listed(VICTORIA, public_ip=None, private_ip="10.0.0.1"), None),
        (
            VISITOR,
            POLICY,
            by("192.0.2.1", verification=LOCAL),
            "it serves its own site alone: refused with 403 ERR_ACCESS_DENIED",
        ),
        (VISITOR, POLICY, by("192.0.2.1", VICTORIA, verification=LOCAL), None),
        (VISITOR, POLICY, listed(public_ip=None, ipv6="2001:db8::1"), None),
    ],
)
def test_a_squid_is_left_out_for_a_reason_that_is_a_sentence(
    requester: Requester, policy: Policy, squid: Listed, why: str | None
) -> None:
    assert exclusion(requester, squid, policy) == why
    assert bool(rank(requester, [squid], policy)) is (why is None)


@pytest.mark.parametrize("verification", [GOOD, LOCAL, FAILED, UNJUDGED, Verification()])
@pytest.mark.parametrize("service", Upstream)
@pytest.mark.parametrize(
    "own", [{}, {"public_ip": None, "private_ip": "10.0.0.1"}, {"upstream": Upstream.CVMFS}]
)
def test_draining_is_the_reason_only_where_who_uses_the_squid_is_told_of_it(
    verification: Verification, service: Upstream, own: Mapping[str, Any]
) -> None:
    draining = listed(GENEVA, verification, state=AgentState.DRAINING, **own)
    stranger = replace(VISITOR, service=service)
    user = replace(stranger, uses=draining.squid.endpoints)
    why = exclusion(stranger, draining, POLICY)
    assert why
    assert why.startswith("it is draining") is bool(rank(user, [draining]))
    assert exclusion(user, draining, POLICY) == (None if why.startswith("it is draining") else why)


def test_an_unchecked_private_squid_is_a_secret_too() -> None:
    squid = listed(verification=Verification(), public_ip=None, private_ip="10.0.0.1")
    assert secrecy(VISITOR, squid, verify=True)
    assert secrecy(Requester("203.0.113.5", GENEVA), replace(squid, place=GENEVA), verify=True) is None


def test_without_verification_what_checks_once_found_counts_for_nothing() -> None:
    for verification in (FAILED, LOCAL, UNJUDGED):
        assert exclusion(VISITOR, listed(VICTORIA, verification), Policy(verify=False)) is None


def test_a_squid_that_could_not_be_judged_comes_after_all_that_could() -> None:
    near = by("192.0.2.1", VICTORIA, verification=UNJUDGED)
    far = by("192.0.2.2", MELBOURNE)
    assert order(VISITOR, [near, far]) == ["192.0.2.2", "192.0.2.1"]


def test_where_nothing_is_verified_the_nearest_comes_first_all_the_same() -> None:
    squids = [
        by(f"192.0.2.{n}", place, verification=Verification()) for n, place in enumerate([GENEVA, VICTORIA])
    ]
    assert order(VISITOR, squids, Policy(verify=False)) == ["192.0.2.1", "192.0.2.0"]


def test_where_nothing_is_verified_a_squid_that_could_not_be_judged_is_as_good_as_any() -> None:
    near = by("192.0.2.1", VICTORIA, verification=UNJUDGED)
    far = by("192.0.2.2", MELBOURNE)
    assert order(VISITOR, [far, near], Policy(verify=False)) == ["192.0.2.1", "192.0.2.2"]


# --- groups -----------------------------------------------------------------------------------------


def test_nearly_equal_squids_form_a_group_and_groups_count_from_the_nearest() -> None:
    squids = [by("192.0.2.1", VICTORIA), by("192.0.2.2", GENEVA), by("192.0.2.3", VICTORIA, load=1000.0)]
    ranked = rank(VISITOR, squids, POLICY)
    assert [one.group for one in ranked] == [0, 0, 1]


@pytest.mark.parametrize(("tier", "verification"), [(0, GOOD), (1, GOOD), (0, UNJUDGED), (1, UNJUDGED)])
def test_a_lower_preference_and_a_doubt_make_no_group_wider(tier: int, verification: Verification) -> None:
    squids = [
        listed(Place(latitude, -123.31, tier=tier), verification, public_ip=f"192.0.2.{number}")
        for number, latitude in enumerate([48.46, 48.86, 49.36])
    ]
    assert sorted((one.squid.address, one.group) for one in rank(VISITOR, squids)) == [
        ("192.0.2.0", 0),
        ("192.0.2.1", 0),
        ("192.0.2.2", 1),
    ]


def test_requesters_are_spread_over_a_group_of_equals() -> None:
    equals = [by(f"192.0.2.{number}", VICTORIA) for number in range(4)]
    first = Counter(order(worker, equals)[0] for worker in workers(2000))
    assert len(first) == 4
    assert all(400 <= count <= 600 for count in first.values())


def test_the_spread_is_in_proportion_to_capacity() -> None:
    small = by("192.0.2.1", VICTORIA, max_load=100_000.0, load=0.0)
    large = by("192.0.2.2", VICTORIA, max_load=300_000.0, load=0.0)
    first = Counter(order(worker, [small, large])[0] for worker in workers(2000))
    assert first["192.0.2.2"] == pytest.approx(1500, abs=100)


def test_while_all_have_room_load_moves_nobody() -> None:
    idle = [by(f"192.0.2.{number}", VICTORIA, load=0.0) for number in range(3)]
    busy = [by(f"192.0.2.{number}", VICTORIA, load=40_000.0 * number) for number in range(3)]
    assert all(order(worker, idle) == order(worker, busy) for worker in workers(200))


def test_a_new_squid_starts_slowly_since_its_cache_is_cold() -> None:
    equals = [by(f"192.0.2.{number}", VICTORIA) for number in range(4)]
    old = [replace(one, squid=replace(one.squid, created=NOW - 86400)) for one in equals]
    new = replace(old[0], squid=replace(old[0].squid, created=NOW - 30))
    first = Counter(order(worker, [new, *old[1:]])[0] for worker in workers(2000))
    assert 20 <= first["192.0.2.0"] <= 120
    assert Counter(order(worker, equals)[0] for worker in workers(2000))["192.0.2.0"] > 400


def test_what_is_scarcest_counts() -> None:
    busy = Metrics(fds_used=900, fds_max=1000)
    assert pressure(busy) == 0.9
    assert pressure(Metrics(cpu_share=1.0)) == 0.0
    assert pressure(Metrics(cpu_share=1.0, cpu_cores=4)) == 0.25
    assert pressure(Metrics(median_service_ms=1000.0)) == 0.5
    assert pressure(Metrics()) == 0.0


# --- money and preference ---------------------------------------------------------------------------

NEARBY = Place(48.5, -123.4)
METERED = Owner(region="aws us-east-1", metered=True)


def test_no_metered_path_is_taken_while_a_free_one_has_room() -> None:
    near = replace(by("192.0.2.1", NEARBY), owner=METERED)
    far = by("192.0.2.2", MELBOURNE, load=90_000.0)
    assert order(VISITOR, [near, far]) == ["192.0.2.2", "192.0.2.1"]


def test_the_farthest_and_least_wanted_free_squid_comes_before_and_in_no_group_with_a_metered_one() -> None:
    near = replace(by("192.0.2.1", NEARBY), owner=METERED)
    lowest = replace(MELBOURNE, site="depot", tier=9)
    free = [by("192.0.2.2", lowest), listed(lowest, UNJUDGED, public_ip="192.0.2.3")]
    for last in range(1, 40):
        found = rank(replace(VISITOR, address=f"203.0.113.{last}"), [near, *free])
        assert [one.squid.address for one in found] == ["192.0.2.2", "192.0.2.3", "192.0.2.1"]
        assert len({one.group for one in found}) == 3


def test_a_second_failure_domain_is_not_worth_money_while_free_squids_will_do() -> None:
    site = [by(f"192.0.2.{number}", GENEVA) for number in range(2, 8)]
    metered = replace(by("192.0.2.1", NEARBY), owner=METERED)
    assert len(order(VISITOR, [metered, *site], count=3)) == 3
    assert "192.0.2.1" not in order(VISITOR, [metered, *site], count=3)
    free = by("192.0.2.9", MELBOURNE)
    assert order(VISITOR, [metered, free, *site], count=3)[-1] == "192.0.2.9"


def test_whoever_pays_for_all_squids_is_told_two_failure_domains_all_the_same() -> None:
    site = [replace(by(f"192.0.2.{number}", GENEVA), owner=METERED) for number in range(2, 8)]
    other = replace(by("192.0.2.1", MELBOURNE), owner=METERED)
    assert order(VISITOR, [other, *site], count=3)[-1] == "192.0.2.1"


@pytest.mark.parametrize("owner", [METERED, Owner()])
def test_who_pays_or_takes_what_nobody_checked_is_told_the_nearest_first_all_the_same(owner: Owner) -> None:
    squids = [replace(by(f"192.0.2.{number}", MELBOURNE), owner=owner) for number in range(2, 8)]
    near = replace(by("192.0.2.1", GENEVA), owner=owner)
    unchecked = [
        replace(one, squid=one.squid.with_verification(Verification(Reach.UNVERIFIED, checked=NOW)))
        for one in (near, *squids)
    ]
    for number in range(20):
        requester = replace(VISITOR, address=f"203.0.113.{number}")
        assert order(requester, [near, *squids])[0] == "192.0.2.1"
        assert order(requester, unchecked)[0] == "192.0.2.1"


def test_a_metered_squid_is_taken_when_the_free_one_is_saturated() -> None:
    near = replace(by("192.0.2.1", NEARBY), owner=METERED)
    full = by("192.0.2.2", VICTORIA)
    full = replace(full, squid=replace(full.squid, takes=0.0, created=NOW - 86_400))
    assert order(VISITOR, [near, full]) == ["192.0.2.1", "192.0.2.2"]


def test_within_its_region_a_metered_squid_costs_nothing() -> None:
    near = replace(by("192.0.2.1", NEARBY), owner=METERED)
    inside = Requester("203.0.113.50", VICTORIA, owner=Owner(region="aws us-east-1"))
    assert order(inside, [near, by("192.0.2.2", GENEVA)]) == ["192.0.2.1", "192.0.2.2"]


def test_of_equals_the_lower_tier_is_taken_first() -> None:
    second = by("192.0.2.1", replace(VICTORIA, tier=1))
    assert order(VISITOR, [second, by("192.0.2.2", VICTORIA)]) == ["192.0.2.2", "192.0.2.1"]


def test_a_requester_gets_the_same_order_each_time() -> None:
    equals = [by(f"192.0.2.{number}", VICTORIA) for number in range(10)]
    assert order(VISITOR, equals) == order(VISITOR, equals[::-1])


def test_a_squid_that_joins_takes_its_share_and_nobody_else_moves() -> None:
    equals = [by(f"192.0.2.{number}", VICTORIA) for number in range(4)]
    more = [*equals, by("192.0.2.99", VICTORIA)]
    moved = 0
    for worker in workers(500):
        before, after = order(worker, equals)[0], order(worker, more)[0]
        assert after in (before, "192.0.2.99")
        moved += after != before
    assert 60 <= moved <= 140


def test_a_squid_that_leaves_moves_its_own_requesters_alone() -> None:
    equals = [by(f"192.0.2.{number}", VICTORIA) for number in range(4)]
    for worker in workers(200):
        before, after = order(worker, equals), order(worker, equals[:-1])
        assert after == [one for one in before if one != "192.0.2.3"]


@given(st.lists(st.floats(0, 2e5), min_size=1, max_size=8), st.integers(0, 255))
@PROPERTY
def test_every_squid_that_is_allowed_is_told_once_and_groups_follow_each_other(
    loads: list[float], last: int
) -> None:
    squids = [
        by(f"192.0.2.{number}", [VICTORIA, GENEVA, None][number % 3], load=load)
        for number, load in enumerate(loads)
    ]
    ranked = rank(Requester(f"203.0.113.{last}", VICTORIA), squids, POLICY)
    assert sorted(one.squid.id for one in ranked) == sorted(one.squid.id for one in squids)
    groups = [one.group for one in ranked]
    assert groups == sorted(groups)
    assert set(groups) == set(range(max(groups) + 1))


@pytest.mark.parametrize("capacity", [1e-300, 1e9])
def test_an_absurd_capacity_breaks_no_lookup(capacity: float) -> None:
    squids = [by("192.0.2.1", VICTORIA, load=1e9, max_load=capacity), by("192.0.2.2", VICTORIA)]
    assert len(rank(VISITOR, squids, POLICY)) == 2


def test_of_no_squids_none_is_told() -> None:
    assert rank(VISITOR, [], POLICY) == []


# --- failure domains --------------------------------------------------------------------------------


def test_the_last_place_goes_to_another_site_if_all_are_of_one() -> None:
    squids = [by(f"192.0.2.{n}", VICTORIA) for n in range(1, 7)] + [by("198.51.100.1", GENEVA)]
    ranked = rank(VISITOR, squids, POLICY)
    told = rank(VISITOR, squids, count=5)
    assert told[:4] == ranked[:4]
    assert told[4].listed.place == GENEVA


@pytest.mark.parametrize(("owner", "spans"), [(Owner(asn=16), True), (Owner(), False)])
def test_squids_at_unknown_places_are_one_failure_domain_if_they_are_known_to_be_in_one_network(
    owner: Owner, spans: bool
) -> None:
    unplaced = [replace(by(f"192.0.2.{n}"), owner=owner) for n in range(1, 7)]
    told = order(NOWHERE, [*unplaced, by("198.51.100.1", replace(GENEVA, tier=2))], count=5)
    assert ("198.51.100.1" in told) is spans


def test_an_answer_that_spans_two_sites_stays_as_it_is() -> None:
    squids = [by("192.0.2.1", VICTORIA), by("198.51.100.1", GENEVA), by("192.0.2.2", VICTORIA)]
    ranked = rank(VISITOR, squids, POLICY)
    assert rank(VISITOR, squids, count=3) == ranked


def test_one_site_alone_is_better_than_nothing() -> None:
    squids = [by(f"192.0.2.{n}", VICTORIA) for n in range(1, 7)]
    assert rank(VISITOR, squids, count=5) == rank(VISITOR, squids)[:5]


def test_who_asks_for_one_squid_gets_the_nearest() -> None:
    squids = [by("192.0.2.1", VICTORIA), by("198.51.100.1", GENEVA)]
    assert rank(VISITOR, squids, count=1) == rank(VISITOR, squids)[:1]
