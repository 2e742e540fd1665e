"""Which squids are taken, pure."""

from dataclasses import replace
from typing import Any

import pytest

from shoal_client.candidates import OWN_SITE, Candidate, Source, from_listing, merge, missing
from shoal_client.choice import RETURN_SECONDS, Decision, Groups, Preference, Situation, decide, placed
from shoal_client.remarks import remarks
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from shoal_common.listing import ListedCache, Listing
from shoal_common.probe import Outcome, Verdict
from shoal_server.ranking import group_end

NOW = 1.7e9
BAD = Verdict(Outcome.DENIED, "refused with 403 by its access rules", 0.01)


def at(host: int, distance: float | None = None, source: Source = Source.SERVER, **keys: Any) -> Candidate:
    place = HostPort(f"192.0.2.{host}", 3128)
    return Candidate(place, source, str(place), distance, **keys)


def good(seconds: float = 0.01) -> Verdict:
    return Verdict(Outcome.GOOD, "served it", seconds)


def situation(
    *tested: tuple[Candidate, Verdict],
    present: tuple[tuple[Candidate, ...], ...] = (),
    wanted: int = 2,
    answered: bool = True,
    node: str = "",
    preferred: Preference | None = None,
    now: float = NOW,
) -> Situation:
    verdicts = {candidate.place: verdict for candidate, verdict in tested}
    candidates = [candidate for candidate, _ in tested]
    return Situation(candidates, verdicts, present, wanted, answered, node, now, preferred)


def choose(*tested: tuple[Candidate, Verdict], **keys: Any) -> Decision:
    return decide(situation(*tested, **keys))


def hosts(decision: Decision) -> list[list[int]]:
    return [[int(member.place.host.rpartition(".")[2]) for member in group] for group in decision.groups]


def reason(candidate: Candidate, *tested: tuple[Candidate, Verdict], **keys: Any) -> str:
    told = situation(*tested, **keys)
    return next(remark.reason for remark in remarks(told, decide(told)) if remark.candidate is candidate)


def test_the_servers_order_stands_against_milliseconds() -> None:
    decision = choose((at(1, 0), good(0.05)), (at(2, 500), good(0.002)), (at(3, 900), good(0.001)))
    assert hosts(decision) == [[1], [2]]


def test_a_grossly_slower_squid_loses_its_place() -> None:
    slow = at(1, 0)
    tested = ((slow, good(2.0)), (at(2, 500), good(0.02)), (at(3, 900), good(0.02)))
    assert hosts(choose(*tested)) == [[2], [3]]
    assert reason(slow, *tested) == "good, but slow: 2000 ms"


def test_a_grossly_slower_squid_is_better_than_none() -> None:
    assert hosts(choose((at(1, 0), good(2.0)), (at(2, 500), good(0.02)))) == [[2], [1]]


def test_a_bad_squid_is_left_out_with_its_verdict() -> None:
    bad = at(1, 0)
    tested = ((bad, BAD), (at(2, 500), good()))
    assert hosts(choose(*tested)) == [[2]]
    assert reason(bad, *tested) == "refused with 403 by its access rules"


def test_no_good_squid_means_no_groups() -> None:
    decision = choose((at(1, 0), BAD))
    assert decision.groups == ()
    assert not decision.kept


def test_squids_within_50_km_form_a_group() -> None:
    decision = choose((at(2, 5), good()), (at(1, 40), good()), (at(3, 60), good()), wanted=3)
    assert [sorted(group) for group in hosts(decision)] == [[1, 2], [3]]


def test_squids_within_a_tenth_of_the_way_form_a_group() -> None:
    assert [sorted(group) for group in hosts(choose((at(1, 2000), good()), (at(2, 2190), good())))] == [
        [1, 2]
    ]


@pytest.mark.parametrize("fee", [100_000, 200_000, 300_000])
def test_a_server_s_fee_is_no_part_of_the_way(fee: float) -> None:
    assert hosts(choose((at(1, fee + 300), good()), (at(2, fee + 1500), good()))) == [[1], [2]]
    near = hosts(choose((at(1, fee), good()), (at(2, fee + 40), good())))
    assert [sorted(group) for group in near] == [[1, 2]]


