"""Which squids are taken, pure."""

from shoal_client.candidates import Candidate, Source, from_listing, merge
from shoal_client.choice import Decision, decide
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_common.listing import ListedCache, Listing
from shoal_common.probe import Outcome, Verdict

BAD = Verdict(Outcome.DENIED, "refused with 403 by its access rules", 0.01)


def at(host: int, distance: float | None = None, source: Source = Source.SERVER, **keys: bool) -> Candidate:
    place = HostPort(f"192.0.2.{host}", 3128)
    return Candidate(place, source, str(place), distance, **keys)


def good(seconds: float = 0.01) -> Verdict:
    return Verdict(Outcome.GOOD, "served it", seconds)


def choose(
    *tested: tuple[Candidate, Verdict],
    present: tuple[tuple[Candidate, ...], ...] = (),
    wanted: int = 2,
    answered: bool = True,
) -> Decision:
    verdicts = {candidate.place: verdict for candidate, verdict in tested}
    return decide([candidate for candidate, _ in tested], verdicts, present, wanted, answered=answered)


def hosts(decision: Decision) -> list[list[int]]:
    return [[int(member.place.host.rpartition(".")[2]) for member in group] for group in decision.groups]


def reason(decision: Decision, candidate: Candidate) -> str:
    return next(remark.reason for remark in decision.remarks if remark.candidate is candidate)


def test_the_servers_order_stands_against_milliseconds() -> None:
    decision = choose((at(1, 0), good(0.05)), (at(2, 500), good(0.002)), (at(3, 900), good(0.001)))
    assert hosts(decision) == [[1], [2]]


def test_a_grossly_slower_squid_loses_its_place() -> None:
    slow = at(1, 0)
    decision = choose((slow, good(2.0)), (at(2, 500), good(0.02)), (at(3, 900), good(0.02)))
    assert hosts(decision) == [[2], [3]]
    assert reason(decision, slow) == "good, but slow: 2000 ms"


def test_a_grossly_slower_squid_is_better_than_none() -> None:
    assert hosts(choose((at(1, 0), good(2.0)), (at(2, 500), good(0.02)))) == [[2], [1]]


def test_a_bad_squid_is_left_out_with_its_verdict() -> None:
    bad = at(1, 0)
    decision = choose((bad, BAD), (at(2, 500), good()))
    assert hosts(decision) == [[2]]
    assert reason(decision, bad) == "refused with 403 by its access rules"


def test_no_good_squid_means_no_groups() -> None:
    decision = choose((at(1, 0), BAD))
    assert decision.groups == ()
    assert not decision.kept


def test_squids_within_50_km_form_a_group_in_the_servers_order() -> None:
    decision = choose((at(2, 5), good()), (at(1, 40), good()), (at(3, 60), good()), wanted=3)
    assert hosts(decision) == [[2, 1], [3]]


def test_squids_within_a_tenth_of_the_way_form_a_group() -> None:
    assert hosts(choose((at(1, 2000), good()), (at(2, 2190), good()))) == [[1, 2]]


def test_costs_of_old_servers_are_not_taken_for_kilometres() -> None:
    assert hosts(choose((at(1, 0.01), good()), (at(2, 0.45), good()))) == [[1], [2]]


def test_squids_of_ones_own_site_form_a_group_even_without_kilometres() -> None:
    decision = choose((at(1, 0.01, local=True), good()), (at(2, 0.02, local=True), good()))
    assert hosts(decision) == [[1, 2]]


def test_the_present_choice_stays_while_it_is_good_and_listed() -> None:
    present = ((at(3, 90, Source.REMEMBERED),), (at(2, 80, Source.REMEMBERED),))
    tested = [(at(1, 60), good()), (at(2, 80), good()), (at(3, 90), good())]
    assert hosts(choose(*tested, present=present)) == [[3], [2]]


def test_the_present_choice_goes_when_one_of_it_fails() -> None:
    present = ((at(2, 80, Source.REMEMBERED),), (at(3, 90, Source.REMEMBERED),))
    tested = [(at(1, 10), good()), (at(2, 80), good()), (at(3, 90), BAD)]
    assert hosts(choose(*tested, present=present)) == [[1], [2]]


def test_the_present_choice_goes_when_the_server_no_longer_lists_it() -> None:
    gone = at(3, 90, Source.REMEMBERED)
    decision = choose((at(1, 10), good()), (at(2, 80), good()), (gone, good()), present=((gone,), (at(2),)))
    assert hosts(decision) == [[1], [2]]
    assert reason(decision, gone) == "good, but the server no longer lists it"


def test_the_present_choice_goes_when_it_has_become_grossly_slower() -> None:
    present = ((at(1, 10, Source.REMEMBERED),),)
    decision = choose((at(1, 10), good(1.0)), (at(2, 20), good(0.01)), present=present, wanted=1)
    assert hosts(decision) == [[2]]


def test_the_present_choice_goes_for_a_squid_that_is_very_much_nearer() -> None:
    present = ((at(2, 5000, Source.REMEMBERED),),)
    assert hosts(choose((at(1, 3), good()), (at(2, 5000), good()), present=present, wanted=1)) == [[1]]


def test_a_choice_of_too_few_is_completed() -> None:
    present = ((at(1, 0, Source.REMEMBERED),),)
    assert hosts(choose((at(1, 0), good()), (at(2, 500), good()), present=present)) == [[1], [2]]


def test_a_choice_of_too_many_is_cut_down() -> None:
    present = ((at(1, 0, Source.REMEMBERED), at(2, 10, Source.REMEMBERED)),)
    assert hosts(choose((at(1, 0), good()), (at(2, 10), good()), present=present, wanted=1)) == [[1]]


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
    decision = choose(*[(candidate, good()) for candidate in candidates])
    assert [[str(member.place) for member in group] for group in decision.groups] == [["10.0.0.1:3128"]]
    assert reason(decision, candidates[1]) == "good, but another address of the same squid is used"


def test_only_caches_for_the_service_are_candidates() -> None:
    caches = (
        ListedCache("a.test", 1, "192.0.2.1", None, upstream=Upstream.FRONTIER),
        ListedCache("b.test", 2, "192.0.2.2", None, upstream=Upstream.CVMFS),
        ListedCache("c.test", 3, "192.0.2.3", None),
    )
    ports = [c.place.port for c in from_listing(Listing(caches), Upstream.FRONTIER, 5)]
    assert ports == [1, 3]


def test_the_lan_comes_first_unless_the_server_is_to() -> None:
    server, lan = at(1, 10), at(9, 0, Source.LAN, heard=True)
    assert merge([server], [lan], [], server_first=False) == (lan, server)
    assert merge([server], [lan], [], server_first=True) == (server, lan)


def test_a_squid_both_listed_and_heard_keeps_the_servers_place() -> None:
    first, second, lan = at(1, 10), at(2, 20), at(2, 0, Source.LAN, heard=True)
    assert merge([first, second], [lan], [], server_first=False) == (first, second)
