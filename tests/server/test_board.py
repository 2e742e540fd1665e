"""The arrays say of all squids at once what the rules say of each."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.heartbeat import AgentState, CacheType, Upstream
from shoal_server.board import Board
from shoal_server.ledger import Ledger
from shoal_server.lookup import seat
from shoal_server.ranking import Policy, Requester, exclusion, group_end, ranked, secrecy
from shoal_server.rendezvous import SPOTS, spot
from shoal_server.seat import Wanted
from shoal_server.squid import Listed, Owner, Place, Reach, Verification
from tests.common.properties import PROPERTY
from tests.fakes import GENEVA, GOOD, NOW, VICTORIA, board_of, listed

PLACES = [None, VICTORIA, GENEVA, Place(48.5, -123.3), Place(-37.8, 144.96, site="unimelb", tier=1)]
OWNERS = [
    Owner(),
    Owner(asn=16),
    Owner(asn=513, region="aws eu-west-1", metered=True),
    Owner(region="aws eu-west-1", metered=True),
    Owner(organisation="CERN", networks=frozenset({"LHCONE"})),
    Owner(domain="cern.ch", networks=frozenset({"LHCONE", "GEANT"}), metered=True),
]
CHECKS = [
    GOOD,
    Verification(),
    Verification(Reach.LOCAL, "refused with 403", checked=NOW),
    Verification(Reach.FAILED, "refused the connection", checked=NOW),
    Verification(Reach.UNVERIFIED, "no origin could be reached", checked=NOW),
    Verification(Reach.GLOBAL, "served", checked=NOW, lacks=("frontier",)),
]
ADDRESSES = ["203.0.113.7", "10.0.0.1", "10.0.0.9", "192.0.2.1", "2001:db8::7"]


@st.composite
def squids(draw: st.DrawFn) -> Listed:
    number = draw(st.integers(0, 250))
    one = listed(
        draw(st.sampled_from(PLACES)),
        draw(st.sampled_from(CHECKS)),
        port=3000 + number,
        public_ip=draw(st.sampled_from([None, "192.0.2.1", f"192.0.2.{number}"])),
        private_ip=draw(st.sampled_from(["10.0.0.1", f"10.0.1.{number}"])),
        ipv6=draw(st.sampled_from([None, "2001:db8::1"])),
        load=draw(st.sampled_from([0.0, 20_000.0, 99_000.0, 200_000.0])),
        upstream=draw(st.sampled_from(Upstream)),
        cache_type=draw(st.sampled_from(CacheType)),
        state=draw(st.sampled_from([AgentState.UP, AgentState.UP, AgentState.DRAINING])),
    )
    crowded = replace(one.squid, takes=draw(st.sampled_from([1.0, 1.0, 0.5, 0.05])), created=NOW - 86_400)
    return Listed(crowded, one.place, draw(st.sampled_from(OWNERS)))


@st.composite
def fleets(draw: st.DrawFn) -> list[Listed]:
    """Squids of which some differ in their ports alone."""
    found, copies = draw(st.lists(squids(), max_size=6)), draw(st.integers(1, 3))
    return unique(
        [on_port(one, one.squid.beat.port + 1000 * copy) for one in found for copy in range(copies)]
    )


def on_port(one: Listed, port: int) -> Listed:
    return replace(one, squid=replace(one.squid, beat=replace(one.squid.beat, port=port)))


@st.composite
def requesters(draw: st.DrawFn) -> Requester:
    return Requester(
        draw(st.sampled_from(ADDRESSES)),
        draw(st.sampled_from(PLACES)),
        draw(st.sampled_from(Upstream)),
        draw(st.sampled_from([frozenset[str](), frozenset({"192.0.2.1:3001", "192.0.2.1:3007"})])),
        draw(st.sampled_from(OWNERS)),
    )


def unique(found: Sequence[Listed]) -> list[Listed]:
    return list({one.squid.id: one for one in found}.values())


def order(board: Board, requester: Requester, wanted: Wanted, count: int = 1000) -> list[Listed]:
    also = board.draining(requester.uses, requester.service)
    plan = board.plan(seat(requester, board), wanted, count, also)
    return [board.listed[plan.rows[place]] for place in plan.told(spot(requester.address), count)]


@given(st.lists(squids(), max_size=12), requesters(), st.booleans(), st.sampled_from(CacheType))
@PROPERTY
def test_those_are_told_whom_no_rule_excludes(
    found: list[Listed], requester: Requester, verify: bool, kind: CacheType
) -> None:
    policy, found = Policy(verify=verify, types=frozenset({kind})), unique(found)
    board = board_of(found, verify=verify)
    told = order(board, requester, Wanted(requester.service, policy.types))
    expected = [one for one in found if exclusion(requester, one, policy) is None]
    assert sorted(one.squid.id for one in told) == sorted(one.squid.id for one in expected)


@given(st.lists(squids(), max_size=12), requesters(), st.booleans())
@PROPERTY
def test_they_stand_in_the_order_of_their_effective_distance_but_for_equals(
    found: list[Listed], requester: Requester, verify: bool
) -> None:
    board = board_of(unique(found), verify=verify)
    plan = board.plan(
        seat(requester, board),
        Wanted(requester.service),
        1000,
        board.draining(requester.uses, requester.service),
    )
    told = [
        ranked(requester, board.listed[plan.rows[place]], verify=verify, crowded=place >= plan.first_late)
        for place in plan.told(spot(requester.address), 1000)
    ]
    for index, one in enumerate(told):
        for later in told[index:]:
            assert one.effective_km <= group_end(later.effective_km, later.doubt_km + later.tier_km) + 2


@given(fleets(), requesters(), st.booleans(), st.sampled_from([1, 2, 5, 50]))
@PROPERTY
def test_squids_that_are_alike_are_ranked_like_each_by_itself(
    found: list[Listed], requester: Requester, verify: bool, count: int
) -> None:
    board = board_of(found, verify=verify)
    here, wanted = seat(requester, board), Wanted(requester.service)
    together = board.plan(here, wanted, count)
    each = board.plan(here, wanted, count, among=np.ones(len(found), np.bool_))
    assert together.rows == each.rows
    assert together.alike(each)


@given(fleets(), st.lists(requesters(), min_size=1, max_size=4), st.data())
@PROPERTY
def test_plans_that_outlast_a_board_are_those_that_would_be_made_anew(
    found: list[Listed], those: list[Requester], data: st.DataObject
) -> None:
    ledger = Ledger(verify=True)
    for one in found:
        ledger.put(one)
    board = ledger.board()
    takes, ages = st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.05]), st.sampled_from([86_400.0, 86_400.0, 30.0])
    for step in range(3):
        for requester in those:
            board.plan(seat(requester, board), Wanted(), 2)
        changed = data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found)))
        for number in np.flatnonzero(changed).tolist():
            squid = replace(
                found[number].squid, takes=data.draw(takes), created=NOW - data.draw(ages), load=1000.0 * step
            )
            found[number] = replace(found[number], squid=squid)
            ledger.put(found[number])
        board, fresh = ledger.board(), board_of(found, verify=True)
        for requester in those:
            plan, anew = (one.plan(seat(requester, one), Wanted(), 2) for one in (board, fresh))
            assert plan.rows == anew.rows
            assert plan.alike(anew)


@given(st.lists(squids(), max_size=12), requesters(), st.booleans())
@PROPERTY
def test_a_secret_is_known_to_its_own_alone(found: list[Listed], requester: Requester, verify: bool) -> None:
    found = unique(found)
    board = board_of(found, verify=verify)
    known = board.known(seat(requester, board))
    expected = [secrecy(requester, one, verify=verify) is None for one in board.listed]
    assert known.tolist() == expected


@given(st.lists(squids(), max_size=12), st.lists(st.integers(0, 11), max_size=12), requesters())
@PROPERTY
def test_a_ledger_that_changed_squid_by_squid_equals_one_made_anew(
    found: list[Listed], gone: list[int], requester: Requester
) -> None:
    found = unique(found)
    ledger = Ledger(verify=True)
    for one in [*found, *found[::2]]:
        ledger.put(one)
    left = [one for index, one in enumerate(found) if index not in gone]
    for index in gone:
        ledger.remove(found[index].squid.id if index < len(found) else "unknown")
    told = order(ledger.board(), requester, Wanted(requester.service))
    assert told == order(board_of(left, verify=True), requester, Wanted(requester.service))


def test_names_of_squids_that_are_long_gone_are_forgotten() -> None:
    ledger = Ledger(verify=True)
    for number in range(2500):
        one = listed(public_ip=f"198.51.{number // 250}.{number % 250}")
        ledger.put(one)
        ledger.remove(one.squid.id)
    ledger.put(listed(VICTORIA, public_ip="192.0.2.1"))
    board = ledger.board()
    assert board.hosts("192.0.2.1")
    assert not board.hosts("198.51.0.1")


def test_a_plan_is_made_once_for_all_whom_it_answers() -> None:
    board = board_of([listed(VICTORIA)], verify=True)
    one, other = (
        board.plan(seat(Requester(f"203.0.113.{n}", GENEVA, owner=Owner(asn=n)), board), Wanted(), 5)
        for n in (1, 2)
    )
    assert one is other


def test_an_empty_board_tells_nothing() -> None:
    board = board_of([], verify=True)
    assert order(board, Requester("203.0.113.7", VICTORIA), Wanted()) == []


@pytest.mark.parametrize("place", [VICTORIA, None])
def test_rows_are_found_by_nearness(place: Place | None) -> None:
    board = board_of(
        [listed(GENEVA, public_ip="192.0.2.1"), listed(VICTORIA, public_ip="192.0.2.2")], verify=True
    )
    near = board.nearest_rows(seat(Requester("203.0.113.7", VICTORIA), board), np.arange(2), 1)
    assert [board.listed[row].place for row in near] == [VICTORIA]


def test_all_spots_are_reached() -> None:
    hit = {spot(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(1 << 16)}
    assert len(hit) == SPOTS