@pytest.mark.parametrize("first", [0.0, 160.0, 700.0, 9000.0, 100_900.0, 203_000.0])
def test_client_and_server_mean_the_same_by_equally_near(first: float) -> None:
    end = group_end(first, 0.0)
    inside = hosts(choose((at(1, first), good()), (at(2, end), good())))
    assert [sorted(group) for group in inside] == [[1, 2]]
    assert hosts(choose((at(1, first), good()), (at(2, end + 1), good()))) == [[1], [2]]


def test_without_kilometres_there_are_no_groups() -> None:
    assert hosts(choose((at(1), good()), (at(2), good()))) == [[1], [2]]


def test_squids_of_ones_own_site_form_a_group_even_without_kilometres() -> None:
    decision = choose((at(1, local=True), good()), (at(2, local=True), good()))
    assert [sorted(group) for group in hosts(decision)] == [[1, 2]]


def test_the_present_choice_stays_while_it_is_good_and_listed() -> None:
    present = ((at(3, 90, Source.REMEMBERED),), (at(2, 80, Source.REMEMBERED),))
    tested = [(at(1, 60), good()), (at(2, 80), good()), (at(3, 90), good())]
    assert hosts(choose(*tested, present=present)) == [[3], [2]]


def test_the_present_choice_goes_when_one_of_it_fails() -> None:
    present = ((at(2, 80, Source.REMEMBERED),), (at(3, 90, Source.REMEMBERED),))
    tested = [(at(1, 10), good()), (at(2, 80), good()), (at(3, 90), BAD)]
    assert hosts(choose(*tested, present=present)) == [[1], [2]]


def test_what_the_server_no_longer_lists_stays_for_a_while_if_it_is_good() -> None:
    absent = at(3, 90, Source.REMEMBERED, unlisted=NOW - 300)
    tested = ((at(1, 10), good()), (at(2, 80), good()), (absent, good()))
    present = ((absent,), (at(2, 80),))
    assert hosts(choose(*tested, present=present)) == [[3], [2]]
    assert reason(absent, *tested, present=present).endswith(
        "not listed for 5 min: left after 14 min, in use, and no other is worth a change yet"
    )


def test_near_squids_in_use_are_not_left_for_what_a_server_lists_that_has_just_started() -> None:
    near = tuple(at(n, n, Source.REMEMBERED, unlisted=NOW, domain="here") for n in (3, 4))
    alone = (at(1, 9000, domain="far"), good())
    used = [(member, good()) for member in near]
    assert hosts(choose(*used, alone, present=(near,), wanted=1)) == [[3]]
    both = choose(*used, alone, (at(2, 9900, domain="farther"), good()), present=(near,))
    assert hosts(both) == [[3], [1]]


def test_what_the_server_no_longer_lists_is_left_once_that_has_lapsed() -> None:
    gone = at(3, 90, Source.REMEMBERED, lapsed=True)
    tested = ((at(1, 10), good()), (at(2, 80), good()), (gone, good()))
    present = ((gone,), (at(2),))
    assert hosts(choose(*tested, present=present)) == [[1], [2]]
    assert reason(gone, *tested, present=present) == "good, but the server no longer lists it"


def test_the_present_choice_goes_when_it_has_become_grossly_slower() -> None:
    present = ((at(1, 10, Source.REMEMBERED),),)
    decision = choose((at(1, 10), good(1.0)), (at(2, 20), good(0.01)), present=present, wanted=1)
    assert hosts(decision) == [[2]]


def test_the_present_choice_goes_when_one_of_it_has_become_grossly_slower() -> None:
    tested = ((at(1, 10), good(0.01)), (at(2, 80), good(1.0)), (at(3, 90), good(0.01)))
    assert hosts(choose(*tested, present=((at(1, 10),), (at(2, 80),)))) == [[1], [3]]


def test_what_is_in_use_may_be_slower_than_what_would_be_taken_anew() -> None:
    tested = ((at(1, 3), good(0.005)), (at(2, 6000), good(0.27)), (at(3, 6700), good(0.24)))
    assert hosts(choose(*tested)) == [[1], [3]]
    assert hosts(choose(*tested, present=((at(1, 3),), (at(2, 6000),)))) == [[1], [2]]


