"""Answers "which squids for this requester?" from the snapshot in memory. It never waits for anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.ranking import Policy, Ranked, Requester, exclusion, is_local, rank, relation, secrecy
from shoal_server.snapshot import Listed, Locator, SnapshotKeeper

ANY_TYPE = frozenset(CacheType)
SQUIDS = frozenset({CacheType.SQUID})
"""A Varnish is no forward proxy; who does not say what for is told of squids."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a requester is told, best first, and why each other squid is left out, as a sentence.

    `open_to_asker`: the ids of the squids whose inside address whoever asked may know.
    """

    requester: Requester
    ranked: Sequence[Ranked]
    excluded: Sequence[tuple[Listed, str]]
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

    def nearest(
        self,
        address: str,
        service: Upstream = Upstream.BOTH,
        types: frozenset[CacheType] = ANY_TYPE,
        uses: frozenset[str] = frozenset(),
    ) -> Sequence[Ranked]:
        """All squids that a requester at `address` may use for `service`, best first; see `Requester`."""
        policy = Policy(verify=self._verify, types=types)
        return rank(self._requester(address, service, uses), self._keeper.current.listed, policy)

    def explain(
        self, address: str, asker: str | None, service: Upstream, types: frozenset[CacheType] = ANY_TYPE
    ) -> Explanation:
        """What a requester at `address` is told, and why not the rest, for whoever asks about it.

        An `asker` learns of those squids alone that it may know itself; None, an operator, of all.
        """
        policy = Policy(verify=self._verify, types=types)
        requester = self._requester(address, service, frozenset())
        listed = self._keeper.current.listed
        if asker is None:
            known, local = listed, listed
        else:
            own = self._requester(asker, Upstream.BOTH, frozenset())
            known = tuple(one for one in listed if secrecy(own, one, verify=self._verify) is None)
            local = tuple(one for one in known if is_local(relation(own, one)))
        reasons = [(one, exclusion(requester, one, policy)) for one in known]
        return Explanation(
            requester,
            rank(requester, known, policy),
            [(one, why) for one, why in reasons if why],
            frozenset(one.squid.id for one in local),
        )

    def everything(self, address: str) -> Sequence[tuple[Listed, bool]]:
        """All squids that the requester may know of, verified or not, and whether each is on its own site."""
        requester = self._requester(address, Upstream.BOTH, frozenset())
        return [
            (one, self._open_all or is_local(relation(requester, one)))
            for one in self._keeper.current.listed
            if self._open_all or secrecy(requester, one, verify=self._verify) is None
        ]

    def _requester(self, address: str, service: Upstream, uses: frozenset[str]) -> Requester:
        place, owner = self._locator.locate(address), self._locator.owner(address)
        return Requester(address, place, service, uses, owner)
