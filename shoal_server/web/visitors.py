"""Who asks: for each address, who else is answered like it.

Thousands of workers ask from a few hundred places, and each comes back for days. So an address is looked up
once, and what is kept of it is small: its text.
"""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shoal_server.lookup import Lookup, seat
from shoal_server.ranking import Requester
from shoal_server.squid import Owner, Place, is_site_local
from shoal_server.web.backend import asker, is_trusted
from shoal_server.web.counts import Outcome

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from shoal_server.seat import Seat
    from shoal_server.web.answers import Answers, Sheet

VISITOR_BYTES = 150
SEAT_BYTES = 1500


class Askers:
    """All who sit in one place, in one network; `requester` is any one of them.

    `answers` are those of the present board, as far as they have asked already.
    """

    __slots__ = ("answers", "outcome", "requester")

    def __init__(self, requester: Requester) -> None:
        self.requester = requester
        self.outcome = Outcome.TOLD if requester.place else Outcome.UNKNOWN_PLACE
        self.answers: dict[Sheet, Answers] = {}


class Visitors:
    """The addresses that have asked, and with whom they are answered alike (`among`).

    Only plain texts of addresses are kept, so nobody can fill the memory with what he says of himself.
    """

    def __init__(self, lookup: Lookup, trusted: Sequence[str]) -> None:
        self._lookup = lookup
        self._trusted = tuple(trusted)
        self._seats: dict[Seat, Askers] = {}
        self._found: dict[tuple[int, int, bool], tuple[Askers, Place | None, Owner]] = {}
        self._adding = threading.Lock()
        self.among: dict[str, Askers] = {}
        self.proxies: set[str] = set()
        """Addresses of trusted proxies that have asked, or that somebody was forwarded from."""

    @property
    def size(self) -> int:
        """What they take (bytes), about."""
        return VISITOR_BYTES * len(self.among) + SEAT_BYTES * len(self._found)

    def address(self, environ: "WSGIEnvironment") -> str:
        """Whose address the request comes from."""
        peer: str = environ["REMOTE_ADDR"]
        address, is_proxy = asker(peer, environ.get("HTTP_X_FORWARDED_FOR", ""), self._trusted)
        if self._trusted and peer not in self.proxies and is_trusted(peer, self._trusted):
            self.proxies.add(peer)
        if is_proxy:  # else its own word on others would not be heard
            self.proxies.add(address)
        return address

    def welcome(self, address: str) -> Askers:
        """With whom an address is answered alike that asks for the first time."""
        place, owner = self._lookup.find(address)
        # Equal answers are mostly one object, which is found sooner by its identity than by its contents.
        key = id(place), id(owner), is_site_local(address)
        known = self._found.get(key)
        if known is None:
            known = self._found[key] = self._seated(address), place, owner
        askers = self.among[address] = known[0]
        return askers

    def forget_answers(self) -> None:
        """Those of a board that is no more."""
        for askers in list(self._seats.values()):
            askers.answers = {}

    def _seated(self, address: str) -> Askers:
        requester = self._lookup.requester(address)
        place = seat(requester)
        with self._adding:
            return self._seats.get(place) or self._seats.setdefault(place, Askers(requester))