def test_two_far_squids_near_the_limit_do_not_take_turns() -> None:
    present: Groups = ()
    for run in range(8):
        times = (0.245, 0.265) if run % 2 else (0.265, 0.245)
        tested = ((at(1, 3), good(0.005)), (at(2, 6000), good(times[0])), (at(3, 6700), good(times[1])))
        decision = choose(*tested, present=present, now=NOW + 900 * run)
        assert hosts(decision) == [[1], [3]]
        present = decision.groups


def test_the_present_choice_goes_for_a_squid_that_is_very_much_nearer() -> None:
    present = ((at(2, 5000, Source.REMEMBERED),),)
    assert hosts(choose((at(1, 3), good()), (at(2, 5000), good()), present=present, wanted=1)) == [[1]]


@pytest.mark.parametrize(
    ("old", "new"), [(200_050, 100_020), (200_500, 100_020), (200_050, 30), (100_500, 30)]
)
def test_lower_fees_alone_are_taken_only_when_they_have_lasted(old: float, new: float) -> None:
    tested = ((at(1, new), good()), (at(2, old), good()))
    assert [hosts(one) for one in runs((0, tested), (300, tested), (900, tested))] == [[[2]], [[2]], [[1]]]


@pytest.mark.parametrize("fee", [0, 100_000, 200_000])
def test_a_much_shorter_way_at_the_same_fees_is_taken_at_once(fee: float) -> None:
    assert hosts(runs((0, ((at(1, fee + 20), good()), (at(2, fee + 500), good()))))[0]) == [[1]]
    assert hosts(runs((0, ((at(1, fee + 20), good()), (at(2, fee + 130), good()))))[0]) == [[2]]


def test_room_that_comes_and_goes_changes_nothing() -> None:
    crowded = ((at(3, 300), good()), (at(2, 200_050), good()))
    free = ((at(2, 50), good()), (at(3, 300), good()))
    decisions = runs(*((900 * run, free if run % 2 else crowded) for run in range(20)))
    assert all(hosts(one) == [[2]] for one in decisions)


def test_a_squid_without_room_is_left_for_one_with_room_beside_one_of_the_lan() -> None:
    lan = at(9, 0, Source.LAN, heard=True)
    present = ((lan,), (at(2, 200_050),))
    tested = ((lan, good()), (at(1, 300), good()), (at(2, 200_050), good()))
    decisions = runs((0, tested), (900, tested), wanted=2, present=present)
    assert [hosts(one) for one in decisions] == [[[9], [2]], [[9], [1]]]


IN_USE = at(2, 80)
BACK = at(1, 60)
BOTH = ((BACK, good()), (IN_USE, good()))


def runs(*each: tuple[float, tuple[tuple[Candidate, Verdict], ...]], **keys: Any) -> list[Decision]:
    """The decisions of runs after so many seconds, from one on that had IN_USE in use."""
    decisions = [Decision(((IN_USE,),), kept=False)]
    for seconds, tested in each:
        last = decisions[-1]
        settings = {"present": last.groups, "preferred": last.preferred, "wanted": 1, **keys}
        decisions.append(choose(*tested, now=NOW + seconds, **settings))
    return decisions[1:]


def test_what_the_server_prefers_in_two_runs_a_quarter_of_an_hour_apart_is_returned_to() -> None:
    assert [hosts(one) for one in runs((0, BOTH), (300, BOTH), (900, BOTH))] == [[[2]], [[2]], [[1]]]


def test_one_run_is_not_enough_to_return_however_long_ago_the_choice_was_made() -> None:
    assert hosts(runs((90_000, BOTH))[0]) == [[2]]


def test_a_squid_that_was_bad_meanwhile_is_not_returned_to() -> None:
    failed = ((BACK, BAD), (IN_USE, good()))
    assert [hosts(one) for one in runs((0, BOTH), (600, failed), (900, BOTH), (1500, BOTH))] == [[[2]]] * 4


def test_a_squid_that_was_slow_meanwhile_is_not_returned_to() -> None:
    slow = ((BACK, good(2.0)), (IN_USE, good()))
    assert [hosts(one) for one in runs((0, BOTH), (600, slow), (900, BOTH))] == [[[2]]] * 3


def test_a_server_that_prefers_another_squid_each_time_moves_nobody() -> None:
    other = at(3, 60)
    orders = [
        ((first, good()), (second, good()), (IN_USE, good()))
        for first, second in ((BACK, other), (other, BACK))
    ]
    assert all(hosts(one) == [[2]] for one in runs(*((900 * run, orders[run % 2]) for run in range(6))))


