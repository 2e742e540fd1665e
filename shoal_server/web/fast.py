"""`/nearest` and its kin, answered in front of the framework.

Thousands of workers ask the same few questions from a few hundred places, and the framework alone costs
several times what an answer does. So the plain form of these questions is answered here from what was
worked out before; everything else, and every doubt, goes on to the framework, which gives the same text.

What is remembered: of each address who is answered like it (`visitors.py`), and for each question the plan,
the orders, the pieces of texts, and which of them an address was told last (`answers.py`). A new board takes
over what holds still. When all of it has grown to MOST_BYTES it is forgotten, and begins anew.
"""

import re
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from shoal_server.rendezvous import spot
from shoal_server.seat import Wanted
from shoal_server.web.answers import ListQuestion, Pick, Sheet, Texts
from shoal_server.web.backend import UNCACHED, Backend
from shoal_server.web.counts import Kind, Outcome
from shoal_server.web.legacy import DEFAULT_COUNT, MOST, SERVICES, SIX
from shoal_server.web.visitors import Visitors

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = re.compile(r"/(nearest(?:verified|cvmfs|conditions)?)(?:/?([0-9]{1,9}))?/?", re.ASCII)
ASKS_FOR_MORE = re.compile(f"{SIX}|%")
"""What stands in a query that may ask for IPv6; any letter of it may be written with a `%`."""
MOST_BYTES = 256_000_000
"""Beside these the plans of lookups that are not answered here may take 64 MB (`plans.py`)."""
STATE_SECONDS = 0.5
VISITOR_SECONDS = 600.0
"""How long an address is remembered: its owner's name may be found out only after its first question. Workers
come back every 10 to 30 minutes."""
_JSON = ("Content-Type", "application/json")
_KM = ("X-Shoal-Distance", "km")
_UNCACHED = ("Cache-Control", UNCACHED)


class FastPath:
    """The WSGI application in front of `framework`; what it remembers may be forgotten at any moment."""

    def __init__(self, framework: "WSGIApplication", backend: Backend) -> None:
        self._framework = framework
        self._backend = backend
        self._keeper = backend.keeper
        self._count = backend.counts.of(Kind.NEAREST, Outcome.TOLD).add
        self._changing = threading.Lock()
        self._generation, self._visitors_until = -1, 0.0
        self._state, self._until = ("X-Shoal-State", ""), 0.0
        self._visitors = Visitors(backend.lookup, backend.trusted_proxies)
        self._texts = Texts(backend.lookup, self._keeper.current.board)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        began = time.perf_counter()
        if began > self._until:
            self._renew(began)
        texts = self._texts
        if texts.board is not self._keeper.current.board:
            texts = self._turn()
        address: str = environ["REMOTE_ADDR"]
        if address in self._visitors.proxies:
            address = environ.get("HTTP_X_FORWARDED_FOR") or address
        sheet = texts.sheets.by_path.get(environ["PATH_INFO"])
        pick = sheet.told.get(address) if sheet else None
        if pick is None or environ["REQUEST_METHOD"] != "GET" or environ.get("QUERY_STRING"):
            return self._answer(environ, start_response, texts, address)
        try:
            body = b"".join(pick(texts.pieces))
        except texts.UNKNOWN_PIECE:
            body = texts.body(pick)
        # Any server tells the length of a single block.
        start_response("200 OK", [_JSON, _KM, _UNCACHED, self._state])
        self._count(time.perf_counter() - began)
        return [body]

    @property
    def remembered(self) -> int:
        """How much (bytes), about."""
        return self._visitors.size + self._texts.size

    def _answer(
        self, environ: "WSGIEnvironment", start_response: "StartResponse", texts: Texts, address: str
    ) -> Iterable[bytes]:
        """What is not answered by what the address was told before. A stranger may not be at `address`."""
        began, method = time.perf_counter(), environ["REQUEST_METHOD"]
        sheet = texts.sheets.by_path.get(environ["PATH_INFO"]) or _sheet(texts, environ["PATH_INFO"])
        if sheet is None or method not in ("GET", "HEAD"):
            return self._framework(environ, start_response)
        kept = sheet.told  # before the visitors: who forgets them then forgets what is kept of an old one
        visitors, board = self._visitors, texts.board
        if address not in visitors.among:
            address = visitors.address(environ)
        query = environ.get("QUERY_STRING")
        if board.hosts(address) or (query and (not board.nobody_drains or ASKS_FOR_MORE.search(query))):
            return self._framework(environ, start_response)
        pick, outcome = self._tell(visitors, texts, sheet, address)
        if outcome is Outcome.TOLD:
            kept[address] = pick
        body = texts.body(pick)
        start_response("200 OK", [_JSON, ("Content-Length", str(len(body))), _KM, _UNCACHED, self._state])
        self._backend.counts.count(Kind.NEAREST, outcome, time.perf_counter() - began)
        return [body] if method == "GET" else []

    def _tell(self, visitors: Visitors, texts: Texts, sheet: Sheet, address: str) -> tuple[Pick, Outcome]:
        """What an address is told, and what to count it as."""
        known = visitors.among.get(address)
        askers = known or visitors.welcome(address)
        answers = askers.answers.get(sheet)
        if answers is None:
            asker = replace(askers.requester, address=address)  # that of the first may be a squid's by now
            answers = askers.answers[sheet] = texts.answers(sheet, asker)
        order = answers.order(texts, spot(address))
        if known is None:
            self._backend.lookup.note(address, texts.board, answers.plan, order)
        return answers.told(texts, order), askers.outcome if order else Outcome.EMPTY

    def _renew(self, now: float) -> None:
        """Notice what time has changed."""
        self._state, self._until = ("X-Shoal-State", self._backend.state), now + STATE_SECONDS
        generation = self._backend.lookup.generation
        if self.remembered > MOST_BYTES:
            self._forget()
        elif generation != self._generation or now > self._visitors_until:
            self._generation, self._visitors_until = generation, now + VISITOR_SECONDS
            self._forget_visitors()

    def _turn(self) -> Texts:
        """Take up the present board. Only it and the one before are kept alive by what is remembered."""
        with self._changing:
            board = self._keeper.current.board
            if self._texts.board is not board:
                self._texts = Texts(self._backend.lookup, board, self._texts)
                if not self._texts.holds:
                    self._visitors.forget_answers()
            return self._texts

    def _forget_visitors(self) -> None:
        self._visitors = Visitors(self._backend.lookup, self._backend.trusted_proxies)
        self._texts.sheets.forget_told()

    def _forget(self) -> None:
        with self._changing:
            self._forget_visitors()
            if self.remembered > MOST_BYTES / 2:
                self._texts = Texts(self._backend.lookup, self._keeper.current.board)


def _sheet(texts: Texts, path: str) -> Sheet | None:
    """The sheet for what a path asks for; None where it is not ours to answer."""
    found = PATH.fullmatch(path)
    if not found:
        return None
    count = DEFAULT_COUNT if found[2] is None else min(int(found[2]), MOST)
    service, types = SERVICES[found[1]]
    return texts.sheets.at(path, ListQuestion(Wanted(service, types, ipv4=True), count))
