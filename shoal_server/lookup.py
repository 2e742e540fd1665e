"""Answers "which squids for this requester?" from the snapshot in memory. It never waits for anything."""

from collections.abc import Sequence

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.ranking import Policy, Ranked, Requester, is_local, rank, relation, secrecy
from shoal_server.snapshot import Listed, Locator, SnapshotKeeper

ANY_TYPE = frozenset(CacheType)


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