def test_the_second_squid_is_returned_to_as_well() -> None:
    present = ((at(1, 60),), (at(3, 900),))
    tested = [(at(n, km), good()) for n, km in ((1, 60), (2, 700), (3, 900))]
    since = Preference(placed(((at(1),), (at(2),))), NOW - RETURN_SECONDS)
    assert hosts(choose(*tested, present=present)) == [[1], [3]]
    assert hosts(choose(*tested, present=present, preferred=since)) == [[1], [2]]


def test_another_order_inside_a_group_is_no_reason_to_change() -> None:
    present = ((at(2, 80), at(1, 60)),)
    assert choose(*BOTH, present=present).preferred is None


def test_without_a_servers_answer_nothing_is_returned_to_and_nothing_new_preferred() -> None:
    since = Preference(placed(((BACK,),)), NOW - 2 * RETURN_SECONDS)
    tested = ((at(1, 60, Source.REMEMBERED), good()), (at(2, 80, Source.REMEMBERED), good()))
    decision = choose(*tested, present=((IN_USE,),), answered=False, preferred=since, wanted=1)
    assert decision.kept
    assert hosts(decision) == [[2]]


def test_the_order_of_a_server_that_tells_no_kilometres_is_not_returned_to() -> None:
    tested = ((at(1), good()), (at(2), good()))
    assert [hosts(one) for one in runs((0, tested), (900, tested), (1800, tested))] == [[[2]]] * 3


def test_what_is_heard_on_the_lan_is_not_returned_to() -> None:
    tested = ((at(9, 0, Source.LAN, heard=True), good()), (IN_USE, good()))
    assert [hosts(one) for one in runs((0, tested), (900, tested))] == [[[2]]] * 2


def test_a_clock_that_was_set_back_lets_the_wait_begin_anew() -> None:
    assert [hosts(one) for one in runs((5000, BOTH), (0, BOTH), (840, BOTH))] == [[[2]], [[2]], [[1]]]


def test_it_is_told_what_a_return_waits_for_and_why_it_came() -> None:
    since = Preference(placed(((BACK,),)), NOW - 300)
    keys: dict[str, Any] = {"present": ((IN_USE,),), "wanted": 1, "preferred": since}
    assert (
        reason(BACK, *BOTH, **keys)
        == "good, and first by the server's order for 5 min: taken after 14 min of that"
    )
    assert reason(IN_USE, *BOTH, **keys).endswith("in use, and no other is worth a change yet")
    keys["preferred"] = Preference(since.groups, NOW - 900)
    assert reason(BACK, *BOTH, **keys).endswith("60 km, first by the server's order for 15 min")
    assert reason(IN_USE, *BOTH, **keys) == "good, but not needed: enough others come first or are in use"


def test_what_the_server_does_not_prefer_waits_for_nothing() -> None:
    other = at(3, 900)
    since = Preference(placed(((BACK,),)), NOW - 300)
    told = reason(other, *BOTH, (other, good()), present=((IN_USE,),), wanted=1, preferred=since)
    assert told == "good, but not needed: enough others come first or are in use"


def test_a_choice_of_too_few_is_completed() -> None:
    present = ((at(1, 0, Source.REMEMBERED),),)
    assert hosts(choose((at(1, 0), good()), (at(2, 500), good()), present=present)) == [[1], [2]]


def test_a_choice_of_too_many_is_cut_down() -> None:
    present = ((at(1, 0, Source.REMEMBERED), at(2, 10, Source.REMEMBERED)),)
    assert hosts(choose((at(1, 0), good()), (at(2, 10), good()), present=present, wanted=1)) == [[1]]


HEARD = at(9, 0, Source.LAN, local=True, heard=True, domain="own site")


def test_a_squid_of_the_lan_comes_first_where_the_server_lists_too_few_of_the_own_site() -> None:
    ours, far = at(1, 0, local=True, domain="own site"), at(2, 100, domain="far")
    assert hosts(choose((HEARD, good()), (ours, good()), (far, good()), wanted=1)) == [[1]]
    assert hosts(choose((HEARD, good()), (ours, BAD), (far, good()), wanted=1)) == [[9]]
    assert hosts(choose((HEARD, good()), (ours, good(2.0)), (far, good()), wanted=1)) == [[9]]
    assert hosts(choose((HEARD, good()), (far, good()), (at(3, 120), good()), wanted=1)) == [[9]]


