"""Who is connected, and who has to go when there are too many."""

from collections.abc import Iterator
from typing import Generic, TypeVar

P = TypeVar("P")


class Roster(Generic[P]):
    """Peers: strangers (not logged in), in the order of their coming, and members, the most silent first."""

    def __init__(self, max_peers: int, max_strangers: int) -> None:
        self._max_peers = max_peers
        self._max_strangers = max_strangers
        self._strangers: dict[P, None] = {}
        self._members: dict[P, None] = {}

    def __iter__(self) -> Iterator[P]:
        """All of them, as of now: they may come and go meanwhile."""
        return iter([*self._strangers, *self._members])

    def __len__(self) -> int:
        return len(self._strangers) + len(self._members)

    def admit(self, peer: P) -> P | None:
        """Note a new stranger; returns who is to go for it: the oldest stranger, or if there is no other
        the most silent member."""
        crowded = len(self) >= self._max_peers or len(self._strangers) >= self._max_strangers
        leaver = next(iter(self._strangers or self._members)) if crowded else None
        self._strangers[peer] = None
        return leaver

    def heard(self, peer: P) -> None:
        """The peer is a member, and not silent."""
        self.forget(peer)
        self._members[peer] = None

    def forget(self, peer: P) -> None:
        """The peer has gone."""
        self._strangers.pop(peer, None)
        self._members.pop(peer, None)
