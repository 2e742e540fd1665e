"""Answers "which squids for this requester?" from the snapshot in memory. It never waits for anything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server import classic
from shoal_server.board import Board
from shoal_server.classic import RankBy
from shoal_server.columns import Flags
from shoal_server.plan import Plan
from shoal_server.ranking import Policy, Ranked, Requester, exclusion, ranked
from shoal_server.rendezvous import spot
from shoal_server.seat import Seat, Wanted
from shoal_server.snapshot import Locator, SnapshotKeeper
from shoal_server.squid import Listed, Owner, Place, is_site_local

ANY_TYPE = frozenset(CacheType)
SQUIDS = frozenset({CacheType.SQUID})
"""A Varnish is no forward proxy; who does not say what for is told of squids."""
MOST_TOLD = 50
MOST_EXCLUDED = 200


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a requester is told, best first, and why each other squid is left out, as a sentence.

    `told` is the answer; `ranked` are the best, `allowed` is how many may be told in all; `excluded` are
    the nearest of those that are left out, `left_out` how many there are; `hidden` more are not for whoever
    asked to know of, told or not. `open_to_asker`: the ids of the squids whose inside address he may know.
    """

    requester: Requester
    told: Sequence[Ranked]
    ranked: Sequence[Ranked]
    allowed: int
    excluded: Sequence[tuple[Listed, str]]
    left_out: int
    hidden: int
    open_to_asker: frozenset[str]


class Lookup:
    """Joins snapshot, locator and policy.

    With `verify` off, squids that nobody has checked are told too; with `open_all`, everybody may know of
    every squid (`everything`), as with servers before 2.0.
    """

    def __init__(
        self, keeper: SnapshotKeeper, locator: Locator, *, verify: bool, open_all: bool = False
    ) -> None:
        self._keeper = keeper
        self._locator = locator
        self._verify = verify
        self._open_all = open_all

    @property
    def verify(self) -> bool:
        """Whether squids are checked before workers are told of them."""
        return self._verify

    def nearest(
        self,
        address: str,
        service: Upstream = Upstream.BOTH,
        types: frozenset[CacheType] = ANY_TYPE,
        uses: frozenset[str] = frozenset(),
        *,
        count: int = MOST_TOLD,
        ipv4: bool = False,
    ) -> Sequence[Ranked]:
        """The first `count` squids that a requester at `address` may use, best first; see `Plan.told`.

        `uses`: the endpoints (`address:port`) that it says it uses already. `ipv4`: only squids that a reader
        without IPv6 can use.
        """
        requester, board = self._requester(address, service, uses), self.board
        plan, told = self._planned(board, requester, Wanted(service, types, ipv4), count)
        self.note(address, board, plan, told)
        return [self.terms(requester, board, plan, place) for place in told]

    def note(self, address: str, board: Board, plan: Plan, told: Sequence[int]) -> None:
        """Count whoever was told of these places of a plan, if he is new here."""
        if told:
            self._keeper.note(
                address, board.domain_seed(plan.domains[0]), board.domain_seed(plan.domains[told[0]])
            )

    @property
    def board(self) -> Board:
        """The present board."""
        return self._keeper.current.board

    @property
    def generation(self) -> int:
        """Changes when an address may have another place or owner than before."""
        return self._locator.generation

    def find(self, address: str) -> tuple[Place | None, Owner]:
        """The place and owner of an address as the locator has them; equal ones are mostly one object."""
        return self._locator.find(address)

    def requester(self, address: str, service: Upstream = Upstream.BOTH) -> Requester:
        """Who asks from an address."""
        return self._requester(address, service, frozenset())

    def terms(self, requester: Requester, board: Board, plan: Plan, place: int) -> Ranked:
        """The squid at a place of a plan as it ranks for a requester."""
        listed, group = board.listed[plan.rows[place]], plan.numbers[place]
        if board.rank_by is RankBy.CLASSIC:
            return classic.ranked(requester, listed, verify=self._verify, group=group)
        crowded = place >= plan.first_late
        return ranked(requester, listed, verify=self._verify, group=group, crowded=crowded)

    def _told(
        self, board: Board, requester: Requester, wanted: Wanted, count: int, among: Flags | None = None
    ) -> list[Ranked]:
        plan, told = self._planned(board, requester, wanted, count, among)
        return [self.terms(requester, board, plan, place) for place in told]

    def _planned(
        self, board: Board, requester: Requester, wanted: Wanted, count: int, among: Flags | None = None
    ) -> tuple[Plan, Sequence[int]]:
        also = board.draining(requester.uses, requester.service)
        plan = board.plan(seat(requester, board), wanted, count, also, among)
        return plan, plan.told(spot(requester.address), count)

    def explain(
        self,
        address: str,
        asker: str | None,
        service: Upstream,
        types: frozenset[CacheType] = ANY_TYPE,
        *,
        count: int,
        ipv4: bool = False,
    ) -> Explanation:
        """What `nearest` tells a requester at `address`, and why not the rest, for whoever asks about it.

        An `asker` learns of those squids alone that it may know itself; None, an operator, of all.
        """
        board = self.board
        requester, wanted = self._requester(address, service, frozenset()), Wanted(service, types, ipv4)
        here = seat(requester, board)
        known, local = np.ones(len(board.listed), np.bool_), np.arange(len(board.listed))
        if asker is not None:
            own = seat(self._requester(asker, service, frozenset()), board)
            known, local = board.known(own), board.local(own)
        allowed = board.allowed(here, wanted) & known
        left_out = np.flatnonzero(known & ~allowed)
        policy = Policy(verify=self._verify, types=types)
        excluded = [board.listed[row] for row in board.nearest_rows(here, left_out, MOST_EXCLUDED)]
        return Explanation(
            requester,
            self._told(board, requester, wanted, count, known),
            self._told(board, requester, wanted, MOST_TOLD, known),
            int(np.count_nonzero(allowed)),
            [(one, exclusion(requester, one, policy) or "") for one in excluded],
            len(left_out),
            int(np.count_nonzero(~known)),
            frozenset(board.listed[row].squid.id for row in local if known[row]),
        )

    def everything(self, address: str) -> Sequence[tuple[Listed, bool]]:
        """All squids that the requester may know of, verified or not, and whether each is on its own site."""
        snapshot = self._keeper.current
        if self._open_all:
            return [(one, True) for one in snapshot.listed]
        board, newest = snapshot.board, snapshot.listed
        own = seat(self._requester(address, Upstream.BOTH, frozenset()), board)
        local = set(board.local(own).tolist())
        return [(newest[row], row in local) for row in np.flatnonzero(board.known(own)).tolist()]

    def _requester(self, address: str, service: Upstream, uses: frozenset[str]) -> Requester:
        place, owner = self._locator.find(address)
        if place and place.site is None:
            place = replace(place, latitude=_rounded(place.latitude), longitude=_rounded(place.longitude))
        return Requester(address, place, service, uses, owner)


def _rounded(degrees: float) -> float:
    """To a quarter: databases are no more exact, and there are far fewer places to be worked out for."""
    return round(degrees * 4) / 4


def seat(requester: Requester, board: Board | None = None) -> Seat:
    """Where a requester sits; among the squids of a board, one of which may have his address."""
    address = requester.address if board and board.hosts(requester.address) else None
    place = requester.place
    bare = Place(place.latitude, place.longitude, place.site) if place else None
    return Seat(bare, requester.owner, is_site_local(requester.address), address)