def test_a_squid_of_the_lan_gives_way_when_the_server_has_long_listed_enough_of_the_own_site() -> None:
    ours = [(at(n, 0, local=True, domain="own site"), good()) for n in (1, 2)]
    tested = ((HEARD, good()), *ours)
    decisions = runs((0, tested), (900, tested), present=((HEARD,), (at(1, 0, local=True),)), wanted=2)
    assert sorted(hosts(decisions[0])) == [[1], [9]]
    assert sorted(hosts(decisions[1])[0]) == [1, 2]


def test_a_squid_of_the_lan_that_was_not_announced_for_long_is_left() -> None:
    lapsed = replace(HEARD, source=Source.REMEMBERED, lapsed=True)
    tested = ((lapsed, good()), (at(2, 300), good()))
    assert hosts(choose(*tested, present=((lapsed,),), wanted=1)) == [[2]]
    assert reason(lapsed, *tested, wanted=1) == "good, but the LAN no longer announces it"
    assert choose(*tested, present=((lapsed,),), wanted=1, answered=False).kept


def test_without_a_servers_answer_one_good_squid_of_the_present_choice_keeps_it() -> None:
    present = ((at(1, 0, Source.REMEMBERED),), (at(2, 0, Source.REMEMBERED),))
    lan = at(9, 0, Source.LAN, local=True, heard=True)
    decision = choose(
        (lan, good()), (present[0][0], BAD), (present[1][0], good()), present=present, answered=False
    )
    assert decision.kept
    assert hosts(decision) == [[2]]


def test_without_a_servers_answer_the_lan_replaces_a_choice_that_is_dead() -> None:
    dead = at(1, 0, Source.REMEMBERED)
    lan = at(9, 0, Source.LAN, local=True, heard=True)
    decision = choose((lan, good()), (dead, BAD), present=((dead,),), answered=False)
    assert not decision.kept
    assert hosts(decision) == [[9]]


def test_when_nothing_listed_is_good_the_good_part_of_the_present_choice_is_kept() -> None:
    present = at(3, 90, Source.REMEMBERED)
    decision = choose((at(1, 10), BAD), (present, good()), present=((present,),))
    assert decision.kept
    assert hosts(decision) == [[3]]


def test_it_is_told_how_quick_a_squid_in_use_is_and_why_it_is_kept() -> None:
    present = at(3, 90, Source.REMEMBERED)
    tested = ((at(1, 10), BAD), (present, good(0.02)))
    told = "remembered from an earlier run, good in 20 ms, 90 km, kept: "
    assert reason(present, *tested, present=((present,),)) == told + "nothing new is good"
    assert (
        reason(present, *tested, present=((present,),), answered=False) == told + "no server listed any squid"
    )


def test_a_squid_heard_in_an_earlier_run_stays_though_no_server_lists_it() -> None:
    lan = at(9, 0, Source.REMEMBERED, local=True, heard=True)
    decision = choose((lan, good()), (at(1, 300), good()), present=((lan,),), wanted=1)
    assert hosts(decision) == [[9]]
    assert not decision.kept


def test_a_local_squid_is_tried_by_its_private_address_first() -> None:
    cache = ListedCache("sq.test", 3128, "192.0.2.1", "10.0.0.1", local=True)
    candidates = from_listing(Listing((cache,)), Upstream.CVMFS, 5)
    assert [candidate.place.host for candidate in candidates] == ["10.0.0.1", "192.0.2.1"]


def test_a_squid_elsewhere_is_never_tried_by_its_private_address() -> None:
    caches = (
        ListedCache("a.test", 3128, "192.0.2.1", "10.0.0.1"),
        ListedCache("b.test", 3128, None, "10.0.0.2"),
    )
    candidates = from_listing(Listing(caches), Upstream.CVMFS, 5)
    assert [candidate.place.host for candidate in candidates] == ["192.0.2.1"]


def test_two_addresses_of_one_squid_count_once() -> None:
    cache = ListedCache("sq.test", 3128, "192.0.2.1", "10.0.0.1", local=True)
    candidates = from_listing(Listing((cache,)), Upstream.CVMFS, 5)
    tested = [(candidate, good()) for candidate in candidates]
    decision = choose(*tested)
    assert [[str(member.place) for member in group] for group in decision.groups] == [["10.0.0.1:3128"]]
    assert reason(candidates[1], *tested) == "good, but another address of the same squid is used"


def test_only_caches_for_the_service_are_candidates() -> None:
    caches = (
        ListedCache("a.test", 1, "192.0.2.1", None, upstream=Upstream.FRONTIER),
        ListedCache("b.test", 2, "192.0.2.2", None, upstream=Upstream.CVMFS),
        ListedCache("c.test", 3, "192.0.2.3", None),
    )
    ports = [c.place.port for c in from_listing(Listing(caches), Upstream.FRONTIER, 5)]
    assert ports == [1, 3]


def test_a_varnish_comes_after_all_squids_and_in_no_group_with_one() -> None:
    varnish, near, far = at(1, 0, domain="a", reverse=True), at(2, 0, domain="a"), at(3, 9000, domain="a")
    tested = ((varnish, good()), (near, good()), (far, good()))
    assert hosts(choose(*tested)) == [[2], [3]]
    assert reason(varnish, *tested) == (
        "good, but a Varnish, which has only what its own back end has: others come first"
    )
    assert hosts(choose((varnish, good()), (near, good()))) == [[2], [1]]
    assert hosts(choose((varnish, good()), (near, BAD))) == [[1]]


def test_a_varnish_is_no_second_failure_domain_while_there_are_squids() -> None:
    varnish = at(1, 0, domain="b", reverse=True)
    decision = choose((varnish, good()), *((at(n, 0, domain="a"), good()) for n in (2, 3)))
    assert [sorted(group) for group in hosts(decision)] == [[2, 3]]


def test_a_varnish_in_use_gives_way_to_a_squid() -> None:
    varnish, squids = at(1, 0, reverse=True), (at(2, 0), at(3, 0))
    tested = ((varnish, good()), *((squid, good()) for squid in squids))
    decision = choose(*tested, present=((varnish, squids[0]),))
    assert [sorted(group) for group in hosts(decision)] == [[2, 3]]


def test_a_varnish_is_a_proxy_like_any_other_to_frontier_alone() -> None:
    cache = ListedCache("v.test", 6082, "192.0.2.1", None, cache_type=CacheType.VARNISH)
    marks = [
        [candidate.reverse for candidate in from_listing(Listing((cache,)), service, 5)]
        for service in (Upstream.CVMFS, Upstream.FRONTIER)
    ]
    assert marks == [[True], [False]]


def test_what_is_not_listed_stands_where_it_belongs_by_its_distance() -> None:
    listed = [at(1, 10), at(2, 300)]
    for km, order in ((5, [9, 1, 2]), (10, [9, 1, 2]), (40, [1, 9, 2]), (900, [1, 2, 9]), (None, [9, 1, 2])):
        merged = merge(listed, [], [at(9, km, Source.REMEMBERED)], server_first=False)
        assert [int(one.place.host.rpartition(".")[2]) for one in merged] == order


USED = at(9, 5, Source.REMEMBERED)


@pytest.mark.parametrize("state", ["", "ok"])
def test_what_two_runs_a_quarter_of_an_hour_apart_did_not_find_listed_has_lapsed(state: str) -> None:
    once = missing(USED, state, full=False, now=NOW)
    assert once.usable
    assert missing(once, state, full=False, now=NOW + 600).usable
    assert not missing(once, state, full=False, now=NOW + 900).usable
    assert missing(once, state, full=False, now=NOW - 900).unlisted == NOW - 900


def test_an_answer_that_may_lack_squids_speaks_against_none() -> None:
    assert missing(replace(USED, unlisted=NOW), "deaf", full=True, now=NOW + 9000).usable


def test_a_server_that_is_well_and_lists_enough_others_prefers_them() -> None:
    assert not missing(USED, "ok", full=True, now=NOW).usable
    assert missing(USED, "", full=True, now=NOW).usable


def test_the_lan_comes_first_unless_the_server_is_to() -> None:
    server, lan = at(1, 10), at(9, 0, Source.LAN, heard=True)
    assert merge([server], [lan], [], server_first=False) == (lan, server)
    assert merge([server], [lan], [], server_first=True) == (server, lan)


def test_a_squid_both_listed_and_heard_keeps_the_servers_place() -> None:
    first, second, lan = at(1, 10), at(2, 20), at(2, 0, Source.LAN, heard=True)
    assert merge([first, second], [lan], [], server_first=False) == (first, second)


def test_squids_behind_one_nat_are_as_many_as_their_private_addresses() -> None:
    nat = [
        ListedCache(f"{n}.test", 3128, "192.0.2.1", f"10.0.0.{n}", local=True, distance=0.0) for n in (5, 6)
    ]
    candidates = from_listing(Listing(tuple(nat)), Upstream.CVMFS, 7)
    tested = [(one, good() if one.place.host.startswith("10.") else BAD) for one in candidates]
    assert sorted(member.place.host for member in choose(*tested).members) == ["10.0.0.5", "10.0.0.6"]


@pytest.mark.parametrize("source", [Source.LAN, Source.REMEMBERED])
def test_a_squid_of_the_lan_is_the_one_that_a_server_lists_with_its_private_address(source: Source) -> None:
    caches = tuple(ListedCache(f"{n}.test", 3128, f"192.0.2.{n}", f"10.0.0.{n}") for n in (4, 5, 6))
    listed = from_listing(Listing(caches), Upstream.CVMFS, 7)
    place = HostPort("10.0.0.5", 3128)
    lan = Candidate(place, source, str(place), 0.0, local=True, heard=True, domain=OWN_SITE)
    heard, remembered = ([lan], []) if source is Source.LAN else ([], [lan])
    found = merge(listed, heard, remembered, server_first=False)
    assert (found[0].place, found[0].squid, found[0].domain) == (place, listed[1].squid, listed[1].domain)
    taken = choose(*((one, good()) for one in found), wanted=3).members
    assert [member.place.host for member in taken] == ["10.0.0.5", "192.0.2.4", "192.0.2.6"]


def test_grossly_slower_squids_do_not_share_a_group_with_fast_ones() -> None:
    assert hosts(choose((at(1, 0), good()), (at(2, 5), good(2.0)))) == [[1], [2]]


def test_two_failure_domains_are_used_where_there_are_two() -> None:
    tested = [(at(n, n, domain="here"), good()) for n in (1, 2, 3)]
    far = (at(9, 900, domain="there"), good())
    assert hosts(choose(*tested, far)) == [[1], [9]]
    assert [sorted(group) for group in hosts(choose(*tested, far, wanted=3))] == [[1, 2], [9]]


@pytest.mark.parametrize("fee", [100_000, 300_000])
def test_a_second_failure_domain_is_not_worth_money_while_free_squids_will_do(fee: float) -> None:
    here = [(at(n, n, domain="here"), good()) for n in (1, 2)]
    metered = (at(8, fee + 500, domain="cloud"), good())
    full = (at(9, 200_900, domain="there"), good())
    assert [sorted(group) for group in hosts(choose(*here, metered))] == [[1, 2]]
    told = "good, but costs money, and those that are used do not"
    assert reason(metered[0], *here, metered) == told
    assert hosts(choose(*here, metered, full)) == [[1], [9]]
    assert hosts(choose(here[0], metered)) == [[1], [8]]


def test_a_second_failure_domain_is_worth_money_to_whoever_pays_for_the_first() -> None:
    tested = [(at(n, 100_000 + n, domain="cloud"), good()) for n in (1, 2)]
    assert hosts(choose(*tested, (at(9, 100_900, domain="there"), good()))) == [[1], [9]]


def test_a_second_failure_domain_that_has_come_to_cost_money_is_left_once_that_has_lasted() -> None:
    tested = [(at(n, n, domain="here"), good()) for n in (1, 2)]
    tested.append((at(9, 100_900, domain="cloud"), good()))
    present = ((at(1, 1),), (at(9, 900),))
    first = choose(*tested, present=present)
    assert hosts(first) == [[1], [9]]
    later = choose(*tested, present=present, preferred=first.preferred, now=NOW + RETURN_SECONDS)
    assert [sorted(group) for group in hosts(later)] == [[1, 2]]


def test_one_failure_domain_is_enough_where_there_is_one() -> None:
    tested = [(at(n, n, domain="here"), good()) for n in (1, 2, 3)]
    assert [sorted(group) for group in hosts(choose(*tested))] == [[1, 2]]


def test_a_single_squid_is_the_first_whatever_its_domain() -> None:
    tested = ((at(1, 1, domain="here"), good()), (at(9, 900, domain="there"), good()))
    assert hosts(choose(*tested, wanted=1)) == [[1]]


def test_a_present_choice_in_one_domain_gives_way_to_one_in_two() -> None:
    here = [at(n, n, domain="here") for n in (1, 2)]
    tested = [(member, good()) for member in (*here, at(9, 900, domain="there"))]
    assert hosts(choose(*tested, present=(tuple(here),))) == [[1], [9]]


def test_the_order_inside_a_group_is_the_nodes_own_and_stays() -> None:
    tested = [(at(n, 10), good()) for n in range(1, 6)]
    orders = {name: hosts(choose(*tested, wanted=5, node=name)) for name in map(str, range(40))}
    assert len({str(order) for order in orders.values()}) > 20
    assert all(hosts(choose(*tested, wanted=5, node=name)) == order for name, order in orders.items())


def test_squids_that_nobody_has_spread_are_spread_over_nodes() -> None:
    tested = [(at(n, local=True), good()) for n in range(1, 5)]
    firsts = [hosts(choose(*tested, wanted=1, node=str(name)))[0][0] for name in range(400)]
    assert all(60 < firsts.count(host) < 140 for host in range(1, 5))


def test_squids_that_a_server_has_spread_keep_its_order_for_who_is_taken() -> None:
    tested = [(at(n, 10), good()) for n in (3, 1, 2)]
    assert all(hosts(choose(*tested, wanted=1, node=str(name))) == [[3]] for name in range(20))


def dated(hours_ago: float) -> Verdict:
    return Verdict(Outcome.GOOD, "served it", 0.01, NOW - 3600 * hours_ago)


def test_a_squid_with_stale_content_loses_its_place() -> None:
    old = at(1, 0)
    tested = ((old, dated(50)), (at(2, 500), dated(3)), (at(3, 900), dated(3)))
    assert hosts(choose(*tested)) == [[2], [3]]
    assert reason(old, *tested) == "good, but stale: others have long served a newer manifest"


def test_a_manifest_that_is_only_just_out_is_held_against_nobody() -> None:
    assert hosts(choose((at(1, 0), dated(50)), (at(2, 500), dated(0.5)))) == [[1], [2]]


def test_one_squid_that_claims_a_newer_manifest_cannot_push_back_two_others() -> None:
    assert hosts(choose((at(1, 0), dated(50)), (at(2, 500), dated(50)), (at(3, 900), dated(3)))) == [[1], [2]]


def test_an_ipv6_address_is_one_more_address_of_its_squid() -> None:
    caches = (
        ListedCache("a.test", 3128, "192.0.2.1", "10.0.0.1", local=True, ipv6="2001:db8::1"),
        ListedCache("b.test", 3128, None, None, ipv6="2001:db8::2"),
    )
    candidates = from_listing(Listing(caches), Upstream.CVMFS, 5)
    assert [(c.proxy, c.squid) for c in candidates] == [
        ("http://10.0.0.1:3128", "192.0.2.1:3128/10.0.0.1"),
        ("http://192.0.2.1:3128", "192.0.2.1:3128/10.0.0.1"),
        ("http://[2001:db8::1]:3128", "192.0.2.1:3128/10.0.0.1"),
        ("http://[2001:db8::2]:3128", "[2001:db8::2]:3128"),
    ]


def test_a_failure_domain_is_the_site_or_else_the_network() -> None:
    place = {"latitude": 48.4329, "longitude": -123.3693}
    caches = (
        ListedCache("a.test", 1, "192.0.2.1", None, geo=place),
        ListedCache("b.test", 2, "198.51.100.1", None, geo=place),
        ListedCache("c.test", 3, "203.0.113.5", None),
        ListedCache("d.test", 4, "203.0.113.9", None),
        ListedCache("e.test", 5, "192.0.2.7", None, local=True, geo=place),
    )
    domains = [c.domain for c in from_listing(Listing(caches), Upstream.CVMFS, 9)]
    assert domains == ["48.4 -123.4"] * 2 + ["203.0.113.0/24"] * 2 + ["own site"]
